"""The page of results: what records hold, and verdicts and tables against numbers made by hand."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SUPERVISED, adapting

from adapt.disk.files import read_json, read_yaml
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.viz import InvertConfig
from adapt.training.train import train
from results.page import decay, drawings, front, gap, longer, missing, rates, tables
from results.page.claims import CLAIMS
from results.page.page import ResultsConfig, results
from results.page.ranking import ranked
from results.page.records import AGAIN, GRID, SHIFTS, Evidence, load
from results.page.records_of_runs import TEACHER, record, seed_record, thinned
from results.page.repeats import DRAWS, PRECISION, Repeat, repeated
from results.page.style import colour_distance, gram_distance, style_record
from results.page.style_claim import in_style
from results.page.verdicts import FAILS, HOLDS, MISSING, OPEN, PARTLY, Part, joined
from results.page.worth import equal_to, of_methods, worths
from viz.inversion.command import invert_all

ROOT = Path(__file__).resolve().parents[2]
RUN = {"share": 1.0, "samples": 312, "steps": 500, "batch": 8, "lr": 0.05, "seconds": 3600.0,
       "finished": "2026-01-02", "curve": [], "shift": ""}  # fmt: skip
MACHINE = {"cpu": "Z80", "threads": 1, "gpus": [], "python": "3", "packages": {"torch": "2"},
           "precision": "fp32"}  # fmt: skip


def made_record(
    seed: int, scores: dict[str, dict[str, float]], study: str = GRID["shared"], **run: Any
) -> dict[str, Any]:
    """A record of mIoU by name and shift (`` = the old domain); class accuracy is 10 above it and
    agreement 20; moved labels give 1 less."""
    evaluations, runs = [], {TEACHER: {**RUN, "steps": 3000}}
    for name, by_shift in scores.items():
        for shift, miou in by_shift.items():
            free = name in (TEACHER, "B0", "AdaBN")
            place = TEACHER if free else f"{shift}/{name}"
            runs.setdefault(place, {**RUN, "shift": shift, **run})
            for labels in ("given", "moved") if shift else ("given",):
                value = miou - (labels == "moved")
                evaluations.append({
                    "run": place, "method": name, "shift": shift, "labels": labels, "split": "val",
                    "images": 101, "miou": value, "class_accuracy": miou + 10,
                    "pixel_accuracy": 90.0, "agreement": miou + 20, "distortion": None,
                    "iou": [miou, None],
                })  # fmt: skip
    return {
        "format": 1, "study": study, "seed": seed, "protocol": "shared", "classes": ["sky", "cat"],
        "shifts": {}, "machines": [MACHINE], "runs": runs, "evaluations": evaluations,
        "features": {},
    }  # fmt: skip


def by_letter(found: Evidence) -> dict[str, Any]:
    return {verdict.letter: verdict for verdict in (claim(found) for claim in CLAIMS)}


def everywhere(value: float) -> dict[str, float]:
    return dict.fromkeys(SHIFTS, value)


FIRST = made_record(0, {
    "teacher": {"": 50.0}, "B0": everywhere(20), "AdaBN": everywhere(25),
    "pool1": {"photocopy": 22.0, "ripple": 20.5, "cubism": 20.0},
    "pool2": {"photocopy": 23.0, "ripple": 20.5, "cubism": 20.0},
    "pool3": {"photocopy": 30.0, "ripple": 29.0, "cubism": 20.0},
    "pool5": {"photocopy": 40.0, "ripple": 38.0, "cubism": 30.0},
    "w_inc": {"photocopy": 39.0, "ripple": 39.0, "cubism": 29.0},
    "w_dec": {"photocopy": 38.0, "ripple": 35.0, "cubism": 28.5},
    "B2": {"photocopy": 40.5, "ripple": 41.0, "cubism": 29.0},
    "B1": {"photocopy": 42.0, "ripple": 40.0, "cubism": 28.0},
})  # fmt: skip
SECOND = made_record(1, {
    "B0": everywhere(21), "pool5": {"photocopy": 43.0, "ripple": 39.0, "cubism": 31.0},
    "w_inc": {"cubism": 30.0}, "w_dec": {"cubism": 31.0},
    "B2": {"photocopy": 43.5, "ripple": 41.0, "cubism": 33.0},
})  # fmt: skip


def test_verdicts_are_those_that_the_numbers_say() -> None:
    found = by_letter(Evidence([FIRST, SECOND]))
    a = found["a"]
    assert [part.verdict for part in a.parts] == [HOLDS, FAILS, OPEN]
    assert a.parts[0].differences == {0: -0.5, 1: -0.5}
    assert a.parts[2].differences == {0: 1.0, 1: -2.0}
    assert a.verdict == PARTLY and a.seeds == 2
    assert "ripple \u22122.5 ± 0.7" in a.numbers
    assert found["b"].parts[1].differences == {0: -1.0}
    assert [p.verdict for p in found["b"].parts] == [HOLDS, FAILS, OPEN]  # cubism: +1, 31 - 31 = 0
    assert found["c"].verdict == OPEN and found["c"].parts[0].differences == {0: 0.5, 1: -1.0}
    d = {part.what: part.verdict for part in found["d"].parts}
    assert d == {
        "photocopy pool1": HOLDS, "photocopy pool2": HOLDS, "photocopy pool3": HOLDS,
        "ripple pool1": HOLDS, "ripple pool2": HOLDS, "ripple pool3": FAILS,
        "cubism pool1": HOLDS, "cubism pool2": HOLDS, "cubism pool3": HOLDS,
    }  # fmt: skip
    assert "photocopy pool1 \u22123.0" in found["d"].notes[1]  # over AdaBN: 22 - 25
    assert [p.differences[0] for p in found["e"].parts] == [-1.5, 1.0, 1.0]
    assert found["g"].verdict == found["h"].verdict == found["i"].verdict == MISSING


@pytest.mark.parametrize(
    ("differences", "negated", "verdict"),
    [
        ({0: 0.1, 1: 2.0}, False, HOLDS),
        ({0: 0.1, 1: -2.0}, False, OPEN),
        ({0: 0.0}, False, FAILS),
        ({0: 0.1}, True, FAILS),
        ({0: -0.1, 1: 0.0}, True, HOLDS),
        ({}, False, MISSING),
    ],
)
def test_a_part_needs_every_seed(
    differences: dict[int, float], negated: bool, verdict: str
) -> None:
    assert Part("x", differences, negated=negated).verdict == verdict


def test_what_was_not_run_does_not_judge() -> None:
    assert joined([MISSING, HOLDS]) == HOLDS and joined([FAILS, HOLDS]) == PARTLY
    assert joined([FAILS, OPEN]) == OPEN and joined([MISSING]) == joined([]) == MISSING


def test_agreement_ranks_by_spearman() -> None:
    """Five checkpoints in the same order but for one swap of neighbours: rho = 1 - 6 * 2 / 120."""
    points = [(10.0, 1.0), (20.0, 2.0), (30.0, 4.0), (40.0, 3.0), (50.0, 9.0)]
    one = made_record(0, {"pool5": {"ripple": 9.0}})
    one["runs"]["ripple/pool5"]["curve"] = [
        {"step": i, "agreement_miou": a, "miou": m} for i, (a, m) in enumerate(points)
    ]
    verdict = ranked(Evidence([one]))
    assert [part.what for part in verdict.parts] == ["shared ripple"]
    assert verdict.notes[0] == "Checkpoints of all shifts together: shared: 0.90 over 5."
    assert verdict.parts[0].differences[0] == pytest.approx(0.9) and verdict.verdict == HOLDS
    assert verdict.parts[0].told == "shared, ripple: 0.90 over 5"
    other = made_record(1, {"pool5": {"ripple": 9.0}})
    other["runs"]["ripple/pool5"]["curve"] = [
        {"step": i, "agreement_miou": a + 100, "miou": m} for i, (a, m) in enumerate(points)
    ]
    verdict = ranked(Evidence([one, other]))
    assert verdict.parts[0].differences[0] < 0.8, "another teacher, other agreements"
    assert verdict.notes[1].endswith("Within a seed, shared, ripple: 0.90, 0.90.")


def test_penalty_is_chosen_by_agreement_and_judged_on_both_domains() -> None:
    sweep = {
        "pool5_none": {"photocopy": 40.0, "": 30.0},
        "pool5_l2_sp_1em3": {"photocopy": 41.0, "": 29.0},
        "pool5_l2_sp_1em2": {"photocopy": 42.0, "": 33.0},
    }
    made = made_record(0, sweep, "camvid_penalties")
    for entry in list(made["evaluations"]):
        if entry["shift"] and entry["labels"] == "given":
            chosen = {"pool5_l2_sp_1em3": 70.0}.get(entry["method"], 60.0)
            made["evaluations"].append({**entry, "split": "tune", "agreement": chosen})
    verdict = by_letter(Evidence([made]))["h"]
    assert [(p.what, p.differences) for p in verdict.parts] == [
        ("batch norm free, alpha 0.001, D2", {0: 1.0}),
        ("batch norm free, alpha 0.001, D1", {0: -1.0}),
    ]


@pytest.mark.parametrize("repeat", [PRECISION, DRAWS])
def test_what_was_trained_again_is_compared_within_a_seed(repeat: Repeat) -> None:
    """Seeds that were run in one way only do not count."""
    exact = [
        made_record(seed, {"pool5": {"photocopy": value}}, repeat.study)
        for seed, value in ((0, 41.0), (1, 42.5), (2, 99.0))
    ]
    lines = repeated(Evidence([FIRST, SECOND, *exact]), repeat).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[1:] == ["41.8 ± 1.1 (n = 2)", "41.5 ± 2.1 (n = 2)", "\u22120.25", "\u22121.00"]


def test_what_was_trained_again_counts_instead() -> None:
    again = made_record(1, {"pool5": {"photocopy": 44.0}}, AGAIN[GRID["shared"]])
    again["runs"]["photocopy/pool5"]["lr"] = 0.5
    found = Evidence([FIRST, SECOND, again])
    old = Evidence([FIRST, SECOND]).values(GRID["shared"], "pool5", "photocopy")
    assert found.values(GRID["shared"], "pool5", "photocopy") == {**old, 1: 44.0}
    assert found.as_recorded().values(GRID["shared"], "pool5", "photocopy") == old
    rates_of = [r["lr"] for r in found.runs(GRID["shared"]) if r["name"] == "pool5"]
    assert rates_of.count(0.5) == 1 and len(rates_of) == len(SHIFTS) * 2
    assert found.values(GRID["disjoint"], "pool5", "photocopy") == {}


def test_maps_that_return_are_counted() -> None:
    made = made_record(0, {"pool5": {"ripple": 30.0}})
    old = [{"layer": "pool1", "distance": 1.0, "r2": 0.5}, {"layer": "pool2", "distance": 1.0,
                                                            "r2": 0.2}]  # fmt: skip
    new = [{"layer": "pool1", "distance": 0.4, "r2": 0.4}, {"layer": "pool2", "distance": 0.5,
                                                            "r2": 0.3}]  # fmt: skip
    made["features"] = {"before ripple": old, "after ripple/pool5": new}
    made["features"]["after ripple/w_dec"] = [{**new[0], "r2": 0.6}, new[1]]
    verdict = by_letter(Evidence([made]))["g"]
    assert verdict.verdict == PARTLY
    assert "R2 higher in 2 of 2" in verdict.notes[0]
    assert verdict.summary.startswith("distance smaller in 2 of 2; R2 higher in 1 of 2")
    assert "| ripple | pool1 | 1.00 | 0.40 | 0.50 | 0.40 | 1 |" in tables.features(Evidence([made]))


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (9.0, "fewer than 10"), (10.0, "about 10"), (15.0, "about 15"), (25.0, "about 60"),
        (30.0, "at least 100 (all of them)"), (99.0, "at least 100 (all of them)"),
    ],
)  # fmt: skip
def test_worth_in_labelled_images(score: float, told: str) -> None:
    assert equal_to(score, [(10, 10.0), (20, 20.0), (100, 30.0)]) == told


def test_worth_is_told_from_records() -> None:
    grid = made_record(0, {"pool5": {"ripple": 35.0}, "B2": {"ripple": 30.0}})
    labels = {"B2": {"ripple": 40.0}, "B2_share_0.5": {"ripple": 30.0}}
    made = made_record(0, labels, "camvid_evidence_labels")
    made["runs"]["ripple/B2_share_0.5"]["samples"] = 156
    (one,) = worths(Evidence([grid, made]), ["pool5"], SHIFTS)
    assert one.sentence() == (
        "ripple: 312 unlabelled pairs with pool5 (35.0 mIoU, one seed) are worth about 234 "
        "labelled images."
    )
    made["evaluations"] += made_record(0, {"B2_share_0.25": {"ripple": 36.0}})["evaluations"]
    made["runs"]["ripple/B2_share_0.25"] = {**RUN, "samples": 78}
    for entry in made["evaluations"]:
        entry["miou"] -= 6 * (entry["method"] == "B2")
    (one,) = worths(Evidence([grid, made]), ["pool5"], SHIFTS)
    assert one.sentence().endswith("labelled images; with all 312, B2 has 34.0.")


def test_tables_have_means_and_deviations_over_seeds() -> None:
    found = Evidence([FIRST, SECOND])
    grid = tables.grid(found, "shared", "miou")
    row = next(line for line in grid.splitlines() if "pool5" in line)
    assert row == ("| **pool5** | 41.5 ± 2.1 (n = 2) | 38.5 ± 0.7 (n = 2) | 30.5 ± 0.7 (n = 2) |")
    moved = tables.grid(found, "shared", "miou", "moved")
    assert "40.5 ± 2.1" in moved and "teacher on D1" not in moved
    assert "| sky | 50.0 | 20.5 | 25.0 | 41.5 |" in tables.classes(found, "shared", "photocopy")
    gone = missing.missing(found)
    assert "shared, pool5: seeds 2" in gone
    assert "shared, W_inc: photocopy seeds 1, 2; ripple seeds 1, 2; cubism seeds 2" in gone
    assert "B2 on shares of the labels: 45 of 45 cells" in gone
    assert any(line.startswith("full width") for line in gone)
    gpu = {**FIRST, "machines": [{**MACHINE, "gpus": ["Z9000"]}]}
    assert not any(line.startswith("full width") for line in missing.missing(Evidence([gpu])))


def tuned(by_run: dict[str, float]) -> dict[str, Any]:
    """A record of runs with 40 mIoU and, on `tune`, the given agreement on every shift."""
    made = made_record(0, {name: everywhere(40) for name in by_run})
    for place, run in made["runs"].items():
        run["lr"] = 0.015 if place.endswith("_lr_0.015") else 0.05
    for entry in list(made["evaluations"]):
        if entry["labels"] == "given":
            on_tune = {"split": "tune", "agreement": by_run[entry["method"]]}
            made["evaluations"].append({**entry, **on_tune})
    return made


def test_rates_are_chosen_by_agreement_and_not_by_score() -> None:
    made = tuned({"kd": 60, "kd_lr_0.015": 50, "pool5_kd": 60, "pool5_kd_lr_0.015": 61})
    for entry in made["evaluations"]:
        entry["miou"] += 5 * (entry["method"] == "kd_lr_0.015")
    found = Evidence([made])
    rows = rates.rates(found).splitlines()[2:]
    assert [("chosen" in row, "40.0" in row) for row in rows] == [
        (True, True), (False, False), (False, True), (True, True),
    ]  # fmt: skip
    assert rates.settings(found) == {"kd": [0.05], "pool5_kd": [0.015]}
    assert rates.rejected(found) == {"kd_lr_0.015", "pool5_kd"}
    grid = tables.grid(found, "shared", "miou")
    assert "pool5 + kd, rate 0.015" in grid and "| kd, rate" not in grid
    gone = missing.missing(found)
    assert "shared, pool5 + kd, rate 0.015: seeds 1, 2" in gone
    assert not any(line.startswith("shared, pool5 + kd:") for line in gone)
    made["evaluations"] = [  # one rate not yet scored on one shift: nothing is chosen
        e for e in made["evaluations"] if (e["method"], e["shift"]) != ("kd_lr_0.015", "cubism")
    ]
    assert rates.settings(Evidence([made])) == {"pool5_kd": [0.015]}


def test_what_has_labels_has_its_rate_chosen_by_them() -> None:
    made = tuned({"B2": 60, "B2_lr_0.015": 50})
    for entry in made["evaluations"]:
        at = (entry["method"], entry["split"])
        entry["miou"] = {("B2_lr_0.015", "tune"): 45.0, ("B2", "val"): 37.0}.get(at, entry["miou"])
    found = Evidence([made])
    assert rates.chosen(found) == {"B2": "B2_lr_0.015"}
    more = made_record(0, {"pool5": everywhere(39), "B1": everywhere(38)})
    made["evaluations"] += more["evaluations"]
    made["runs"] |= more["runs"]
    verdicts = by_letter(Evidence([made]))
    notes = verdicts["a"].notes
    assert "pool5 minus B2, shared pairs: photocopy \u22121.0" in notes[1]
    assert "at pool5's rate, shared pairs: photocopy +2.0" in notes[2]
    assert verdicts["e"].verdict == HOLDS, "B2 at its chosen rate against B1"
    assert not rates.settings(found), "of what has no labels"


def test_figure_4_has_b2_at_its_chosen_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tuned({"pool4": 0, "pool5": 0, "B2": 60, "B2_lr_0.015": 50})
    for entry in made["evaluations"]:
        entry["miou"] += 5 * (entry["method"] == "B2_lr_0.015")
    drawn = []
    monkeypatch.setattr(drawings, "layer_chart", lambda panels, *rest: drawn.extend(panels))
    drawings.layers(Evidence([made]))
    assert drawn[0].references["ripple"]["B2"] == (45.0, 0.0)


def test_the_best_without_labels_is_sought_at_chosen_rates() -> None:
    made = tuned({"B2": 0, "kd": 60, "kd_lr_0.015": 50})
    for entry in made["evaluations"]:
        entry["miou"] += {"kd": 1, "kd_lr_0.015": 5}.get(entry["method"], 0)
    (note,) = by_letter(Evidence([made]))["a"].notes
    assert note.startswith("The best") and "photocopy kd +1.0; ripple kd +1.0" in note


def test_reasons_stand_beside_what_they_are_for() -> None:
    runs = {"pool5": 40.0, "w_inc": 41.0, "w_dec": 39.0, "w_inc_kd": 43.0, "B2": 42.0}
    made = made_record(0, {name: everywhere(value) for name, value in runs.items()})
    verdicts = by_letter(Evidence([made]))
    reason = verdicts["a"].notes[1]
    assert "W_inc + kd, which trains it, minus B2, shared pairs: photocopy +1.0" in reason
    assert "against moved labels: photocopy \u22121.0" in verdicts["b"].notes[1]


def test_fine_tuning_is_held_against_as_many_steps_from_scratch() -> None:
    grid = made_record(0, {"B1": {"ripple": 40.0}, "B2": {"ripple": 38.0}})
    short = made_record(0, {"B1": {"ripple": 37.0}}, "camvid_evidence_short")
    long = made_record(0, {"B2": {"ripple": 40.5}}, longer.STUDY, steps=3000)
    verdict = by_letter(Evidence([grid, short, long]))["e"]
    assert verdict.verdict == FAILS and "than B2 has: ripple +1.0" in verdict.notes[-2]
    assert "as B1 has, minus B1: ripple +0.5" in verdict.notes[-1]


def test_more_steps_stand_beside_the_fewer_of_the_same_seeds() -> None:
    third = {"pool5": {"ripple": 44.0}, "B2": everywhere(45.0)}
    found = Evidence([FIRST, SECOND, made_record(0, third, longer.STUDY, steps=3000)])
    heads, _, *rows = longer.longer(found).splitlines()
    assert "| ripple: 500 steps | ripple: 3,000 steps |" in heads
    assert "| **pool5** | - | - | 38.0 | 44.0 | - | - |" in rows
    assert "| B1: labels, from scratch |  | 42.0 |  | 40.0 |  | 28.0 |" in rows
    (reason,) = [n for n in by_letter(found)["a"].notes if "3,000 steps each" in n]
    assert reason == "pool5 minus B2, 3,000 steps each, shared pairs: ripple \u22121.0."
    assert longer.longer(Evidence([FIRST])) == "" and longer.sentence(found) == ""
    third = {"pool5": everywhere(44.0), "w_inc_kd": everywhere(46.0), "B2": everywhere(45.0)}
    whole = Evidence([FIRST, made_record(0, third, longer.STUDY, steps=3000)])
    assert longer.sentence(whole) == (
        "With 3,000 steps instead of 500, as many as B1 has (photocopy / ripple / cubism, one "
        "seed): pool5 44.0 / 44.0 / 44.0; W_inc + kd 46.0 / 46.0 / 46.0; B2 45.0 / 45.0 / 45.0; "
        "B1 42.0 / 40.0 / 28.0."
    )


def test_what_was_tried_is_held_against_the_same_without_the_change(tmp_path: Path) -> None:
    plain = made_record(0, {"pool5_kd": {"ripple": 40.0}, "B2": {"ripple": 42.0}}, gap.PLAIN)
    longer = {"pool5_kd": {"ripple": 44.0}, "B2": {"ripple": 43.5}}
    records = [
        plain,
        made_record(0, {"pool5_kd": {"ripple": 41.0}}, f"{gap.GAP}ema"),
        made_record(0, longer, f"{gap.GAP}long"),
    ]
    for record_ in records:
        for entry in record_["evaluations"]:
            entry["split"] = "tune"
    words = {"setting": "x=1", "verdict": "Dropped."}
    made = [
        {"study": gap.PLAIN, "change": "as it is"} | words,
        {"study": f"{gap.GAP}ema", "change": "averaged"} | words,
        {"study": f"{gap.GAP}long", "change": "longer"} | words,
        {"study": f"{gap.GAP}never", "change": "not run"} | words,
    ]
    (tmp_path / gap.TRIED).write_text(json.dumps(made))
    trials = gap.trials(tmp_path)
    rows = [line.split(" | ") for line in gap.tried(Evidence(records), trials).splitlines()[2:]]
    assert all(row[1:4] == ["ripple", "pool5_kd", "tune"] for row in rows)
    assert [(row[0], " ".join(row[4:])) for row in rows] == [
        ("| as it is", "40.0 - \u22122.0 39.0 - 60.0 - |"),
        ("| averaged", "41.0 +1.0 \u22121.0 40.0 +1.0 61.0 +1.0 |"),
        ("| longer", "44.0 +4.0 +0.5 43.0 +4.0 64.0 +4.0 |"),
    ]
    told = gap.section(Evidence(records), trials)
    assert "- averaged: `x=1`. Dropped." in told and "not run" not in told
    assert gap.section(Evidence([FIRST]), trials) == "" and gap.trials(tmp_path / "none") == []
    (tmp_path / gap.TRIED).write_text(json.dumps([{**made[0], "gain": 3.0}]))
    with pytest.raises(InputError, match=r"tried.json\[0\].gain"):
        gap.trials(tmp_path)
    (tmp_path / gap.TRIED).write_text("{}")
    with pytest.raises(InputError, match="must be a list of trials"):
        gap.trials(tmp_path)


def decayed(start: str, scores: dict[str, tuple[float, float]], seed: int = 0) -> dict[str, Any]:
    """A record of (mIoU, loss) on val by decay; the training images have 10 more and half of it."""
    named = {name: {"": miou} for name, (miou, _) in scores.items()}
    made = made_record(seed, named, decay.STARTS[start], samples=55, steps=400)
    for entry in list(made["evaluations"]):
        entry["loss"] = loss = scores[entry["method"]][1]
        fit = {**entry, "split": "fit", "miou": entry["miou"] + 10, "loss": loss / 2}
        made["evaluations"].append(fit)
    del made["runs"][TEACHER]
    return made


def test_decays_have_the_tables_of_the_thesis() -> None:
    raw = decayed("from scratch", {"none": (30.0, 1.5), "l2_5em4": (34.0, 1.0)})
    trained = decayed("pre-trained", {"none": (35.0, 0.8), "l2_5em4": (33.0, 0.9)})
    again = decayed("pre-trained", {"none": (37.0, 1.0)}, seed=1)
    text = decay.tables(Evidence([raw, trained, again]))
    assert "55 labelled images, 400 steps (58 epochs)." in text
    assert "| from scratch | 0.750 | 1.500 | 40.0 | 30.0 |" in text
    assert "| pre-trained | 0.450 ± 0.071 | 0.900 ± 0.141 | 46.0 ± 1.4 |" in text
    assert "| loss, val | 1.500 / **0.900 ± 0.141** | - / - | 1.000 / **0.900** | - / - |" in text
    assert "30.0 / **36.0 ± 1.4** | - / - | **34.0** / 33.0" in text
    assert decay.tables(Evidence([FIRST])) == "" and decay.figure(Evidence([FIRST])) is None
    drawn = decay.figure(Evidence([raw, trained, again]))
    assert drawn is not None and drawn != decay.figure(Evidence([raw, trained]))


def test_style_is_judged_by_distances_to_both_domains() -> None:
    entry = {"image": "a", "shift": "ripple", "content_own": 0.1, "content_others": 0.5}
    near = {"gram_d1": 0.5, "gram_d2": 0.2, "colour_d1": 9.0, "colour_d2": 3.0}
    far = {"gram_d1": 0.2, "gram_d2": 0.5, "colour_d1": 9.0, "colour_d2": 3.0}
    style = [{**entry, "network": "student", **near}, {**entry, "network": "teacher", **far}]
    verdict = in_style(style)
    found = {p.what: p.verdict for p in verdict.parts if p.what.startswith("ripple")}
    assert found == {
        "ripple gram student": HOLDS, "ripple gram teacher": HOLDS,
        "ripple colour student": HOLDS, "ripple colour teacher": FAILS,
    }  # fmt: skip
    assert verdict.summary == (
        "Gram matrices: the student's nearer D2 in 1 of 1; "
        "Gram matrices: the teacher's nearer D1 in 1 of 1; "
        "colours: the student's nearer D2 in 1 of 1; colours: the teacher's nearer D1 in 0 of 1"
    )
    assert verdict.notes[0].startswith("Content: 1 of 1")
    assert verdict.notes[1].endswith(": Gram matrices, ripple 1 of 1; colours, ripple 0 of 1.")


def test_distances_of_style() -> None:
    one = np.zeros((2, 2, 3), np.uint8)
    other = one.copy()
    other[0, 0] = 40
    assert colour_distance(one, other) == 10 and colour_distance(other, other[::-1]) == 0
    a = torch.zeros(1, 2, 1, 2)
    b = a.clone()
    a[0, 0], b[0, 1] = 1, 1  # Gram matrices with a 1 in different corners
    assert gram_distance({"x": a}, {"x": b}) == 2 and gram_distance({"x": a}, {"x": a}) == 0


@pytest.fixture(scope="module")
def runs(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """seed0 of a study on the tiny tree: teacher, a student, B2 on half of the labels, an
    inversion; its twin is `photocopy`."""
    root = tmp_path_factory.mktemp("study") / GRID["shared"]
    seed, twin = root / "seed0", root / "shifts" / "photocopy"
    shutil.copytree(world / "teacher", seed / TEACHER)
    for path in (seed / TEACHER).glob("metrics_*"):
        path.unlink()
    shutil.copytree(world / "d2", twin)
    teacher, paired = str(seed / TEACHER), DataConfig(target=str(twin))
    evaluate(EvaluateConfig(device="cpu", teacher=teacher))
    evaluate(EvaluateConfig(device="cpu", teacher=teacher, data=paired, domain="d2"))
    student = adapting(
        world, seed / "photocopy" / "pool5", teacher=teacher, data=paired, steps=2, eval_every=1
    )
    b2 = adapting(
        world, seed / "photocopy" / "B2_share_0.5", start=teacher, teacher="", steps=2,
        data=DataConfig(target=str(twin), share=0.5), objective=SUPERVISED,
    )  # fmt: skip
    for config in (student, b2):
        train(config)
        evaluate(EvaluateConfig(device="cpu", run=config.run, teacher=teacher))
    images = sorted((world / "d1" / "val").iterdir())[:2]
    networks = {"teacher": seed / TEACHER, "photocopy": seed / "photocopy" / "pool5"}
    for image in images:
        out = root / "inversion" / image.stem
        invert_all(networks, image, out, InvertConfig(device="cpu", steps=2))
    return root


def test_a_record_holds_what_the_runs_say(runs: Path) -> None:
    made = seed_record(runs / "seed0", runs.name)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert set(made["runs"]) == {TEACHER, "photocopy/pool5", "photocopy/B2_share_0.5"}
    student, b2 = made["runs"]["photocopy/pool5"], made["runs"]["photocopy/B2_share_0.5"]
    assert (student["method"], b2["method"]) == (
        "pool5" if False else "pool3",
        "B2 (50% of labels)",
    )
    assert (b2["share"], b2["samples"]) == (0.5, 3) and student["samples"] == 6
    scored = {(e["run"], e["method"], e["shift"], e["labels"]): e for e in made["evaluations"]}
    assert (TEACHER, "B0", "photocopy", "given") in scored and len(scored) == 4
    path = runs / "seed0/photocopy/pool5/metrics_camvid_d2_photocopy_val.json"
    entry = scored["photocopy/pool5", "pool3", "photocopy", "given"]
    assert entry["miou"] == pytest.approx(read_json(path)["truth"]["miou"], abs=1e-3)
    assert [point["step"] for point in student["curve"]] == [1, 2]
    losses = [m["loss"] for m in read_metrics(runs / "seed0" / TEACHER) if "loss" in m]
    assert made["runs"][TEACHER]["loss"] == [
        [i + 1, pytest.approx(loss, abs=1e-3)] for i, loss in enumerate(losses)
    ]
    assert student["curve"][-1]["miou"] == entry["miou"]
    assert made["shifts"]["photocopy"]["parameters"] == {"mask_radius": 5.0}


def test_moved_labels_are_told_from_given_ones(runs: Path, tmp_path: Path) -> None:
    root = tmp_path / runs.name
    shutil.copytree(runs, root)
    twin = root / "shifts" / "photocopy_moved"
    shutil.copytree(root / "shifts" / "photocopy", twin)
    made_with = read_json(twin / "shift.json") | {"labels": "moved"}
    (twin / "shift.json").write_text(json.dumps(made_with))
    student = root / "seed0" / "photocopy" / "pool5"
    metrics = read_json(student / "metrics_camvid_d2_photocopy_val.json")
    moved = json.dumps(metrics | {"target": str(twin)})
    (student / "metrics_camvid_d2_photocopy_moved_val.json").write_text(moved)
    made = seed_record(root / "seed0", root.name)
    found = [(e["shift"], e["labels"]) for e in made["evaluations"] if "pool5" in e["run"]]
    assert sorted(found) == [("photocopy", "given"), ("photocopy", "moved")]
    assert set(made["shifts"]) == {"photocopy"}
    shutil.rmtree(twin)  # by its name then
    made = seed_record(root / "seed0", root.name)
    assert sorted(e["labels"] for e in made["evaluations"] if "pool5" in e["run"]) == [
        "given",
        "moved",
    ]


def test_loss_curves_are_thinned_by_means() -> None:
    assert thinned([(step, float(step)) for step in range(1, 31)], 10)[:2] == [[3, 2.0], [6, 5.0]]
    assert thinned([(1, 4.0), (2, 6.0)], 1) == [[2, 5.0]] and thinned([], 3) == []


def test_the_page_is_made_of_a_part_of_the_cells(runs: Path, tmp_path: Path) -> None:
    config = ResultsConfig(
        runs=[str(runs)], judge=str(runs / "seed0" / TEACHER), records=str(tmp_path / "records"),
        out=str(tmp_path / "docs" / "results.md"), pictures=str(tmp_path / "docs" / "pictures"),
    )  # fmt: skip
    text = results(config).read_text()
    assert "| a |" in text and "not run yet" in text and "shared, B1" in text
    assert "seeds 0; 3 trainings" in text
    for picture in re.findall(r"\]\((pictures/[^)]+)\)", text):
        assert (tmp_path / "docs" / picture).read_bytes().startswith(b"\x89PNG")
    again = ResultsConfig(records=config.records, out=config.out, pictures=config.pictures)
    assert results(again).read_text() == text, "records alone give the same page"
    (record_file,) = (tmp_path / "records").glob("*_seed0.json")
    lines = record_file.read_text().splitlines()
    assert sum('"method"' in line for line in lines) == 3 + 4, "a line for each run and evaluation"


def test_style_of_inversions_is_measured_in_both_domains(runs: Path) -> None:
    made = style_record(runs, runs / "seed0" / TEACHER)
    assert [(e["shift"], e["network"]) for e in made[:2]] == [
        ("photocopy", "teacher"), ("photocopy", "student"),
    ]  # fmt: skip
    assert len(made) == 4 and all(e["content_others"] > 0 for e in made)
    with pytest.raises(InputError, match="no inversion"):
        style_record(runs / "seed0", runs / "seed0" / TEACHER)


def inverted(maps: str, network: str, nearer: float) -> dict[str, Any]:
    return {"image": "a", "shift": "ripple", "network": network, "maps": maps, "content_own": 0.1,
            "content_others": 0.5, "gram_d1": 0.5 + nearer, "gram_d2": 0.5,
            "colour_d1": 50 + 10 * nearer, "colour_d2": 50}  # fmt: skip


def test_the_reason_why_style_fails_is_told_from_records() -> None:
    own = [inverted("own", "student", -0.4), inverted("own", "teacher", -0.1)]
    own += [
        {**inverted("own", network, 0.9), "image": "not inverted otherwise"}
        for network in ("student", "teacher")
    ]
    (note,) = [
        n for n in in_style([*own, inverted("teacher", "student", 0.2)]).notes if "Reason" in n
    ]
    assert (
        "their own maps of the D1 image: Gram matrices nearer D2 in 0 of 1 (by \u22120.40)" in note
    )
    assert "give to D2's: Gram matrices nearer D2 in 1 of 1 (by +0.20), colours nearer" in note
    assert in_style([*own, inverted("teacher", "student", 0.2)]).parts == in_style(own).parts
    assert not any("Reason" in n for n in in_style(own).notes)


def test_the_front_holds_the_records_and_nothing_else_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{front.BEGIN}\nold\n{front.END}\n\nrest\n")
    folder = tmp_path / "records"
    folder.mkdir()
    for number, made in enumerate((FIRST, SECOND)):
        (folder / f"x_seed{number}.json").write_text(json.dumps(made))
    config = ResultsConfig(
        records=str(folder), out=str(tmp_path / "docs/results.md"), front=str(readme),
        pictures=str(tmp_path / "docs/pictures"),
    )  # fmt: skip
    results(config)
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{front.BEGIN}\n![") and "old\n" not in text
    assert text.endswith(f"\n{front.END}\n\nrest\n")
    assert "| **adapted, no labels (pool5)** | 41.5 ± 2.1 (n = 2) |" in text
    assert "the network has 50.0 (n = 1)" in text and "](docs/results.md)" in text
    picture = re.search(r"\((docs/pictures/[^)]+)\)", text)
    assert picture and (tmp_path / picture[1]).read_bytes().startswith(b"\x89PNG")
    results(config)
    assert readme.read_text() == text
    readme.write_text(f"{front.END} {front.BEGIN}")
    with pytest.raises(InputError, match=r"front: .*README\.md must have"):
        results(config)
    readme.write_text("nothing of ours")
    results(config)
    assert readme.read_text() == "nothing of ours"


def test_the_readmes_block_is_that_of_the_records() -> None:
    found = load(ROOT / "results/evidence")
    made = front.block(
        found, of_methods(found), f"docs/pictures/{front.PICTURE}", "docs/results.md"
    )
    text = (ROOT / "README.md").read_text()
    assert front.placed(text, made, "README.md") == text


@pytest.mark.parametrize("study", ["camvid_evidence", "camvid_evidence_disjoint"])
def test_studies_have_the_rates_that_agreement_chose(study: str) -> None:
    """The documented step from the record of the rates to the experiments that use them."""
    written = read_yaml(ROOT / f"configs/experiment/{study}.yaml")["rates"]
    best = rates.settings(load(ROOT / "results/evidence"))
    assert {name: written[name] for name in best} == best


def test_what_cannot_be_recorded_or_shown_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder seed0"):
        record(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"no \*_seed\*.json"):
        results(ResultsConfig(records=str(tmp_path)))
    (tmp_path / "x_seed0.json").write_text("{}")
    with pytest.raises(InputError, match="not a record of format 1"):
        results(ResultsConfig(records=str(tmp_path)))
    with pytest.raises(InputError, match="judge needs runs"):
        results(ResultsConfig(records=str(tmp_path), judge="runs/x/seed1/teacher"))
