"""The report's section about penalties against each other and about frozen layers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adapt.disk.tables import csv_of
from viz.figures import COLOURS, GREY, facets, literal, look
from viz.report.charts import batches
from viz.report.penalties import AGREEMENT, DROP, FREE, NEW, NONE, OLD, Panel, Trial, is_grid
from viz.report.tables import Stat

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 3
"""Panels in a row."""
DASH = "\u2013"
ERRORS: dict[str, Any] = {"capsize": 2, "elinewidth": 0.9}
RING: dict[str, Any] = {"marker": "o", "s": 150, "facecolors": "none", "edgecolors": "black",
                        "linewidths": 1.3, "zorder": 5}  # fmt: skip
CONTROL: dict[str, Any] = {"color": "black", "marker": "*", "ms": 12, "ls": "none", "label": FREE}
CLEAN: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 1.1, "label": "teacher on D1"}


def penalties_section(panels: Sequence[Panel]) -> dict[str, Any]:
    """Penalties against each other (001, Figures 1 to 3, and Table 5) as report.html has them;
    empty without any."""
    if not panels:
        return {}
    compared = [p for p in panels if len({t.penalty for t in p.free} - {NONE}) or len(p.free) > 1]
    several = [p for p in compared if len(p.forms) > 1]
    both = [p for p in compared if any(point(t, p) for t in p.free)]
    return {
        "sentences": [sentence for panel in panels for sentence in sentences_of(panel)],
        "tables": [table_of(panel) for panel in panels],
        "chosen": any(p.choices() for p in compared),
        "side_by_side": [side_by_side(group) for group in batches(several, PANELS)],
        "forgetting": [forgetting(group) for group in batches(both, PANELS)],
        "strengths": [(p, over_alpha(p), heat_map(p)) for p in compared],
        "frozen": [(p, freezing(p)) for p in panels if p.frozen],
    }


def sentences_of(panel: Panel) -> Iterator[str]:
    """How alpha was chosen, and what that gave on the split of the figures."""
    where = f"{panel.title}: "
    if not panel.selection:
        yield (
            f"{where}nothing was chosen: no run was scored on a part of the training data that "
            "none was trained on. Score them on one, or name another split with selection=SPLIT."
        )
        return
    several = {form: c for form, c in panel.choices().items() if c.among > 1}
    if several:
        labels = "; ".join(c.trial.label for c in several.values())
        yield (f"{where}alpha was chosen by {panel.metric} on {panel.selection}, scores are of "
               f"{panel.split}. Chosen: {labels}.")  # fmt: skip
    ends = []
    for form, choice in several.items():
        alphas = [t.alpha for t in panel.forms[form]]
        if min(alphas) < max(alphas) and choice.trial.alpha in (min(alphas), max(alphas)):
            ends.append(form)
    if ends:
        yield (f"{where}at an end of the alphas tried, so a further one may do better: "
               f"{', '.join(ends)}.")  # fmt: skip
    without = panel.choices(AGREEMENT) if panel.metric != AGREEMENT else {}
    other = [c for f, c in without.items() if f in several and c.trial is not several[f].trial]
    if other:
        yield (f"{where}agreement on {panel.selection}, which needs no labels, would choose "
               f"{'; '.join(c.trial.label for c in other)}.")  # fmt: skip
    every = tuple(sorted({seed for t in panel.free for seed, _ in t.runs}))
    fewer = [(form, c.seeds) for form, c in several.items() if c.seeds != every]
    if fewer:
        seeds = "; ".join(f"{form} on {', '.join(map(str, seeds))}" for form, seeds in fewer)
        yield f"{where}compared on the seeds that all alphas have: {seeds}."
    if missing := sorted({name for c in several.values() for name in c.without}):
        yield f"{where}without a score on {panel.selection}: {'; '.join(missing)}."
    if (best := panel.overall) and (score := best.trial.stat(NEW, panel.split)):
        text = (
            f"{where}of all, {panel.selection} chooses {best.trial.label}: {score} on {panel.split}"
        )
        control = panel.control and panel.control.stat(NEW, panel.split)
        beside = control and best.trial is not panel.control
        yield f"{text}; without a penalty {control}." if beside else f"{text}."


def table_of(panel: Panel) -> tuple[str, list[str], list[tuple[str, ...]]]:
    """Every trial with its scores."""
    heads = {"penalty": [t.label for t in panel.trials]}
    columns = [
        (f"{panel.metric}, {panel.selection}", NEW, panel.selection),
        (f"agreement, {panel.selection}", AGREEMENT, panel.selection),
        (f"{panel.metric}, {panel.split}", NEW, panel.split),
        (f"agreement, {panel.split}", AGREEMENT, panel.split),
        (f"on D1, {panel.split}", OLD, panel.split),
        ("lost on D1", DROP, panel.split),
    ]
    for head, what, split in columns:
        stats = [t.stat(what, split) for t in panel.trials]
        if any(stats) and head not in heads:
            heads[head] = [str(s) if s else DASH for s in stats]
    if panel.control and len(panel.trials) > 1:
        gains = [panel.over_control(t) for t in panel.trials]
        heads["over no penalty"] = [
            DASH if g is None else f"+{g}" if g.mean > 0 else str(g) for g in gains
        ]
    if chosen := chosen_of(panel):
        heads["chosen"] = ["yes" if id(t) in chosen else "" for t in panel.trials]
    heads["n"] = [str(len(t.runs)) for t in panel.trials]
    return f"Penalties, {panel.title}", list(heads), list(zip(*heads.values(), strict=True))


def chosen_of(panel: Panel) -> set[int]:
    """Identities of the trials that the selection split chose among several."""
    return {id(c.trial) for c in panel.choices().values() if c.among > 1}


def rejected(panels: Iterable[Panel]) -> set[str]:
    """Runs that the selection split did not choose, where it chose one of their panel."""
    found: set[str] = set()
    for panel in panels:
        if (best := panel.overall) and best.trial.stat(NEW, panel.split):
            runs = {run for t in panel.trials for run in t.runs.values()}
            found |= runs - set(best.trial.runs.values())
    return found


def described(panels: Iterable[Panel]) -> dict[str, str]:
    """Run that the selection split chose of its panel -> what it is, for sentences."""
    return {
        run: f"{best.trial.label}; chosen by {panel.metric} on {panel.selection}"
        for panel in panels
        if (best := panel.overall)
        for run in best.trial.runs.values()
    }


def csv_of_trials(panels: Iterable[Panel]) -> str:
    """A line for each run, split and kind of score of every trial."""
    rows: list[Sequence[object]] = [
        ("panel", "penalty", "form", "alpha", "beta", "freeze", "seed", "split", "what", "score",
         "run"),
    ]  # fmt: skip
    for panel in panels:
        for t in panel.trials:
            about = (panel.title, t.penalty, t.form, t.alpha, t.beta, t.freeze)
            for (what, split), scores in t.scores.items():
                for key, score in scores.items():
                    rows.append((*about, key[0], split, what, score, t.runs[key]))
    return csv_of(rows)


# The figures


def styles(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Line of a panel -> colour and marker, the same in every figure."""
    names = dict.fromkeys(name for p in panels for name in (*p.lines, *p.forms) if name != FREE)
    return {name: look(i) for i, name in enumerate(names)} | {FREE: ("#111827", "*")}


def point(trial: Trial, panel: Panel) -> tuple[Stat, Stat] | None:
    """Its scores on D1 and on the new domain; None where one is missing."""
    x, y = trial.stat(OLD, panel.split), trial.stat(NEW, panel.split)
    return (x, y) if x and y else None


def curve(
    axis: "Axes", points: Sequence[tuple[float, Stat]], style: tuple[str, str], name: str
) -> None:
    """A line through scores with their deviations."""
    at, scores = [x for x, _ in points], [score for _, score in points]
    means, spread = [s.mean for s in scores], [s.std for s in scores]
    axis.errorbar(at, means, spread, color=style[0], marker=style[1], label=name, **ERRORS)


def ring(axis: "Axes", panel: Panel, x: float, y: float) -> None:
    """Around what the selection split chose."""
    axis.scatter(x, y, label=f"chosen on {panel.selection}", **RING)


def forgetting(group: Sequence[Panel]) -> bytes:
    """Score kept on D1 (x) against that reached on the new domain (y): a line through the alphas of
    each penalty, mean and standard deviation over seeds; a star where no penalty leads."""
    looks = styles(group)

    def draw(axis: "Axes", panel: Panel) -> None:
        chosen = chosen_of(panel)
        for number, (name, trials) in enumerate(panel.lines.items()):
            points = [(t, *xy) for t in trials if (xy := point(t, panel))]
            colour, marker = looks[name]
            single = f", alpha {points[0][0].alpha:g}" if len(points) == 1 else ""
            axis.errorbar(
                [x.mean for _, x, _ in points],
                [y.mean for _, _, y in points],
                xerr=[x.std for _, x, _ in points],
                yerr=[y.std for _, _, y in points],
                ecolor=(colour, 0.45),
                color=colour, marker=marker, label=name + single, **ERRORS,
            )  # fmt: skip
            for trial, x, y in points:
                if not single:
                    offset = (4, -10 if number % 2 else 4)
                    axis.annotate(f"{trial.alpha:g}", (x.mean, y.mean), offset, fontsize=7,
                                  textcoords="offset points", color=colour)  # fmt: skip
                if id(trial) in chosen:
                    ring(axis, panel, x.mean, y.mean)
        if panel.control and (free := point(panel.control, panel)):
            x, y = free
            axis.errorbar(x.mean, y.mean, xerr=x.std, yerr=y.std, **CONTROL, **ERRORS)
        if (clean := panel.before[OLD]) is not None:
            axis.axvline(clean.mean, **CLEAN)
        axis.grid(axis="x")
        axis.set(title=panel.title, xlabel=f"{panel.metric} on D1, {panel.split}")
        axis.set_ylabel(f"{panel.metric} on the new domain, {panel.split}")

    size = (max(7.2, 5.2 * len(group)), 4.6)
    return facets(group, draw, size, min(3 * len(group), 5))


def on_both_domains(
    panel: Panel, width: float, height: float, draw: Callable[["Axes", str], None], columns: int
) -> bytes:
    """Axes for each domain that a panel was scored on."""
    there = {what for t in panel.trials for what, split in t.scores if split == panel.split}
    sides = {NEW: "on the new domain", OLD: "on D1"}
    kinds = [what for what in sides if what in there]

    def titled(axis: "Axes", what: str) -> None:
        draw(axis, what)
        axis.set_title(f"{panel.title}, {sides[what]}")
        if what == kinds[0]:
            axis.set_ylabel(f"{panel.metric}, {panel.split}")

    return facets(kinds, titled, (width * max(len(kinds), 1.3), height), columns)


def over_alpha(panel: Panel) -> bytes | None:
    """Score against alpha, log axis, on the new and on the old domain; the band is no penalty. None
    with one alpha."""
    looks, chosen = styles([panel]), chosen_of(panel)
    if all(len({t.alpha for t in ts if t.alpha > 0}) < 2 for ts in panel.lines.values()):
        return None

    def draw(axis: "Axes", what: str) -> None:
        for name, trials in panel.lines.items():
            found = [(t, s) for t in trials if (s := t.stat(what, panel.split)) and t.alpha > 0]
            curve(axis, [(t.alpha, s) for t, s in found], looks[name], name)
            for trial, score in found:
                if id(trial) in chosen:
                    ring(axis, panel, trial.alpha, score.mean)
        if panel.control and (free := panel.control.stat(what, panel.split)):
            low, high = free.mean - free.std, free.mean + free.std
            axis.axhline(free.mean, color="black", lw=1.2, label=FREE)
            axis.axhspan(low, high, color="black", alpha=0.08, lw=0)
        if what == OLD and (clean := panel.before[OLD]) is not None:
            axis.axhline(clean.mean, **CLEAN)
        axis.set(xlabel="alpha", xscale="log")

    return on_both_domains(panel, 5.0, 3.9, draw, 5)


def freezing(panel: Panel) -> bytes:
    """Score against how many of the first layers are frozen (001, Figure 3); the dashed line is
    none of them."""
    curves = panel.frozen
    amounts = {t.freeze or "0" for trials in curves.values() for t in trials}
    numbers = all(name.isdigit() for name in amounts)
    names = sorted(amounts, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))
    ticks = {name: int(name) if numbers else i for i, name in enumerate(names)}

    def draw(axis: "Axes", what: str) -> None:
        for number, (name, trials) in enumerate(curves.items()):
            by_name = {t.freeze or "0": t.stat(what, panel.split) for t in trials}
            found = [(ticks[n], s) for n in names if (s := by_name.get(n))]
            curve(axis, found, look(number), name)
            if none := by_name.get("0"):
                axis.axhline(none.mean, color=look(number)[0], ls="--", lw=1)
        axis.set_xticks(list(ticks.values()), [literal(name) for name in ticks])
        axis.set(xlabel="first layers frozen")

    return on_both_domains(panel, 4.6, 3.4, draw, 4)


def side_by_side(group: Sequence[Panel]) -> bytes:
    """The penalties with what was chosen for each (001, Figure 2), or every trial where nothing
    was chosen; the axis starts near the lowest, so that differences can be seen."""
    looks = styles(group)

    def best(panel: Panel) -> list[Trial]:
        choices = panel.choices()
        return [
            trial
            for form, trials in panel.forms.items()
            for trial in ([choices[form].trial] if form in choices else trials)
        ]

    def draw(axis: "Axes", panel: Panel) -> None:
        found = [(t, s) for t in best(panel) if (s := t.stat(NEW, panel.split))]
        for place, (trial, score) in enumerate(found):
            colour, marker = looks[trial.form]
            axis.errorbar(place, score.mean, score.std, color=colour, marker=marker, ms=8,
                          capsize=3)  # fmt: skip
            own = list(trial.scores[NEW, panel.split].values())
            axis.scatter([place + 0.16] * len(own), own, s=9, color=colour, alpha=0.6)
            axis.annotate(f"{score.mean:.1f}", (place, score.mean), (-7, 0), ha="right",
                          va="center", textcoords="offset points", fontsize=8)  # fmt: skip
        ticks = [f"{literal(t.form)}\n{t.alpha:g}" if t.penalty != NONE else "no\npenalty"
                 for t, _ in found]  # fmt: skip
        rotation = 30 if len(found) > 10 else 0
        axis.set_xticks(range(len(found)), ticks, fontsize=8, rotation=rotation)
        axis.set(title=panel.title, xlim=(-0.7, len(found) - 0.4))
        if panel is group[0]:
            axis.set_ylabel(f"{panel.metric}, {panel.split}")

    inches = (1.2 + 0.72 * max(len(best(panel)) for panel in group)) * len(group)
    return facets(group, draw, (max(6.5, inches), 3.9))


def heat_map(panel: Panel) -> bytes | None:
    """Score over alpha and beta (001, Figure 1), of the forms with several of both; the frame is
    what was chosen. None without such a form."""
    choices = panel.choices()
    grids = {f: t for f, t in panel.forms.items() if is_grid(t) and len({x.alpha for x in t}) > 1}
    if not grids:
        return None

    def draw(axis: "Axes", form: str) -> None:
        trials = grids[form]
        alphas, betas = (sorted({getattr(t, k) for t in trials}) for k in ("alpha", "beta"))
        values = np.full((len(betas), len(alphas)), np.nan)
        for t in trials:
            if score := t.stat(NEW, panel.split):
                values[betas.index(t.beta), alphas.index(t.alpha)] = score.mean
        image = axis.imshow(values, cmap="viridis", origin="lower", aspect="auto")
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for (y, x), value in np.ndenumerate(values):
            text = "-" if np.isnan(value) else f"{value:.1f}"
            colour = "white" if value < middle else "black"
            axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=8.5)
        if form in choices:
            t = choices[form].trial
            x, y = alphas.index(t.alpha), betas.index(t.beta)
            left, right, low, high = x - 0.47, x + 0.47, y - 0.47, y + 0.47
            axis.fill([left, right, right, left], [low, low, high, high], fill=False,
                      edgecolor=COLOURS[1], lw=3)  # fmt: skip
        axis.set_xticks(range(len(alphas)), [f"{a:g}" for a in alphas])
        axis.set_yticks(range(len(betas)), [f"{b:g}" for b in betas])
        axis.grid(visible=False)
        axis.set(title=f"{panel.title}: {form}", xlabel="alpha", ylabel="beta")
        axis.figure.colorbar(image, ax=axis, label=f"{panel.metric}, {panel.split}")

    return facets(grids, draw, (1.0 + 4.2 * len(grids), 3.6))
