"""Charts of scores: Figures 3 and 4 of 003, and a chain's dates, from the report's tables."""

from collections.abc import Container, Iterable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from adapt.settings.choices import B0, B2, BASELINES, CHAIN, TEACHER
from viz.figures import (
    facets,
    literal,
    look,
)
from viz.report.tables import Line, Stat, headline, rank, shifts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")
Scores = Mapping[str, Mapping[str, Stat]]
"""Method -> shift -> score; the teacher's on D1 is of the shift ``."""
TITLES = {"miou": "mIoU", "class_accuracy": "mean class accuracy"}


def batches(items: Iterable[T], size: int) -> list[list[T]]:
    """The items in order, `size` at a time."""
    every = list(items)
    return [every[start : start + size] for start in range(0, len(every), size)]


def scored(lines: Iterable[Line], score: str) -> dict[str, dict[str, Stat]]:
    """As `Scores`; of several lines of one method the first."""
    found: dict[str, dict[str, Stat]] = {}
    for line in lines:
        value = line.scores[score]
        if value is not None and (line.shift or line.method == TEACHER):
            found.setdefault(line.method, {}).setdefault(line.shift, value)
    return found


def bars(lines: list[Line]) -> bytes | None:
    """003, Figure 3: baselines and the method; None without labels."""
    kept, scores = (*BASELINES, headline(lines)), {}
    for score, title in TITLES.items():
        found = scored(lines, score)
        scores[title] = {name: found[name] for name in kept if name in found}
    labelled = any(methods.keys() - {TEACHER} for methods in scores.values())
    return baseline_bars(scores, shifts_of(lines)) if labelled else None


def baseline_bars(scores: Mapping[str, Scores], shifts: Sequence[str]) -> bytes:
    """Methods against baselines (003, Figure 3), a panel a score; the dashed line is the teacher on
    D1."""

    def draw(axis: "Axes", title: str) -> None:
        methods = {name: of for name, of in scores[title].items() if name != TEACHER}
        width = 0.84 / max(1, len(methods))
        for number, (name, of) in enumerate(methods.items()):
            there = [(i, of[shift]) for i, shift in enumerate(shifts) if shift in of]
            spread = [score.std for _, score in there]
            axis.bar(
                [i + (number + 0.5) * width - 0.42 for i, _ in there],
                [score.mean for _, score in there],
                0.92 * width,
                yerr=spread if any(spread) else None,
                color=look(number)[0] if number else "#B6BCC6",
                error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#111827"},
                label=name,
            )
        if clean := scores[title].get(TEACHER, {}).get(""):
            axis.axhline(clean.mean, color="black", ls="--", lw=1.2, label="teacher on D1")
        axis.set(title=title, ylim=(0, None))
        axis.set_xticks(range(len(shifts)), [literal(shift) for shift in shifts])

    size = (max(7.0, 1.5 + 2.4 * len(shifts) * len(scores)), 3.4)
    count = len(next(iter(scores.values())))
    return facets(scores, draw, size, ceil(count / ceil(count / 8)), "percent")


def layer_figure(lines: list[Line]) -> bytes | None:
    """003, Figure 4: the score against the regressed layer; None without a grid."""
    students = [x for x in lines if x.objective and x.shift]
    untreated = {x.method for x in students if not (x.entries[0].treated or x.entries[0].protocol)}
    order = sorted(untreated, key=rank)
    scores = {title: scored(lines, score) for score, title in TITLES.items()}
    joined = {x.method for x in students if single_layer(x)}
    several = len(order) > 1 and scores["mIoU"].keys() - {TEACHER}
    return layer_chart(scores, order, shifts_of(lines), joined) if several else None


def chain_figure(lines: list[Line]) -> bytes | None:
    """Scores over the dates of a chain: baselines, the students of the first teacher, and those of
    the date before. None where there is no chain, or no labels."""
    methods = {line.method for line in lines}
    chained = {name for name in methods if name.endswith(CHAIN)}
    kept = [*BASELINES, *sorted(chained | {name.removesuffix(CHAIN) for name in chained}, key=rank)]
    dates = shifts_of(lines)
    scores = {title: scored(lines, score) for score, title in TITLES.items()}
    scores = {t: {n: of[n] for n in kept if n in of} for t, of in scores.items()}
    return dates_chart(scores, dates) if chained and all(scores.values()) else None


def dates_chart(scores: Mapping[str, Scores], dates: Sequence[str]) -> bytes:
    """A line a method over the dates, a panel a score, with bars of the seeds' spread. The line of
    a chain begins with the first date's student, which it has in common with its objective."""

    def draw(axis: "Axes", title: str) -> None:
        for number, (name, of) in enumerate(scores[title].items()):
            first = scores[title].get(name.removesuffix(CHAIN), {})
            found = {d: of.get(d) or first.get(d) for d in dates} if name != TEACHER else {}
            there = {i: score for i, score in enumerate(found.values()) if score}
            colour, marker = look(number)
            means, spread = [s.mean for s in there.values()], [s.std for s in there.values()]
            if there:
                axis.errorbar(
                    list(there), means, spread, color=colour, fmt=marker, ls="-", capsize=2,
                    label=name,
                )  # fmt: skip
        if clean := scores[title].get(TEACHER, {}).get(""):
            axis.axhline(clean.mean, color="black", ls="--", lw=1.2, label="teacher on D1")
        axis.set(title=title, xlabel="date")
        axis.set_xticks(range(len(dates)), [literal(date) for date in dates])

    return facets(scores, draw, (9.0, 3.6), 6, "percent")


def single_layer(line: Line) -> bool:
    """Is it the regression of one layer and nothing else?"""
    objective = line.entries[0].config["objective"]
    terms = [n for n, term in objective.items() if isinstance(term, dict) and term["weight"]]
    return terms == ["regression"] and len(objective["regression"]["taps"]) == 1


def layer_chart(
    scores: Mapping[str, Scores],
    order: Sequence[str],
    shifts: Sequence[str],
    joined: Container[str],
) -> bytes:
    """Scores of the objectives in `order` against the regressed layer (003, Figure 4), a panel a
    score, B0 and B2 as horizontal lines.

    A line runs through the objectives in `joined`, single layers; mixtures stand beside them.
    """

    def draw(axis: "Axes", title: str) -> None:
        for number, shift in enumerate(shifts):
            colour, marker = look(number)
            of = {name: by_shift.get(shift) for name, by_shift in scores[title].items()}
            found = {i: score for i, name in enumerate(order) if (score := of.get(name))}
            means, spread = [s.mean for s in found.values()], [s.std for s in found.values()]
            axis.errorbar(
                list(found), means, spread, color=colour, fmt=marker, capsize=2, label=shift
            )
            single = {i: score.mean for i, score in found.items() if order[i] in joined}
            axis.plot(list(single), list(single.values()), color=colour)
            for name, dashes in ((B0, ":"), (B2, "--")):
                if value := of.get(name):
                    label = f"{name}, {shift}"
                    axis.axhline(value.mean, color=colour, ls=dashes, lw=1.2, label=label)
        axis.set(title=title, xlabel="regressed layer")
        names = [literal(name) for name in order]
        axis.set_xticks(range(len(order)), names, rotation=30 if len(order) > 6 else 0)
        axis.margins(x=0.06)

    return facets(scores, draw, (9.0, 3.6), 6, "percent")
