"""The page on fine-tuning: what is said of the network of full width, from made-up records."""

from typing import Any

from results.page.fine_tuning import chosen, starts, wide
from results.page.records import Evidence

RATES = {"tuning_l2": ("l2", 1e-3), "tuning_l2_sp": ("l2_sp", 1e-2), "tuning_he": ("l2", 1e-3)}
STARTED = {"tuning_l2": "vgg", "tuning_l2_sp": "vgg", "tuning_he": ""}


def record(
    ending: str, scores: dict[tuple[float, str], float], seed: int = 0, share: float = 0.25
) -> dict[str, Any]:
    """`scores`: rate and split -> mIoU. A rate is a run, whose weights it names."""
    study = f"camvid_largefov{ending and f'_{ending}'}"
    penalty, alpha = RATES.get(ending, ("l2_sp", 1e-2))
    runs = {
        str(rate): {
            "method": "teacher", "penalty": penalty, "alpha": alpha, "lr": rate, "share": share,
            "weights": f"{study} {rate} {seed}", "teacher": STARTED.get(ending, "vgg"),
        }
        for rate, _ in scores
    }  # fmt: skip
    evaluations = [
        {"run": str(rate), "method": "teacher", "shift": "", "labels": "given", "split": split,
         "miou": miou, "iou": [miou, None]}
        for (rate, split), miou in scores.items()
    ]  # fmt: skip
    return {"study": study, "seed": seed, "classes": ["sky", "fence"], "runs": runs,
            "evaluations": evaluations}  # fmt: skip


FOUND = Evidence([
    record("tuning_l2", {(0.005, "tune"): 40.0, (0.01, "tune"): 42.0, (0.01, "val"): 41.0}),
    record("tuning_l2_sp", {(0.005, "tune"): 43.0, (0.01, "tune"): 39.0, (0.005, "val"): 44.5}),
    record("tuning_he", {(0.01, "tune"): 21.0, (0.02, "tune"): 25.0, (0.02, "val"): 24.0}),
    record("", {(0.005, "val"): 46.5}, seed=1),
    record("all", {(0.005, "val"): 50.0}, share=1.0),
])  # fmt: skip


def cells(table: str) -> list[list[str]]:
    return [[c.strip() for c in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_shares_are_of_one_network_and_differences_within_a_seed() -> None:
    """He's start, which is another question, is not among them."""
    scores, by_class = wide(FOUND).split("\n\n")
    assert cells(scores) == [
        ["25 %", "41.0 (n = 1)", "45.5 ± 1.4 (n = 2)", "+3.5 (n = 1)"],
        ["100 %", "-", "50.0 (n = 1)", "-"],
    ]
    assert by_class.startswith("| IoU | L2, 25 % | L2-SP, 25 % | L2-SP, 100 % |")
    assert cells(by_class) == [["sky", "41.0", "45.5", "50.0"], ["fence", "-", "-", "-"]]


def test_each_start_has_its_best_candidate_and_their_number() -> None:
    stronger = record("tuning_he", {(0.01, "tune"): 26.0})
    stronger["runs"]["0.01"] |= {"alpha": 0.1, "weights": "another"}
    found = Evidence([*FOUND.records, stronger | {"study": "camvid_largefov_tuning_strong"}])
    assert cells(starts(found)) == [
        ["the features", "2", "0.001", "0.01", "42.0", "41.0"],
        ["He's initialisation", "3", "0.1", "0.01", "26.0", "-"],
    ]
    assert cells(starts(FOUND))[1][1:] == ["2", "0.001", "0.02", "25.0", "24.0"]
    assert ["L2, He's initialisation", "0.1", "0.01", "**26.0**"] in cells(
        chosen(found, "camvid_largefov")
    )


def test_candidates_of_both_starts_stand_apart() -> None:
    rows = cells(chosen(FOUND, "camvid_largefov"))
    assert [[row[0], row[3]] for row in rows] == [
        ["L2", "40.0"], ["L2", "**42.0**"], ["L2-SP", "**43.0**"], ["L2-SP", "39.0"],
        ["L2, He's initialisation", "21.0"], ["L2, He's initialisation", "**25.0**"],
    ]  # fmt: skip


def test_nothing_is_said_of_what_was_not_run() -> None:
    nothing = Evidence([])
    assert not wide(nothing) and not starts(nothing) and not chosen(nothing, "camvid_largefov")
    assert not starts(Evidence(FOUND.records[:2]))
