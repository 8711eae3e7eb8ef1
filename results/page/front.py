"""The one table and the one picture that stand at the README's front, kept between two marks."""

from collections.abc import Sequence
from pathlib import Path

from adapt.disk.files import read_text, write_whole
from adapt.errors import InputError
from results.page.records import (
    GRID,
    SEEDS,
    SHARED,
    SHIFTS,
    Evidence,
    Values,
    days,
    mean,
    over_seeds,
    relative,
    table,
)
from results.page.records_of_runs import TEACHER
from results.page.variations import Worth, at_best, longer_sentence
from viz.figures import COLOURS, GREY, drawing, legend_below, png

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PICTURE = "results_front.png"
METHOD, BOTH = "pool5", "w_inc_kd"
WAYS = {
    "B0": ("the old network as it is (B0)", "old network as it is (B0)", "o", GREY),
    "AdaBN": ("its batch-norm statistics re-estimated (AdaBN)", "AdaBN", "s", COLOURS[5]),
    METHOD: ("**adapted, no labels (pool5)**", "adapted (pool5)", "D", COLOURS[0]),
    BOTH: ("**adapted, no labels, all layers and classifier (w_inc_kd)**", "adapted (w_inc_kd)",
           "v", COLOURS[2]),
    "B2": ("fine-tuned on all labels (B2)", "fine-tuned on labels (B2)", "^", COLOURS[1]),
}  # fmt: skip
"""Name -> what the table and the legend call it, and its mark."""


def scores(found: Evidence) -> dict[str, list[Values]]:
    """Of each way the mIoU on each shift, at the chosen rate."""
    return {n: found.by_shift(GRID[SHARED], run) for n, run in at_best(found, WAYS).items()}


def lines(found: Evidence) -> str:
    """The table, of what was run; `` before the method and B2 were."""
    values = scores(found)
    if not (any(values[METHOD]) and any(values["B2"])):
        return ""
    rows = [[WAYS[name][0], *map(over_seeds, v)] for name, v in values.items() if any(v)]
    return table(["mIoU on CamVid, %", *SHIFTS], rows)


def chart(found: Evidence) -> bytes:
    """A line for each shift from the old network's score to the teacher's on the old domain, with
    a mark for each way of closing that distance."""
    clean = found.values(GRID[SHARED], TEACHER, "")
    values = scores(found)
    with drawing(7.6, 2.8, 1) as (figure, (axis,)):
        for place in range(len(SHIFTS)):
            there = {name: of[-1 - place] for name, of in values.items() if of[-1 - place]}
            ends = [mean(v) for v in (*there.values(), clean) if v]
            if ends:
                axis.plot([min(ends), max(ends)], [place, place], color="#E5E7EB", lw=5, zorder=0)
            for name, score in there.items():
                _, label, marker, colour = WAYS[name]
                axis.plot(mean(score), place, marker, color=colour, ms=9, label=label)
        if clean:
            axis.axvline(mean(clean), color=GREY, ls="--", lw=1, label="before the shift")
        axis.set_yticks(range(len(SHIFTS)), list(reversed(SHIFTS)))
        axis.set(xlabel="mIoU on the new images, %", ylim=(-0.5, len(SHIFTS) - 0.5))
        axis.grid(visible=False)
        legend_below(figure, [axis], 3)
        return png(figure)


def caption(found: Evidence) -> str:
    """What was measured, from the records."""
    clean = found.values(GRID[SHARED], TEACHER, "")
    scored = [s for s in found.scores if s.study == GRID[SHARED] and s.name == METHOD and s.shift]
    runs = [score.run for score in scored]
    pairs, steps = (max(run[key] for run in runs) for key in ("samples", "steps"))
    images = max(score.numbers["images"] for score in scored)
    return (
        f"{pairs} unlabelled pairs, {steps} steps; {images} validation images; mean ± sample "
        f"standard deviation over seeds, n = {len(SEEDS)} unless it is said; learning rates chosen "
        f"without labels, B2's by its labels. Before the shift the network has "
        f"{over_seeds(clean)}. Width-1/4 DeepLab-VGG16 at 240x180, {days(runs)}."
    )


def block(found: Evidence, worths: Sequence[Worth], picture: str, page: str) -> str:
    """What stands between the marks: chart, table, what was measured, what pairs are worth in
    labels with W_inc + kd, and what more steps give. `picture` and `page` are paths as the README
    has them."""
    sentences = [one.sentence() for one in worths if one.method.startswith(BOTH)]
    sentences += filter(None, [longer_sentence(found)])
    parts = [
        f"![mIoU before the shift, on the shifted images, adapted and fine-tuned]({picture})",
        lines(found),
        f"*{caption(found)} [All results]({page}).*",
        "\n".join(f"- {sentence}" for sentence in sentences),
    ]
    return "\n\n".join(part for part in parts if part)


def placed(text: str, content: str, where: str) -> str:
    """The text with what lies between the marks replaced.

    Raises:
        InputError: a mark twice, alone, or in the wrong order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise InputError(f"front: {where} must have {BEGIN} and after it {END}, each once")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    return f"{head}{BEGIN}\n{content}\n{END}{tail}"


def write(path: Path, found: Evidence, worths: Sequence[Worth], pictures: Path, page: Path) -> None:
    """Bring a README's block up to date, with its chart in the folder `pictures`; `page` is the
    page of results.

    Raises:
        InputError: no such file, or marks that enclose nothing.
    """
    if not lines(found):
        return
    links = (relative(one, path.parent) for one in (pictures / PICTURE, page))
    text = placed(read_text(path), block(found, worths, *links), str(path))
    write_whole(pictures / PICTURE, chart(found))
    write_whole(path, text)
