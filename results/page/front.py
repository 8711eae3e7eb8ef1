"""The one table and the one picture that stand at the README's front, kept between two marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adapt.disk.files import read_text, write_whole
from adapt.errors import InputError
from adapt.machine.runtime import say
from results.page import longer
from results.page.rates import at_best
from results.page.records import GRID, SEEDS, SHARED, SHIFTS, Evidence, mean, relative, shown, table
from results.page.records_of_runs import TEACHER
from results.page.worth import Worth
from viz.figures import COLOURS, GREY, drawing, png

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PICTURE = "results_front.png"
METHOD, BOTH = "pool5", "w_inc_kd"
ROWS = {
    "B0": "the old network as it is (B0)",
    "AdaBN": "its batch-norm statistics re-estimated (AdaBN)",
    METHOD: "**adapted, no labels (pool5)**",
    BOTH: "**adapted, no labels, all layers and classifier (w_inc_kd)**",
    "B2": "fine-tuned on all labels (B2)",
}
LOOKS = {
    "B0": ("o", GREY, "old network as it is (B0)"),
    "AdaBN": ("s", COLOURS[5], "AdaBN"),
    METHOD: ("D", COLOURS[0], "adapted (pool5)"),
    BOTH: ("v", COLOURS[2], "adapted (w_inc_kd)"),
    "B2": ("^", COLOURS[1], "fine-tuned on labels (B2)"),
}


def scores(found: Evidence, name: str) -> list[Mapping[int, float]]:
    """Of each shift: seed -> mIoU, at the chosen rate."""
    run = at_best(found, [name])[name]
    return [found.values(GRID[SHARED], run, shift) for shift in SHIFTS]


def lines(found: Evidence) -> str:
    """The table, of what was run; `` before the method and B2 were."""
    if not (any(scores(found, METHOD)) and any(scores(found, "B2"))):
        return ""
    rows = [
        [told, *(shown(v, full=len(SEEDS)) for v in scores(found, name))]
        for name, told in ROWS.items()
        if any(scores(found, name))
    ]
    return table(["mIoU on CamVid, %", *SHIFTS], rows)


def chart(found: Evidence) -> bytes:
    """A line for each shift from the old network's score to the teacher's on the old domain, with
    a mark for each way of closing that distance."""
    clean = found.values(GRID[SHARED], TEACHER, "")
    by_name = {n: dict(zip(SHIFTS, scores(found, n), strict=True)) for n in LOOKS}
    with drawing(7.6, 2.8, 1) as (figure, (axis,)):
        for place, shift in enumerate(reversed(SHIFTS)):
            there = [v for n in LOOKS if (v := by_name[n][shift])]
            ends = [mean(v) for v in (*there, clean) if v]
            if ends:
                axis.plot([min(ends), max(ends)], [place, place], color="#E5E7EB", lw=5, zorder=0)
            for name, (marker, colour, label) in LOOKS.items():
                if values := by_name[name][shift]:
                    axis.plot(mean(values), place, marker, color=colour, ms=9,
                              label=label if shift == SHIFTS[0] else None)  # fmt: skip
        if clean:
            axis.axvline(mean(clean), color=GREY, ls="--", lw=1, label="before the shift")
        axis.set_yticks(range(len(SHIFTS)), list(reversed(SHIFTS)))
        axis.set(xlabel="mIoU on the new images, %", ylim=(-0.5, len(SHIFTS) - 0.5))
        axis.grid(visible=False)
        figure.legend(loc="outside lower center", ncols=3)
        return png(figure)


def caption(found: Evidence) -> str:
    """What was measured, from the records."""
    clean = found.values(GRID[SHARED], TEACHER, "")
    scored = [s for s in found.scores if s.study == GRID[SHARED] and s.name == METHOD and s.shift]
    runs = [score.run for score in scored]
    pairs = max(run["samples"] for run in runs)
    steps = max(run["steps"] for run in runs)
    days = sorted({run["finished"] for run in runs})
    images = max(score.numbers["images"] for score in scored)
    return (
        f"{pairs} unlabelled pairs, {steps} steps; {images} validation images; mean ± sample "
        f"standard deviation over seeds, n = {len(SEEDS)} unless it is said; learning rates chosen "
        f"without labels, B2's by its labels. Before the shift the network has "
        f"{shown(clean, full=len(SEEDS))}. Width-1/4 DeepLab-VGG16 at 240x180, "
        f"{days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'}."
    )


def block(found: Evidence, worths: Sequence[Worth], picture: str, page: str) -> str:
    """What stands between the marks: chart, table, what was measured, what pairs are worth in
    labels with W_inc + kd, and what more steps give. `picture` and `page` are paths as the README
    has them."""
    told = [one.sentence() for one in worths if one.method.startswith(BOTH)]
    told += filter(None, [longer.sentence(found)])
    parts = [
        f"![mIoU before the shift, on the shifted images, adapted and fine-tuned]({picture})",
        lines(found),
        f"*{caption(found)} [All results]({page}).*",
        "\n".join(f"- {sentence}" for sentence in told),
    ]
    return "\n\n".join(part for part in parts if part)


def placed(text: str, content: str, where: str) -> str:
    """The text with what lies between the marks replaced.

    Raises:
        InputError: a mark twice, alone, or in the wrong order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise InputError(f"front: {where} must have {BEGIN} and behind it {END}, each once")
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
    text = read_text(path)
    if BEGIN not in text and END not in text:
        say(f"{path}: no {BEGIN} in it, so no table was put there")
        return
    write_whole(pictures / PICTURE, chart(found))
    links = (relative(one, path.parent) for one in (pictures / PICTURE, page))
    write_whole(path, placed(text, block(found, worths, *links), str(path)).encode())
