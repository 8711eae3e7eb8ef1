"""Charts of penalties against each other: forgetting, alpha, frozen layers, bars, heat maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from viz.figures import COLOURS, GREY, MARKERS, drawing, literal, png
from viz.report.penalties import FREE, NEW, NONE, OLD, Choice, Panel, Trial, is_grid

ERRORS: dict[str, Any] = {"capsize": 2, "elinewidth": 0.9}
RING: dict[str, Any] = {
    "marker": "o",
    "s": 150,
    "facecolors": "none",
    "edgecolors": "black",
    "linewidths": 1.3,
}
CONTROL: dict[str, Any] = {"color": "black", "marker": "*", "ms": 12, "ls": "none"}


def styles(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Line of a panel -> colour and marker, the same in every figure."""
    names = dict.fromkeys(name for p in panels for name in (*p.lines, *p.forms))
    forms = [name for name in names if name != FREE]
    found = {
        name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(forms)
    }
    return dict.fromkeys(names, ("#111827", "*")) | found


def forgetting(panels: Sequence[Panel]) -> bytes:
    """Score kept on D1 (x) against that reached on the new domain (y): a line through the alphas of
    each penalty, mean and standard deviation over seeds."""
    looks = styles(panels)
    with drawing(max(7.2, 5.2 * len(panels)), 4.6, len(panels)) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            for number, (name, trials) in enumerate(panel.lines.items()):
                points = [(t, x, y) for t in trials if (x := t.stat(OLD, panel.shown))
                          and (y := t.stat(NEW, panel.shown))]  # fmt: skip
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
                for trial, x, y in points if not single else ():
                    axis.annotate(
                        f"{trial.alpha:g}",
                        (x.mean, y.mean),
                        (4, -10 if number % 2 else 4),
                        fontsize=7,
                        textcoords="offset points",
                        color=colour,
                    )
            control(axis, panel)
            ring(axis, panel, OLD)
            if (clean := panel.before[OLD]) is not None:
                axis.axvline(clean.mean, color=GREY, ls="--", lw=1.1, label="teacher on D1")
            axis.grid(axis="x")
            axis.set(title=panel.title, xlabel=f"{panel.metric} on D1, {panel.shown}")
            axis.set_ylabel(f"{panel.metric} on the new domain, {panel.shown}")
        figure.legend(*labels_of(axes), loc="outside lower center", ncols=min(3 * len(panels), 5))
        return png(figure)


def control(axis: Axes, panel: Panel) -> None:
    """A star where no penalty leads."""
    if panel.control is None:
        return
    x, y = (panel.control.stat(what, panel.shown) for what in (OLD, NEW))
    if x and y:
        axis.errorbar(x.mean, y.mean, xerr=x.std, yerr=y.std, label=FREE, **CONTROL, **ERRORS)


def ring(axis: Axes, panel: Panel, against: str) -> None:
    """Around the trials that the selection split chose among several."""
    label = f"chosen on {panel.selection}"
    for choice in panel.choices().values():
        x, y = choice.trial.stat(against, panel.shown), choice.trial.stat(NEW, panel.shown)
        if choice.among > 1 and x and y:
            axis.scatter(x.mean, y.mean, label=label, zorder=5, **RING)
            label = ""


def labels_of(axes: Sequence[Axes]) -> tuple[list, list[str]]:
    """Handles and labels of all axes, each label once, the ring's last."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    last = sorted(found, key=lambda label: label.startswith("chosen"))
    return [found[label] for label in last], last


def sides(panel: Panel) -> dict[str, str]:
    """What a panel was scored on -> how axes call it."""
    names = {NEW: "on the new domain", OLD: "on D1"}
    there = {w for t in panel.trials for (w, split) in t.scores if split == panel.shown}
    return {what: name for what, name in names.items() if what in there}


def over_alpha(panel: Panel) -> bytes:
    """Score against alpha, log axis, on the new and on the old domain; the band is no penalty."""
    looks, shown = styles([panel]), sides(panel)
    chosen = {id(c.trial): c for c in panel.choices().values() if c.among > 1}
    with drawing(5.0 * max(len(shown), 1.3), 3.9, len(shown)) as (figure, axes):
        for axis, (what, side) in zip(axes, shown.items(), strict=True):
            label = f"chosen on {panel.selection}"
            for name, trials in panel.lines.items():
                found = [(t, s) for t in trials if (s := t.stat(what, panel.shown)) and t.alpha > 0]
                colour, marker = looks[name]
                values, spread = [s.mean for _, s in found], [s.std for _, s in found]
                at = [t.alpha for t, _ in found]
                axis.errorbar(at, values, spread, color=colour, marker=marker, label=name, **ERRORS)
                for trial, score in found:
                    if id(trial) in chosen:
                        axis.scatter(trial.alpha, score.mean, label=label, zorder=5, **RING)
                        label = ""
            band(axis, panel.control and panel.control.stat(what, panel.shown), FREE)
            if what == OLD and (clean := panel.before[OLD]) is not None:
                axis.axhline(clean.mean, color=GREY, ls="--", lw=1.1, label="teacher on D1")
            axis.set(title=f"{panel.title}, {side}", xlabel="alpha", xscale="log")
        axes[0].set_ylabel(f"{panel.metric}, {panel.shown}")
        columns = min(5, 2 * len(shown) + 1)
        figure.legend(*labels_of(axes), loc="outside lower center", ncols=columns)
        return png(figure)


def band(axis: Axes, stat: object, label: str) -> None:
    """A horizontal line at a mean with its standard deviation around it."""
    mean, std = getattr(stat, "mean", None), getattr(stat, "std", 0.0)
    if mean is not None:
        axis.axhline(mean, color="black", lw=1.2, label=label)
        axis.axhspan(mean - std, mean + std, color="black", alpha=0.08, lw=0)


def freezing(panel: Panel) -> bytes:
    """Score against how many of the first layers are frozen (001, Figure 3); the dashed line is
    none of them."""
    shown, curves = sides(panel), panel.frozen
    names = sorted({t.freeze or "0" for ts in curves.values() for t in ts}, key=by_amount)
    numbers = all(name.isdigit() for name in names)
    with drawing(4.6 * max(len(shown), 1.3), 3.4, len(shown)) as (figure, axes):
        for axis, (what, side) in zip(axes, shown.items(), strict=True):
            for number, (name, trials) in enumerate(curves.items()):
                trials = sorted(trials, key=lambda t: by_amount(t.freeze or "0"))
                found = [(t.freeze or "0", s) for t in trials if (s := t.stat(what, panel.shown))]
                at = [int(k) if numbers else names.index(k) for k, _ in found]
                values, spread = [s.mean for _, s in found], [s.std for _, s in found]
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                axis.errorbar(at, values, spread, color=colour, marker=marker, label=name, **ERRORS)
                for score in [s.mean for k, s in found if k == "0"]:
                    axis.axhline(score, color=colour, ls="--", lw=1)
            ticks = [int(n) for n in names] if numbers else list(range(len(names)))
            axis.set_xticks(ticks, [literal(name) for name in names])
            axis.set(title=f"{panel.title}, {side}", xlabel="first layers frozen")
        axes[0].set_ylabel(f"{panel.metric}, {panel.shown}")
        figure.legend(*labels_of(axes), loc="outside lower center", ncols=4)
        return png(figure)


def by_amount(name: str) -> tuple[int, str]:
    """Numbers in their order, layers' names behind them."""
    return (int(name), "") if name.isdigit() else (10**9, name)


def side_by_side(panels: Sequence[Panel]) -> bytes:
    """The penalties with what was chosen for each (001, Figure 2), or every trial where nothing
    was chosen; the axis starts near the lowest, so that differences can be seen."""
    looks = styles(panels)
    wide = max(len(best(panel)) for panel in panels)
    with drawing(max(6.5, (1.2 + 0.72 * wide) * len(panels)), 3.9, len(panels)) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            found = [(t, s) for t in best(panel) if (s := t.stat(NEW, panel.shown))]
            for place, (trial, score) in enumerate(found):
                colour, marker = looks[trial.form]
                axis.errorbar(place, score.mean, score.std, color=colour, marker=marker, ms=8,
                              capsize=3)  # fmt: skip
                own = list(trial.scores[NEW, panel.shown].values())
                axis.scatter([place + 0.16] * len(own), own, s=9, color=colour, alpha=0.6)
                axis.annotate(f"{score.mean:.1f}", (place, score.mean), (-7, 0), ha="right",
                              va="center", textcoords="offset points", fontsize=8)  # fmt: skip
            ticks = [f"{literal(t.form)}\n{t.alpha:g}" if t.penalty != NONE else "no\npenalty"
                     for t, _ in found]  # fmt: skip
            axis.set_xticks(
                range(len(found)), ticks, fontsize=8, rotation=30 if len(found) > 10 else 0
            )
            axis.set(title=panel.title, xlim=(-0.7, len(found) - 0.4))
        axes[0].set_ylabel(f"{panels[0].metric}, {panels[0].shown}")
        return png(figure)


def best(panel: Panel) -> list[Trial]:
    """What stands for each form: the chosen trial; all where nothing was chosen."""
    choices = panel.choices()
    return [
        t
        for form, ts in panel.forms.items()
        for t in ([choices[form].trial] if form in choices else ts)
    ]


def heat_map(panel: Panel, grids: Mapping[str, Sequence[Trial]]) -> bytes:
    """Score over alpha and beta (001, Figure 1); the frame is what was chosen."""
    choices: dict[str, Choice] = panel.choices()
    with drawing(1.0 + 4.2 * len(grids), 3.6, len(grids)) as (figure, axes):
        for axis, (form, trials) in zip(axes, grids.items(), strict=True):
            alphas, betas = (sorted({getattr(t, k) for t in trials}) for k in ("alpha", "beta"))
            values = np.full((len(betas), len(alphas)), np.nan)
            for t in trials:
                if score := t.stat(NEW, panel.shown):
                    values[betas.index(t.beta), alphas.index(t.alpha)] = score.mean
            shown = axis.imshow(values, cmap="viridis", origin="lower", aspect="auto")
            middle = (np.nanmin(values) + np.nanmax(values)) / 2
            for (y, x), value in np.ndenumerate(values):
                text = "-" if np.isnan(value) else f"{value:.1f}"
                colour = "white" if value < middle else "black"
                axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=8.5)
            if form in choices:
                t = choices[form].trial
                x, y = alphas.index(t.alpha), betas.index(t.beta)
                frame = (
                    [x - 0.47, x + 0.47, x + 0.47, x - 0.47],
                    [y - 0.47, y - 0.47, y + 0.47, y + 0.47],
                )
                axis.fill(*frame, fill=False, edgecolor=COLOURS[1], lw=3)
            axis.set_xticks(range(len(alphas)), [f"{a:g}" for a in alphas])
            axis.set_yticks(range(len(betas)), [f"{b:g}" for b in betas])
            axis.grid(visible=False)
            axis.set(title=f"{panel.title}: {form}", xlabel="alpha", ylabel="beta")
            figure.colorbar(shown, ax=axis, label=f"{panel.metric}, {panel.shown}")
        return png(figure)


def grids_of(panel: Panel) -> dict[str, list[Trial]]:
    """Forms with several alphas and several betas crossed."""
    return {
        form: ts
        for form, ts in panel.forms.items()
        if is_grid(ts) and len({t.alpha for t in ts}) > 1
    }
