"""The report's part about penalties against each other and about frozen layers."""

from collections.abc import Iterable, Iterator, Sequence

from adapt.disk.tables import csv_of
from viz.report import penalty_figures
from viz.report.penalties import AGREEMENT, DROP, NEW, NONE, OLD, Panel
from viz.report.sections import PANELS, Section, Table, groups_of


def penalties_section(panels: Sequence[Panel]) -> Section | None:
    """Penalties against each other (001, Figures 1 to 3, and Table 5); None without any."""
    if not panels:
        return None
    made = Section("Penalties and frozen layers")
    for panel in panels:
        made.sentences += sentences_of(panel)
        made.tables.append(table_of(panel))
    compared = [p for p in panels if len({t.penalty for t in p.free} - {NONE}) or len(p.free) > 1]
    chosen = any(p.choices() for p in compared)
    for group in groups_of([p for p in compared if len(p.forms) > 1], PANELS):
        made.draw(
            penalty_figures.side_by_side(group),
            "Score of every penalty, side by side",
            "As Figure 2 of Li, Grandvalet and Davoine (2020): mean, standard deviation and single "
            "seeds; the axis does not start at 0. "
            + ("Below each penalty the alpha that the selection split chose."
               if chosen else "Nothing was chosen, so every alpha stands there."),
        )  # fmt: skip
    for group in groups_of([p for p in compared if traded(p)], PANELS):
        made.draw(
            penalty_figures.forgetting(group),
            "Score kept on D1 against score reached on the new domain",
            "Forgetting against adaptation: up and to the right is better. Numbers are alphas, "
            "bars standard deviations over seeds.",
        )
    for panel in compared:
        if any(len({t.alpha for t in ts if t.alpha > 0}) > 1 for ts in panel.lines.values()):
            made.draw(
                penalty_figures.over_alpha(panel),
                f"Score against alpha, {panel.title}",
                "Score against alpha; the horizontal line with its band is training without a "
                "penalty.",
            )
        if grids := penalty_figures.grids_of(panel):
            made.draw(
                penalty_figures.heat_map(panel, grids),
                f"Score over alpha and beta, {panel.title}",
                f"As Figure 1: scores on {panel.shown}"
                + (f"; framed what {panel.selection} chose." if panel.choices() else "."),
            )
    for panel in panels:
        if panel.frozen:
            made.draw(
                penalty_figures.freezing(panel),
                f"Score against the number of frozen layers, {panel.title}",
                "As Figure 3: the first layers frozen; the dashed line is none.",
            )
    return made


def traded(panel: Panel) -> bool:
    """Was anything of it scored on both domains?"""
    return any(t.stat(OLD, panel.shown) and t.stat(NEW, panel.shown) for t in panel.free)


def sentences_of(panel: Panel) -> Iterator[str]:
    """How alpha was chosen, and what that gave on the split that figures show."""
    where = f"{panel.title}: "
    if not panel.selection:
        yield (
            f"{where}nothing was chosen: no run was scored on a part of the training data that "
            "none was trained on. Score them on one, or name another split with selection=SPLIT."
        )
        return
    several = {form: c for form, c in panel.choices().items() if c.among > 1}
    if several:
        told = "; ".join(c.trial.label for c in several.values())
        yield (f"{where}alpha was chosen by {panel.metric} on {panel.selection}, scores are of "
               f"{panel.shown}. Chosen: {told}.")  # fmt: skip
    ends = []
    for form, choice in several.items():
        alphas = [t.alpha for t in panel.forms[form]]
        if min(alphas) < max(alphas) and choice.trial.alpha in (min(alphas), max(alphas)):
            ends.append(form)
    if ends:
        told = ", ".join(ends)
        yield f"{where}at an end of the alphas tried, so a further one may do better: {told}."
    without = panel.choices(AGREEMENT) if panel.metric != AGREEMENT else {}
    other = {f: c for f, c in without.items() if f in several and c.trial is not several[f].trial}
    if other:
        told = "; ".join(c.trial.label for c in other.values())
        yield f"{where}agreement on {panel.selection}, which needs no labels, would choose {told}."
    every = tuple(sorted({seed for t in panel.free for seed, _ in t.runs}))
    fewer = [(form, c.seeds) for form, c in several.items() if c.seeds != every]
    if fewer:
        told = "; ".join(f"{form} on {', '.join(map(str, seeds))}" for form, seeds in fewer)
        yield f"{where}compared on the seeds that all alphas have: {told}."
    if missing := sorted({name for c in several.values() for name in c.without}):
        yield f"{where}without a score on {panel.selection}: {'; '.join(missing)}."
    if (best := panel.overall) and (score := best.trial.stat(NEW, panel.shown)):
        text = (
            f"{where}of all, {panel.selection} chooses {best.trial.label}: {score} on {panel.shown}"
        )
        control = panel.control and panel.control.stat(NEW, panel.shown)
        beside = control and best.trial is not panel.control
        yield f"{text}; without a penalty {control}." if beside else f"{text}."


def table_of(panel: Panel) -> Table:
    """Every trial with its scores."""
    heads = {"penalty": [t.label for t in panel.trials]}
    columns = [
        (f"{panel.metric}, {panel.selection}", NEW, panel.selection),
        (f"agreement, {panel.selection}", AGREEMENT, panel.selection),
        (f"{panel.metric}, {panel.shown}", NEW, panel.shown),
        (f"agreement, {panel.shown}", AGREEMENT, panel.shown),
        (f"on D1, {panel.shown}", OLD, panel.shown),
        ("lost on D1", DROP, panel.shown),
    ]
    for head, what, split in columns:
        stats = [t.stat(what, split) for t in panel.trials]
        if any(stats) and head not in heads:
            heads[head] = [str(s) if s else "–" for s in stats]  # noqa: RUF001
    if panel.control and len(panel.trials) > 1:
        gains = [panel.over_control(t) for t in panel.trials]
        heads["over no penalty"] = [
            "–" if g is None else f"+{g}" if g.mean > 0 else str(g)  # noqa: RUF001
            for g in gains
        ]
    chosen = {id(c.trial) for c in panel.choices().values() if c.among > 1}
    if chosen:
        heads["chosen"] = ["yes" if id(t) in chosen else "" for t in panel.trials]
    heads["n"] = [str(len(t.runs)) for t in panel.trials]
    return Table(f"Penalties, {panel.title}", list(heads), list(zip(*heads.values(), strict=True)))


def rejected(panels: Iterable[Panel]) -> set[str]:
    """Runs that the selection split did not choose, where it chose one of their panel."""
    found: set[str] = set()
    for panel in panels:
        if (best := panel.overall) and best.trial.stat(NEW, panel.shown):
            runs = {run for t in panel.trials for run in t.runs.values()}
            found |= runs - set(best.trial.runs.values())
    return found


def told(panels: Iterable[Panel]) -> dict[str, str]:
    """Run that the selection split chose of its panel -> what it is, for sentences."""
    return {
        run: f"{best.trial.label}; chosen by {panel.metric} on {panel.selection}"
        for panel in panels
        if (best := panel.overall)
        for run in best.trial.runs.values()
    }


def flat(panels: Iterable[Panel]) -> str:
    """A line of CSV for each run, split and kind of score of every trial."""
    rows: list[Sequence[object]] = [
        ("panel", "penalty", "form", "alpha", "beta", "freeze", "seed", "split", "what", "score",
         "run"),
    ]  # fmt: skip
    for panel in panels:
        for t in panel.trials:
            for (what, split), scores in t.scores.items():
                for key, score in scores.items():
                    about = (panel.title, t.penalty, t.form, t.alpha, t.beta, t.freeze)
                    rows.append((*about, key[0], split, what, score, t.runs[key]))
    return csv_of(rows)
