"""The contest's page against numbers made by hand."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_1samp

from adapt.disk.files import write_json
from adapt.errors import InputError
from results.page import contest as page
from results.page.choosing import (
    DISJOINT,
    LAYERS,
    LONG,
    MAIN,
    SHIFTS,
    advancing,
    choices,
    chosen,
    standing,
    winner,
)
from results.page.contest import contest
from results.page.records import Evidence, with_minus
from results.page.records_of_runs import TEACHER

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"cpu": "Z80", "threads": 1, "precision": "fp32"}
RUN = {"shift": "", "lr": 0.05, "teacher": "", "weights": "", "seconds": 180.0,
       "finished": "2026-01-02"}  # fmt: skip
SEEDS = {0: 0.0, 1: 1.0, 2: 5.0}
"""Seed -> what its teacher adds to every score."""


def made(study: str, seed: int, **methods: tuple[float, float]) -> dict[str, Any]:
    """A record of runs (mIoU on `tune`, agreement there); on val they have 2 less and keep 40, the
    teacher has 50. A name that ends in _lr_X has that rate, `slow` takes three times as long."""
    taught, runs, found = (
        f"sha {study} {seed}",
        {TEACHER: {**RUN, "weights": f"sha {study} {seed}"}},
        [],
    )

    def scored(run: str, name: str, shift: str, split: str, miou: float, agreement: float) -> None:
        found.append({"run": run, "method": name, "shift": shift, "labels": "given", "split": split,
                      "miou": miou, "agreement": agreement})  # fmt: skip

    for split, less in (("tune", 0), ("val", 2)):
        scored(TEACHER, TEACHER, "", split, 50.0, 100.0)
        for shift in SHIFTS:
            scored(TEACHER, "B0", shift, split, 10.0 - less, 20.0)
            for name, (miou, agreement) in methods.items():
                run, rate = f"{shift}/{name}", name.partition("_lr_")[2]
                time = 540.0 if "slow" in name else 180.0
                runs[run] = {**RUN, "shift": shift, "teacher": taught, "seconds": time,
                             "lr": float(rate or 0.05)}  # fmt: skip
                added = SEEDS[seed] + SHIFTS.index(shift) - less
                scored(run, name, shift, split, miou + added, agreement)
                scored(run, name, "", split, 40.0, 99.0)
    return {"format": 1, "study": study, "seed": seed, "machines": [MACHINE], "runs": runs,
            "evaluations": found}  # fmt: skip


FIRST = {
    "B2": (30.0, 70.0), "B2_lr_0.015": (31.0, 60.0), "w_inc_kd": (33.0, 60.0),
    "w_inc_kd_lr_0.015": (32.0, 61.0), "pool5": (30.0, 60.0), "slow": (36.0, 60.0),
    "quick": (35.8, 60.0), "third": (34.0, 60.0), "fourth": (33.5, 60.0),
}  # fmt: skip
FIRST |= {f"{m}_lr_0.015": (1.0, 1.0) for m in ("pool5", "slow", "quick", "third", "fourth")}
RATES = "pool5: [0.05], slow: [0.05], quick: [0.05], third: [0.05], fourth: [0.05]}"
LATER = {"B2_lr_0.015": (32.0, 1.0), "w_inc_kd_lr_0.015": (32.0, 1.0), "slow": (36.1, 1.0),
         "quick": (35.8, 1.0), "third": (34.0, 1.0)}  # fmt: skip
ROUND1 = made(MAIN, 0, **FIRST)
ROUND2 = [made(MAIN, seed, **LATER) for seed in (1, 2)]


def test_rates_are_chosen_without_labels_and_methods_by_them_on_tune() -> None:
    found = Evidence([ROUND1], {})
    best = chosen(found, MAIN)
    assert best["B2"] == "B2_lr_0.015", "by mIoU; agreement would choose the other"
    assert best["w_inc_kd"] == "w_inc_kd_lr_0.015", "by agreement; mIoU would choose the other"
    assert advancing(found) == ["slow", "quick", "third"], "at most three, ahead of w_inc_kd"
    assert winner(found) == "", "before all of them have three seeds"
    text = choices(found, MAIN)
    assert ("round 2: slow, quick, third; `'rates={B2: [0.015], w_inc_kd: [0.015], slow: [0.05], "
            "quick: [0.05], third: [0.05]}'`.") in text  # fmt: skip
    assert f"`'rates={{B2: [0.015], w_inc_kd: [0.015], {RATES}'`" in text
    row = "| w_inc_kd | 0.015 | 32.0 | 33.0 | 34.0 | 35.0 | 33.5 | 40.0 | 61.0 | chosen |"
    assert row in text


def test_a_rate_is_chosen_on_ripple_before_the_other_shifts_are_run() -> None:
    only = {**ROUND1, "evaluations": [
        e for e in ROUND1["evaluations"] if e["run"] in (TEACHER, *(f"ripple/{n}" for n in FIRST))
    ]}  # fmt: skip
    found = Evidence([only], {})
    assert chosen(found, MAIN) == chosen(Evidence([ROUND1], {}), MAIN)
    assert not standing(found, MAIN, [0]), "no method has all shifts"
    text = choices(found, MAIN)
    assert "| w_inc_kd | 0.015 | - | 33.0 | - | - | - | - | 61.0 | chosen |" in text
    assert "Ahead of" not in text and f"`'rates={{B2: [0.015], w_inc_kd: [0.015], {RATES}'`" in text


def without(record: dict[str, Any], *runs: str) -> dict[str, Any]:
    """The record before these were trained."""
    return {**record, "runs": {n: r for n, r in record["runs"].items() if n not in runs},
            "evaluations": [e for e in record["evaluations"] if e["run"] not in runs]}  # fmt: skip


def test_half_a_round_chooses_nothing() -> None:
    """Neither a rate before the other is scored, nor methods before all have all shifts."""
    found = Evidence([without(ROUND1, "ripple/third_lr_0.015")], {})
    assert "third" not in chosen(found, MAIN)
    text = choices(found, MAIN)
    assert "Not trained at every rate or on every shift yet: third." in text
    assert "third: [" not in text and "Ahead of" not in text
    found = Evidence([without(ROUND1, "camera/third"), *ROUND2], {})
    assert "shift yet: third." in choices(found, MAIN) and winner(found) == ""


def test_a_rate_that_diverges_has_lost() -> None:
    """Its method goes on with the other; one whose chosen rate diverges elsewhere is out."""
    lost = ["ripple/third", "camera/fourth"]
    found = Evidence([without(ROUND1, *lost) | {"diverged": lost}], {})
    assert chosen(found, MAIN)["third"] == "third_lr_0.015"
    text = choices(found, MAIN)
    assert "Diverged: ripple/third, camera/fourth." in text and "third: [0.015]" in text
    assert advancing(found) == ["slow", "quick"] and "not trained" not in text.lower()


def test_the_faster_of_two_that_are_close_wins() -> None:
    """slow is 0.2 ahead of quick, and takes three times as long; third is 2 behind."""
    assert winner(Evidence([ROUND1, *ROUND2], {})) == "quick"
    ahead = [made(MAIN, seed, **LATER | {"slow": (37.1, 1.0)}) for seed in (1, 2)]
    assert winner(Evidence([ROUND1, *ahead], {})) == "slow"


def test_of_two_that_are_close_and_as_fast_the_better_wins() -> None:
    """quick's trainings take 195 s and slow's 205 s, which is less than a tenth more."""
    times = {"quick": 195.0, "slow": 205.0}
    records = [ROUND1, *ROUND2]
    for one in records:
        runs = {n: {**r, "seconds": times.get(n.rpartition("/")[2], 180.0)}
                for n, r in one["runs"].items()}  # fmt: skip
        records[records.index(one)] = {**one, "runs": runs}
    assert winner(Evidence(records, {})) == "slow"


def test_round_3_may_be_scored_before_the_others() -> None:
    """Then nobody knows the ceiling, and so no aim."""
    early = [{**r, "evaluations": [e for e in r["evaluations"] if e["split"] != "val"]}
             for r in (ROUND1, *ROUND2)]  # fmt: skip
    found = Evidence([*early, made(LONG, 0, **FIRST)], {})
    assert winner(found) == "quick"
    *tables, aims = page.scores(found, LONG)
    assert "the ceiling | - |" in tables[0] and not aims


def test_the_choice_by_pairs_is_held_against_the_best_layer_alone() -> None:
    """On ripple pool3 is the best; elsewhere it is pool5, which is round 1's."""
    single = {f"pool{i}": (20.0 + i, 1.0) for i in range(1, 5)}
    study = made(LAYERS, 0, **single, w_dec=(24.0, 1.0), auto=(28.0, 1.0), pairs=(29.5, 1.0))
    for shift in SHIFTS:
        study["runs"][f"{shift}/pairs"] |= {"taps": ["pool2", "pool4"], "teacher": f"sha {MAIN} 0"}
    for one in study["evaluations"]:
        if (one["run"], one["shift"]) == ("ripple/pool3", "ripple"):
            one["miou"] = 41.0
    later = made(MAIN, 1, **LATER, pool5=(90.0, 1.0))  # a seed that the others have not
    found = Evidence([ROUND1, study, later], {})
    text = page.layers(found, "tune")
    assert text.startswith("mIoU on `tune`, one seed.")
    for row in (
        "| | photocopy | ripple | cubism | camera |",
        "| pool5 | 30.0 | 31.0 | 32.0 | 33.0 |",
        "| pool3 | 23.0 | 41.0 | 25.0 | 26.0 |",
        "| auto | 28.0 | 29.0 | 30.0 | 31.0 |",
        "| the best layer alone | pool5 | pool3 | pool5 | pool5 |",
        "| taps=pairs took | pool2, pool4 | pool2, pool4 | pool2, pool4 | pool2, pool4 |",
        with_minus("| its student minus the best layer's | -0.5 | -10.5 | -0.5 | -0.5 |"),
    ):
        assert row.replace("| |", "|  |") in text, (row, text)
    without = [e for e in study["evaluations"] if e["run"] != "camera/pairs"]
    assert "camera" not in page.layers(
        Evidence([ROUND1, {**study, "evaluations": without}], {}), "val"
    )
    assert page.layers(Evidence([ROUND1], {}), "val") == ""


def test_differences_are_paired_and_have_students_interval() -> None:
    """quick - B2 is 4.8, 3.8, 3.8 over the seeds, whatever their teachers add."""
    found = Evidence([ROUND1, *ROUND2], {})
    text = page.of_shifts(found, MAIN, SHIFTS)
    assert text.splitlines()[2].startswith(
        "| the teacher on the old images: the ceiling | 50.0 ± 0.0"
    )
    (row,) = (line for line in text.splitlines() if line.startswith("| quick"))
    low, high = ttest_1samp([4.8, 3.8, 3.8], 0).confidence_interval()
    assert f"| +4.1 ({low:+.1f} to {high:+.1f}) |" in row
    assert "| 40.0 ± 0.0 |" in row, "what is kept"
    (camera,) = (line for line in page.of_shifts(found, MAIN, ("camera",)).splitlines()
                 if line.startswith("| quick"))  # fmt: skip
    assert "| 38.8 ± 2.6 |" in camera  # 35.8 + 3 - 2, and 0, 1, 5 of the seeds
    (loser,) = (line for line in text.splitlines() if line.startswith("| fourth"))
    assert "(one seed)" in loser
    aims = page.aims(found, MAIN)
    assert "| photocopy | 33.7 | 35.8 | reached |" in aims  # B2: 31.7 - 2 + 2, and 2 above it


def test_one_network_for_all_shifts_stands_beside_the_specialists() -> None:
    """It competes with nobody, keeps one thing of the old domain, and B0 keeps the ceiling."""
    record = made(MAIN, 0, **FIRST)
    record["runs"]["merged"] = {**RUN, "shift": SHIFTS[0], "seconds": 0.0}
    record["runs"]["together"] = {**RUN, "seconds": 900.0}
    for name, miou in (("merged", 90.0), ("together", 25.0)):
        one = {"run": name, "method": name, "labels": "given", "agreement": 60.0, "miou": miou}
        for split in ("tune", "val"):
            record["evaluations"] += [one | {"shift": s, "split": split} for s in SHIFTS]
            record["evaluations"] += [one | {"shift": "", "split": split, "miou": 44.0}]
    found = Evidence([record, *ROUND2], {})
    assert winner(found) == "quick" and "merged" not in choices(found, MAIN)
    text = page.of_shifts(found, MAIN, SHIFTS)
    assert with_minus("| together | 25.0 | 60.0 | 44.0 | -5.5 (one seed) |") in text
    assert "| merged | 90.0 | 60.0 | 44.0 |" in text
    assert "| B0 | 8.0 ± 0.0 | 20.0 ± 0.0 | 50.0 ± 0.0 |" in text


def test_the_page_has_every_round_and_its_teachers(tmp_path: Path) -> None:
    folder, out = tmp_path / "records", tmp_path / "contest.md"
    shutil.copyfile(ROOT / "docs/contest.md", out)
    long = without(made(LONG, 0, **FIRST | LATER), TEACHER)
    long["runs"] = {n: {**r, "teacher": f"sha {MAIN} 0"} for n, r in long["runs"].items()}
    for one in (ROUND1, *ROUND2, made(DISJOINT, 0, **LATER), long):
        write_json(folder / f"{one['study']}_seed{one['seed']}.json", one)
    contest((), folder, out, ROOT / "results/evidence")
    text = out.read_text()
    assert text.count("### Choosing on `tune`") == 2 and text.count("### Scores on `val`") == 3
    assert text.count("the ceiling | 50.0") == 3 * 5, "also where the teachers are another study's"
    assert (
        f"{MAIN}, seed 2: `sha {MAIN} 2`"[:30] in text and "**The winner: quick**; `'rates=" in text
    )
    rules = re.sub("<!-- results: begin.*results: end -->", "", text, flags=re.DOTALL)
    assert rules in re.sub("<!-- results: begin.*results: end -->", "",
                           (ROOT / "docs/contest.md").read_text(), flags=re.DOTALL)  # fmt: skip
    long["runs"]["camera/quick"]["teacher"] = "sha of another"
    write_json(folder / f"{LONG}_seed0.json", long)
    with pytest.raises(InputError, match=f"{LONG}, seed 0, camera/quick: its teacher has SHA-256"):
        contest((), folder, out, ROOT / "results/evidence")


def test_the_page_is_that_of_the_committed_records(tmp_path: Path) -> None:
    out = tmp_path / "contest.md"
    shutil.copyfile(ROOT / "docs/contest.md", out)
    contest((), ROOT / "results/contest", out, ROOT / "results/evidence")
    assert out.read_text() == (ROOT / "docs/contest.md").read_text()
