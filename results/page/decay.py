"""Pre-training against weight decay: Tables 1.1 and 1.2 and Figure 6.1 of a thesis (Dai 2018)."""

from collections.abc import Mapping

from results.page.records import VAL, Evidence, mean, shown, table
from viz.figures import COLOURS, drawing, png
from viz.report.tables import stat

RAW, TRAINED = "from scratch", "pre-trained"
STARTS = {RAW: "camvid_evidence_decay_raw", TRAINED: "camvid_evidence_decay_pre"}
DECAYS = {"none": "0", "l2_1em4": "1e-4", "l2_5em4": "5e-4", "l2_1em3": "1e-3"}
"""Penalty in run folders -> the strength as tables have it."""
SPLITS = {"training images": "fit", VAL: VAL}
SCORES = {"loss": "loss", "miou": "mIoU"}


def numbers(found: Evidence, start: str, decay: str, score: str, split: str) -> dict[int, float]:
    """Seed -> loss in nats or mIoU in percent."""
    return found.values(STARTS[start], decay, "", score, split=SPLITS[split])


def told(values: Mapping[int, float], score: str) -> str:
    if score == "miou":
        return shown(values)
    spread = stat(values.values())
    if spread is None:
        return "-"
    return f"{spread.mean:.3f}" + (f" ± {spread.std:.3f}" if spread.n > 1 else "")


def tables(found: Evidence) -> str:
    """Without decay (Table 1.1), under each decay (Table 1.2), and what the runs were."""
    if not any(found.of(study) for study in STARTS.values()):
        return ""
    kinds = [(split, score) for score in SCORES for split in SPLITS]
    heads = [f"{SCORES[score]}, {split}" for split, score in kinds]
    first = [
        [start, *(told(numbers(found, start, "none", k, s), k) for s, k in kinds)]
        for start in STARTS
    ]
    second = [
        [head, *(pair(found, decay, score, split) for decay in DECAYS)]
        for head, (split, score) in zip(heads, kinds, strict=True)
    ]
    parts = [
        budget(found),
        "**Without weight decay** (its Table 1.1)",
        table(["", *heads], first),
        f"**Under each decay** (its Table 1.2): {RAW} / {TRAINED}, the better in bold",
        table(["weight decay", *DECAYS.values()], second),
    ]
    return "\n\n".join(parts)


def pair(found: Evidence, decay: str, score: str, split: str) -> str:
    """`from scratch / pre-trained`; bold is the lower loss or the higher mIoU."""
    values = [numbers(found, start, decay, score, split) for start in STARTS]
    cells = [told(v, score) for v in values]
    if all(values):
        best = (min if score == "loss" else max)(range(2), key=lambda i: mean(values[i]))
        cells[best] = f"**{cells[best]}**"
    return " / ".join(cells)


def budget(found: Evidence) -> str:
    """Images, steps and epochs of the trainings."""
    runs = [r for study in STARTS.values() for o in found.of(study) for r in o["runs"].values()]
    told = sorted(
        {(r["samples"], r["steps"], round(r["steps"] * r["batch"] / r["samples"])) for r in runs}
    )
    return "; ".join(f"{n} labelled images, {s:,} steps ({e} epochs)" for n, s, e in told) + "."


def figure(found: Evidence) -> bytes | None:
    """Figure 6.1: loss and mIoU of training images and val over the decay; None with fewer than
    two decays."""
    there = [d for d in DECAYS if any(numbers(found, s, d, "miou", VAL) for s in STARTS)]
    if len(there) < 2:
        return None
    with drawing(8.4, 3.2, len(SCORES)) as (chart, axes):
        for axis, (score, title) in zip(axes, SCORES.items(), strict=True):
            for start, colour in zip(STARTS, COLOURS, strict=False):
                for split, line in zip(SPLITS, ("--", "-"), strict=True):
                    points = {
                        place: mean(v)
                        for place, decay in enumerate(there)
                        if (v := numbers(found, start, decay, score, split))
                    }
                    axis.plot(list(points), list(points.values()), "o", ls=line, color=colour,
                              ms=4, label=f"{start}, {split}")  # fmt: skip
            axis.set(title=title, xlabel="weight decay")
            axis.set_xticks(range(len(there)), [DECAYS[d] for d in there])
        handles, labels = axes[0].get_legend_handles_labels()
        chart.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return png(chart)
