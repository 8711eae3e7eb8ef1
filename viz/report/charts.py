"""The report's Figures 3 and 4 of 003, from its tables' lines."""

from collections.abc import Iterable

from adapt.settings.choices import B0, B2, BASELINES, TEACHER
from viz.figures import Bars, Layers, Stat, baseline_bars, layer_chart
from viz.report.tables import Line, headline, rank


def shifts_of(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line.shift for line in lines if line.shift))


def scored(lines: Iterable[Line], score: str) -> dict[str, dict[str, Stat]]:
    """Method -> shift -> (mean, std), for methods on a shift."""
    found: dict[str, dict[str, Stat]] = {}
    for line in lines:
        value = line.scores[score]
        if line.shift and value is not None:
            found.setdefault(line.method, {}).setdefault(line.shift, (value.mean, value.std))
    return found


SCORES = {"miou": "mIoU", "class_accuracy": "mean class accuracy"}


def bars(lines: list[Line]) -> bytes | None:
    """003, Figure 3: baselines and the method; None without labels."""
    method, panels = headline(lines), []
    for score, title in SCORES.items():
        found = scored(lines, score)
        kept = {m: found[m] for m in (*BASELINES, method) if m in found}
        clean = next((x.scores[score] for x in lines if x.method == TEACHER), None)
        panels.append(Bars(title, kept, clean.mean if clean else None))
    return baseline_bars(panels, shifts_of(lines)) if any(p.methods for p in panels) else None


def layer_figure(lines: list[Line]) -> bytes | None:
    """003, Figure 4: the score against the regressed layer; None without a grid."""
    order = sorted(
        {x.method for x in lines if x.objective and x.shift and x.entries[0].plain}, key=rank
    )
    if len(order) < 2:
        return None
    panels = []
    for score, title in SCORES.items():
        found = scored(lines, score)
        by_shift = {
            shift: {m: found[m][shift] for m in order if shift in found.get(m, {})}
            for shift in shifts_of(lines)
        }
        references = {
            shift: {b: found[b][shift] for b in (B0, B2) if shift in found.get(b, {})}
            for shift in shifts_of(lines)
        }
        panels.append(Layers(title, by_shift, references))
    joined = {x.method for x in lines if x.objective and single_layer(x)}
    return layer_chart(panels, order, joined) if any(scored(lines, "miou").values()) else None


def single_layer(line: Line) -> bool:
    """Is it the regression of one layer and nothing else?"""
    objective = line.entries[0].config["objective"]
    terms = [n for n, term in objective.items() if isinstance(term, dict) and term["weight"]]
    return terms == ["regression"] and len(objective["regression"]["taps"]) == 1
