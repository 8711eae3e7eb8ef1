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

from adapt.disk.files import read_json
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.networks.saved import ABOUT
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.viz import InvertConfig
from adapt.training.train import train
from results.page import front, gaps, tables, tried, variations
from results.page.claims import CLAIMS, ranked
from results.page.comparisons import (
    FAILS,
    HOLDS,
    MISSING,
    OPEN,
    PARTLY,
    Claim,
    Comparison,
    joined,
)
from results.page.page import FULL_WIDTH, PAGES, Pages, results
from results.page.records import AGAIN, GRID, SHIFTS, Evidence
from results.page.records_of_runs import TEACHER, record, seed_record
from results.page.style import colour_distance, gram_distance, in_style, style_record
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


def by_letter(found: Evidence) -> dict[str, Claim]:
    return {claim.letter: claim for claim in (judge(found) for judge in CLAIMS)}


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


def test_page_and_readme_are_those_of_the_committed_records(tmp_path: Path) -> None:
    """What `make results` writes; the figures too are made, but other fonts draw other pixels."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    shutil.copyfile(ROOT / "README.md", tmp_path / "README.md")
    out, pictures = tmp_path / "docs/results.md", tmp_path / "docs/pictures"
    results((), None, ROOT / "results/evidence", out, pictures, tmp_path / "README.md")
    made, there = ([root / "docs/results.md", *sorted((root / "docs/results").iterdir())]
                   for root in (tmp_path, ROOT))  # fmt: skip
    assert [path.name for path in made] == [path.name for path in there]
    for page, committed in zip(made, there, strict=True):
        assert page.read_text() == committed.read_text(), committed.name
    assert out.read_text().count("\n") <= 120, "a page of answers"
    assert (tmp_path / "README.md").read_text() == (ROOT / "README.md").read_text()
    text = "".join(page.read_text() for page in made)
    named = {*re.findall(r"\]\(\.\./pictures/(results_[^)]+)\)", text), front.PICTURE}
    assert {path.name for path in pictures.iterdir()} == named


def test_verdicts_are_those_that_the_numbers_say() -> None:
    found = by_letter(Evidence([FIRST, SECOND]))
    a = found["a"]
    assert [one.verdict for one in a.comparisons] == [HOLDS, FAILS, OPEN]
    assert a.comparisons[0].differences == {0: -0.5, 1: -0.5}
    assert a.comparisons[2].differences == {0: 1.0, 1: -2.0}
    assert a.verdict == PARTLY and a.seeds == 2
    assert "ripple \u22122.5 ± 0.7" in a.numbers
    b = found["b"].comparisons
    assert b[1].differences == {0: -1.0}
    assert [one.verdict for one in b] == [HOLDS, FAILS, OPEN]  # cubism: +1, 31 - 31 = 0
    c = found["c"]
    assert c.verdict == OPEN and c.comparisons[0].differences == {0: 0.5, 1: -1.0}
    d = {one.what: one.verdict for one in found["d"].comparisons}
    assert d == {f"{shift} pool{i}": HOLDS for shift in SHIFTS for i in (1, 2, 3)} | {
        "ripple pool3": FAILS
    }
    assert "photocopy pool1 \u22123.0" in found["d"].notes[1]  # over AdaBN: 22 - 25
    furthest = ("ripple \u22122.5 ± 0.7", "ripple \u22121.0", "cubism \u22120.2 ± 1.1")
    assert tuple(found[letter].number for letter in "abc") == furthest
    assert found["d"].number == "ripple pool3 +9.0", "above the limit by most, where none should be"
    assert [one.differences[0] for one in found["e"].comparisons] == [-1.5, 1.0, 1.0]
    assert found["g"].verdict == found["h"].verdict == MISSING
    grid = tables.grid(Evidence([FIRST, SECOND]), "shared", "miou")
    assert "| **pool5** | 41.5 ± 2.1 (n = 2) | 38.5 ± 0.7 (n = 2) | 30.5 ± 0.7 (n = 2) |" in grid


def test_a_comparison_needs_every_seed_and_what_was_not_run_does_not_judge() -> None:
    for differences, negated, verdict in (
        ({0: 0.1, 1: 2.0}, False, HOLDS),
        ({0: 0.1, 1: -2.0}, False, OPEN),
        ({0: 0.0}, False, FAILS),
        ({0: 0.1}, True, FAILS),
        ({0: -0.1, 1: 0.0}, True, HOLDS),
        ({}, False, MISSING),
    ):
        assert Comparison("x", differences, negated=negated).verdict == verdict
    assert joined([MISSING, HOLDS]) == HOLDS and joined([FAILS, HOLDS]) == PARTLY
    assert joined([FAILS, OPEN]) == OPEN and joined([MISSING]) == joined([]) == MISSING


def test_agreement_ranks_by_spearman() -> None:
    """Five checkpoints in the same order but for one swap of neighbours: rho = 1 - 6 * 2 / 120."""
    points = [(10.0, 1.0), (20.0, 2.0), (30.0, 4.0), (40.0, 3.0), (50.0, 9.0)]
    made = [made_record(seed, {"pool5": {"ripple": 9.0}}) for seed in (0, 1)]
    for seed, one in enumerate(made):  # another teacher, other agreements
        one["runs"]["ripple/pool5"]["curve"] = [
            {"step": i, "agreement_miou": a + 100 * seed, "miou": m}
            for i, (a, m) in enumerate(points)
        ]
    claim = ranked(Evidence(made[:1]))
    assert claim.verdict == HOLDS and claim.numbers == "shared, ripple: 0.90 over 5"
    claim = ranked(Evidence(made))
    assert claim.comparisons[0].differences[0] < 0.8
    assert claim.notes[1].endswith("Within a seed, shared, ripple: 0.90, 0.90.")


def test_a_student_that_was_not_scored_on_its_way_counts_with_its_last_scores() -> None:
    """Five students in the same order but for one swap; B1 and B2 are no students."""
    names = ("pool1", "pool2", "pool3", "pool5", "w_inc")
    made = made_record(0, {n: {"ripple": m} for n, m in zip(names, (1, 2, 4, 3, 9), strict=True)}
                       | {"B1": {"ripple": 5.0}, "B2": {"ripple": 6.0}})  # fmt: skip
    for entry in made["evaluations"]:
        entry["agreement"] = 10.0 * ({*names} >= {entry["method"]} and names.index(entry["method"]))
    assert ranked(Evidence([made])).numbers == "shared, ripple: 0.90 over 5"


def test_what_was_trained_again_is_compared_within_a_seed_and_counts_instead() -> None:
    """Seeds that were run in one way only are not compared."""
    study, old = AGAIN[GRID["shared"]], Evidence([FIRST, SECOND])
    again = [
        made_record(seed, {"pool5": {"photocopy": value}}, study)
        for seed, value in ((0, 41.0), (1, 42.5), (2, 99.0))
    ]
    again[1]["runs"]["photocopy/pool5"]["lr"] = 0.5
    found = Evidence([FIRST, SECOND, *again])
    (row,) = variations.repeated(found, variations.DRAWS).splitlines()[2:]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == ["41.8 ± 1.1 (n = 2)", "41.5 ± 2.1 (n = 2)", "\u22120.25", "\u22121.00"]
    place = (GRID["shared"], "pool5", "photocopy")
    assert found.values(*place) == {0: 41.0, 1: 42.5, 2: 99.0}
    assert found.as_recorded().values(*place) == old.values(*place) == {0: 40.0, 1: 43.0}
    assert [r["lr"] for r in found.runs(GRID["shared"]) if r["name"] == "pool5"].count(0.5) == 1
    assert found.values(GRID["disjoint"], "pool5", "photocopy") == {}


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (9.0, "fewer than 10"), (10.0, "about 10"), (15.0, "about 15"), (25.0, "about 60"),
        (30.0, "at least 100 (all of them)"), (99.0, "at least 100 (all of them)"),
    ],
)  # fmt: skip
def test_worth_in_labelled_images(score: float, words: str) -> None:
    assert variations.equal_to(score, [(10, 10.0), (20, 20.0), (100, 30.0)]) == words


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
    made = tuned({"kd": 60, "kd_lr_0.015": 50, "pool5_kd": 60, "pool5_kd_lr_0.015": 61, "B2": 0})
    for entry in made["evaluations"]:
        entry["miou"] += 5 * (entry["method"] == "kd_lr_0.015")
    found = Evidence([made])
    rows = variations.rates(found).splitlines()[2:]
    assert [("chosen" in row, "40.0" in row) for row in rows] == [
        (True, True), (False, False), (False, True), (True, True),
    ]  # fmt: skip
    assert variations.rejected(found) == {"kd_lr_0.015", "pool5_kd"}
    grid = tables.grid(found, "shared", "miou")
    assert "pool5 + kd, rate 0.015" in grid and "| kd, rate" not in grid
    (note,) = by_letter(found)["a"].notes
    assert note.startswith("The best") and "cubism kd +0.0" in note, "sought at chosen rates"
    made["evaluations"] = [  # one rate not yet scored on one shift: nothing is chosen
        e for e in made["evaluations"] if (e["method"], e["shift"]) != ("kd_lr_0.015", "cubism")
    ]
    assert variations.chosen(Evidence([made])) == {"pool5_kd": "pool5_kd_lr_0.015"}
    labelled = tuned({"B2": 60, "B2_lr_0.015": 50})  # by labels, against agreement
    for entry in labelled["evaluations"]:
        entry["miou"] += 5 * ((entry["method"], entry["split"]) == ("B2_lr_0.015", "tune"))
    assert variations.chosen(Evidence([labelled])) == {"B2": "B2_lr_0.015"}


def test_gaps_are_closed_and_b2_is_met_within_a_seed() -> None:
    """Seed 0: 15 of 30 points closed, seed 1: 29 of 29; a shift that costs nothing has no share."""
    own, b0, clean = {0: 35.0, 1: 50.0, 2: 9.0}, {0: 20.0, 1: 21.0, 3: 0.0}, {0: 50.0, 1: 50.0}
    assert gaps.closed(own, b0, clean) == {0: 50.0, 1: 100.0}
    assert gaps.closed(own, {0: 49.5, 1: 21.0}, clean) == {1: 100.0}
    second = made_record(1, {
        "teacher": {"": 52.0}, "B0": everywhere(22), "pool5": everywhere(37), "B2": everywhere(30),
    })  # fmt: skip
    long = made_record(0, {"pool5": {"ripple": 45.0}, "B2": {"ripple": 47.5}}, variations.LONG)
    for run in long["runs"].values():
        run["steps"] = 3000
    rows = gaps.standing(Evidence([FIRST, second, long]), GRID["shared"], ("B0", "pool5", "B2"))
    assert rows.splitlines()[0] == (
        "| mIoU, % (gap closed) | photocopy | ripple: 500 steps | ripple: 3,000 steps | cubism |"
    )
    assert [line.split(" | ")[2:4] for line in rows.splitlines()[2:]] == [
        ["", ""],  # 51.0 ± 1.4 of the teacher stands beside its name
        ["21.0 ± 1.4", ""],
        ["37.5 ± 0.7 (55 %)", "45.0 (n = 1) (83 %)"],  # 18 / 30 and 15 / 30; 25 / 30
        ["35.5 ± 7.8 (48 %)", "47.5 (n = 1) (92 %)"],  # 21 / 30 and 8 / 30; 27.5 / 30
        ["+2.0 ± 7.1", "\u22122.5 (n = 1)"],  # 38 - 41 and 37 - 30
    ]


def test_a_study_of_another_network_has_its_own_shifts_rates_and_verdicts(tmp_path: Path) -> None:
    """Rates by agreement on its own `tune`, shifts as it has them, and a test split of its own; at
    full width claims are judged by its records alone."""
    made = made_record(0, {
        "teacher": {"": 60.0}, "B0": {"camera": 20.0}, "w_inc_kd": {"camera": 30.0},
        "w_inc_kd_lr_0.0005": {"camera": 40.0}, "B2": {"camera": 44.0},
    }, "camvid_foreign")  # fmt: skip
    for name, agreement in (("w_inc_kd", 50.0), ("w_inc_kd_lr_0.0005", 60.0)):
        (entry,) = (e for e in made["evaluations"]
                    if (e["method"], e["labels"]) == (name, "given"))  # fmt: skip
        made["evaluations"].append({**entry, "split": "tune", "agreement": agreement})
    made["evaluations"] = [e for e in made["evaluations"] if e["labels"] == "given"]
    rows = gaps.standing(Evidence([FIRST, made]), "camvid_foreign").splitlines()
    assert rows[0] == "| mIoU, % (gap closed) | camera |"
    assert "| W_inc + kd | 40.0 (50 %) |" in rows and "| W_inc + kd minus B2 | \u22124.0 |" in rows
    made["evaluations"] += [{**e, "split": "test", "miou": e["miou"] - (e["method"] == "B2")}
                            for e in made["evaluations"] if e["split"] == "val"]  # fmt: skip
    found = Evidence([FIRST, made])
    assert gaps.standing(found, "camvid_foreign").splitlines() == rows
    elsewhere = gaps.standing(found, "camvid_foreign", split="test")
    assert "| W_inc + kd minus B2 | \u22123.0 |" in elsewhere
    page = "".join(Pages(found, tmp_path, tmp_path / "results.md", tmp_path).networks())
    assert page.index("**On val**") < page.index("minus B2") < page.index("**On test**")
    full = {**FIRST, "study": "camvid_full_width"}
    full["evaluations"] = [{**e, "miou": 50.0} if e["method"] == "pool5" else e
                           for e in FIRST["evaluations"]]  # fmt: skip
    found = Evidence([FIRST, full])
    both = (by_letter(one)["a"].verdict for one in (found, found.renamed(FULL_WIDTH)))
    assert (*both,) == (PARTLY, HOLDS)


def test_claims_take_the_method_at_its_chosen_rate_as_they_take_b2() -> None:
    """Agreement chooses the low rate, which alone has a second seed; maps are that run's, too."""
    low = "pool5_lr_0.0015"
    scores = {"B0": everywhere(20), low: everywhere(41), "B2": everywhere(40)}
    first = made_record(0, {**scores, "pool5": everywhere(30)})
    first["evaluations"] += [
        {**e, "split": "tune", "agreement": 50.0 + 9 * (e["method"] == low)}
        for e in first["evaluations"] if e["method"].startswith("pool5")
    ]  # fmt: skip
    maps = [{"layer": "pool5", "distance": 0.5, "r2": 0.5}]
    near, far = ([{**maps[0], "distance": d, "r2": 1 - d}] for d in (0.1, 0.9))
    first["features"] = {"before ripple": maps, f"after ripple/{low}": near,
                         "after ripple/pool5": far}  # fmt: skip
    found = Evidence([first, made_record(1, scores)])
    claims = by_letter(found)
    assert claims["a"].comparisons[0].differences == {0: 1.0, 1: 1.0}
    assert claims["g"].verdict == HOLDS
    assert "| ripple | pool5 | 0.50 | 0.10 | 0.50 | 0.90 | 1 |" in tables.features(found)


def test_what_lost_has_a_line_and_what_won_has_none() -> None:
    changes = [
        tried.Change("camvid_evidence_gap_x", "better", "a=1", "Kept.", "val", GRID["shared"]),
        tried.Change("camvid_evidence_gap_y", "worse", "a=2", "Gone.", "val", GRID["shared"]),
    ]
    made = [made_record(0, {"pool5": {"ripple": 38.0 + gain}}, change.study)
            for change, gain in zip(changes, (1, -2), strict=True)]  # fmt: skip
    restyled = made_record(0, {"fda": everywhere(19.0)}, GRID["shared"])
    restyled["evaluations"] += FIRST["evaluations"]
    restyled["runs"] |= FIRST["runs"]
    lines = tried.failed(Evidence([restyled, *made]), changes).splitlines()[2:]
    assert lines[0] == "| worse | ripple, val | pool5 | \u22122.0 | Gone. |"
    assert [line[:15] for line in lines[1:]] == ["| restyle: FDA "] * 3


def test_folds_and_dates_are_tables() -> None:
    """The mean of folds is that of their differences; where folds are missing, it is said."""

    def iou(miou: float) -> dict[str, float]:
        return {"crop": miou - 10, "mIoU": miou}

    methods = ("the teacher on red", "B0", "w_inc_kd", "B2")
    scores = [dict(zip(methods, each, strict=True))
              for each in ((50, 20, 35, 40), (60, 20, 50, 41))]  # fmt: skip
    found = {f"fold{n}": {k: iou(v) for k, v in one.items()} for n, one in enumerate(scores)}
    rows = tables.folds(found).splitlines()
    assert rows[0] == "| IoU, % | crop | mIoU | gap closed | minus B2 |"
    two = " (n = 2)"
    gained = f"32.5 ± 10.6{two} | 42.5 ± 10.6{two} | 62 % | +2.0 ± 9.9{two}"
    assert rows[4] == f"| W_inc + kd | {gained} |"
    assert rows[5].startswith("| B2: fine-tuned on labels |") and len(rows) == 6
    all_of_them = {f"fold{n}": found["fold0"] for n in range(5)}
    assert "n =" not in tables.folds(all_of_them)
    rows = tables.chain([
        {"method": "B0", "shift": "date1", "miou": 40.0, "distortion": 22.4},
        {"method": "pool5", "shift": "date1", "miou": 49.84, "distortion": None},
    ]).splitlines()  # fmt: skip
    assert rows[2] == "| distortion of the teacher | 22.4 |"
    assert "| pool5, from the first teacher | 49.8 |" in rows


def test_style_is_judged_by_distances_to_both_domains() -> None:
    entry = {"image": "a", "shift": "ripple", "content_own": 0.1, "content_others": 0.5}
    near = {"gram_d1": 0.5, "gram_d2": 0.2, "colour_d1": 9.0, "colour_d2": 3.0}
    far = {"gram_d1": 0.2, "gram_d2": 0.5, "colour_d1": 9.0, "colour_d2": 3.0}
    claim = in_style(
        [{**entry, "network": "student", **near}, {**entry, "network": "teacher", **far}]
    )
    found = {one.what: one.verdict for one in claim.comparisons if one.what.startswith("ripple")}
    assert found == {
        "ripple gram student": HOLDS, "ripple gram teacher": HOLDS,
        "ripple colour student": HOLDS, "ripple colour teacher": FAILS,
    }  # fmt: skip
    assert claim.notes[0].startswith("Content: 1 of 1")
    assert claim.notes[1].endswith(": Gram matrices, ripple 1 of 1; colours, ripple 0 of 1.")


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
    inversion; its twin is `photocopy`, with labels as given and moved."""
    root = tmp_path_factory.mktemp("study") / GRID["shared"]
    seed, twin = root / "seed0", root / "shifts" / "photocopy"
    shutil.copytree(world / "teacher", seed / TEACHER)
    for path in (seed / TEACHER).glob("metrics_*"):
        path.unlink()
    shutil.copytree(world / "d2", twin)
    shutil.copytree(world / "d2", moved := root / "shifts" / "photocopy_moved")
    made_with = read_json(moved / "shift.json") | {"labels": "moved"}
    (moved / "shift.json").write_text(json.dumps(made_with))
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
    there = DataConfig(target=str(moved))
    evaluate(EvaluateConfig(device="cpu", run=student.run, teacher=teacher, data=there))
    networks = {"teacher": seed / TEACHER, "photocopy": seed / "photocopy" / "pool5"}
    for image in sorted((world / "d1" / "val").iterdir())[:2]:
        out = root / "inversion" / image.stem
        invert_all(networks, image, out, InvertConfig(device="cpu", steps=2))
    return root


def test_a_record_holds_what_the_runs_say(runs: Path) -> None:
    made = seed_record(runs / "seed0", runs.name)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert set(made["runs"]) == {TEACHER, "photocopy/pool5", "photocopy/B2_share_0.5"}
    student, b2 = made["runs"]["photocopy/pool5"], made["runs"]["photocopy/B2_share_0.5"]
    assert (student["method"], b2["method"]) == ("pool3", "B2 (50% of labels)")
    assert (b2["share"], b2["samples"]) == (0.5, 3) and student["samples"] == 6
    scored = {(e["run"], e["method"], e["shift"], e["labels"]): e for e in made["evaluations"]}
    assert (TEACHER, "B0", "photocopy", "given") in scored and len(scored) == 5
    assert ("photocopy/pool5", "pool3", "photocopy", "moved") in scored
    path = runs / "seed0/photocopy/pool5/metrics_camvid_d2_photocopy_val.json"
    entry = scored["photocopy/pool5", "pool3", "photocopy", "given"]
    assert entry["miou"] == pytest.approx(read_json(path)["truth"]["miou"], abs=1e-3)
    assert [point["step"] for point in student["curve"]] == [1, 2]
    assert student["curve"][-1]["miou"] == entry["miou"]
    assert set(made["shifts"]) == {"photocopy"}
    assert made["shifts"]["photocopy"]["parameters"] == {"mask_radius": 5.0}
    assert (
        made["machines"][0]["commit"] == read_json(runs / "seed0/teacher/env.json")["git"]["commit"]
    )


def test_a_study_that_is_recorded_part_by_part_is_whole(runs: Path, tmp_path: Path) -> None:
    """First without B2, then without the student, as on another machine; then with another one."""
    part, out, whole = tmp_path / runs.name, tmp_path / "parts", tmp_path / "at once"
    record(runs, whole)
    for other in ("B2_share_0.5", "pool5"):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(runs, part)
        shutil.rmtree(part / "seed0" / "photocopy" / other)
        (made,) = record(part, out)
    every, (expected,) = read_json(made), map(read_json, whole.iterdir())
    for key in ("evaluations", "machines"):
        assert sorted(map(str, every.pop(key))) == sorted(map(str, expected.pop(key)))
    assert every == expected
    about = part / "seed0" / "photocopy" / "B2_share_0.5" / ABOUT
    about.write_text(json.dumps(read_json(about) | {"sha256": "of another"}))
    for path in about.parent.glob("metrics_*"):
        path.unlink()
    record(part, out)
    assert not [e for e in read_json(made)["evaluations"] if e["run"].endswith("B2_share_0.5")]


def test_the_page_is_made_of_a_part_of_the_cells(runs: Path, tmp_path: Path) -> None:
    records, out, pictures = (tmp_path / n for n in ("records", "docs/r.md", "docs/pictures"))
    results([runs], runs / "seed0" / TEACHER, records, out, pictures)
    folder = out.with_suffix("")
    texts = {page: page.read_text() for page in [out, *folder.iterdir()]}
    assert texts.keys() == {out} | {folder / f"{name}.md" for name in PAGES}
    assert "| [a](r/claims.md#claim-a) |" in texts[out] and "not run yet" in texts[out]
    assert "seeds 0; 3 trainings" in texts[folder / "trust.md"]
    assert "Not run yet." in texts[folder / "networks.md"]
    results((), None, records, out, pictures)
    assert all(page.read_text() == text for page, text in texts.items()), "of records alone"
    (record_file,) = records.glob("*_seed0.json")
    lines = record_file.read_text().splitlines()
    assert sum('"method"' in line for line in lines) == 3 + 5, "a line for each run and evaluation"
    style = read_json(records / "style.json")
    assert [(e["shift"], e["network"]) for e in style[:2]] == [
        ("photocopy", "teacher"), ("photocopy", "student"),
    ]  # fmt: skip
    assert len(style) == 4 and all(e["content_others"] > 0 for e in style)


def test_what_cannot_be_recorded_or_printed_is_named(tmp_path: Path) -> None:
    where = {"out": tmp_path / "r.md", "pictures": tmp_path}
    with pytest.raises(InputError, match="no folder seed0"):
        record(tmp_path, tmp_path)
    with pytest.raises(InputError, match="no inversion"):
        style_record(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"no \*_seed\*.json"):
        results(records=tmp_path, **where)
    (tmp_path / "x_seed0.json").write_text("{}")
    with pytest.raises(InputError, match="not a record of format 1"):
        results(records=tmp_path, **where)
    with pytest.raises(InputError, match="judge needs --runs"):
        results(records=tmp_path, judge=Path("runs/x/seed1/teacher"), **where)
    with pytest.raises(InputError, match=r"front: README\.md must have"):
        front.placed(f"{front.END} {front.BEGIN}", "", "README.md")
    assert front.placed(f"a {front.BEGIN}\nold\n{front.END} b", "new", "README.md") == (
        f"a {front.BEGIN}\nnew\n{front.END} b"
    )
