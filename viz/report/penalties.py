"""Evaluations sorted into panels of trials that only penalty and frozen layers tell apart, and the
alpha that is chosen in each."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

from adapt.evaluation.rows import Row
from adapt.settings.choices import B0, PENALTIES, TEACHER
from viz.report.tables import NAMED, Entry, Stat, source_of, stat

NEW, OLD, AGREEMENT, DROP = "new", "old", "agreement", "drop"
"""What a trial is scored on: the domain it was trained for, the teacher's domain D1, the former
without labels; and what it lost on D1 to the network that it came from (001, Table 5)."""
NONE, FREE = "none", "no penalty"
"""The control in configurations, and in figures."""

Key = tuple[int, str]
"""Seed and the network that a run came from."""


@dataclass
class Trial:
    """One setting of penalty and frozen layers, over its seeds."""

    penalty: str
    alpha: float
    beta: float
    freeze: str
    others: dict[str, str]
    """The penalty's other settings."""
    form: str = ""
    """How figures call the penalty, without alpha and beta."""
    with_beta: bool = False
    """Do the form's trials differ in beta, so that labels must name it?"""
    runs: dict[Key, str] = field(default_factory=dict)
    scores: dict[tuple[str, str], dict[Key, float]] = field(default_factory=dict)
    """(what, split) -> a score for each seed, percent."""

    def stat(self, what: str, split: str) -> Stat | None:
        return stat(self.scores.get((what, split), {}).values())

    @property
    def label(self) -> str:
        """`L2-SP, alpha 0.01, freeze 3`."""
        alpha = f", alpha {self.alpha:g}" if self.penalty != NONE else ""
        beta = f", beta {self.beta:g}" if self.with_beta else ""
        return f"{self.form}{alpha}{beta}" + (f", freeze {self.freeze}" if self.freeze else "")


@dataclass(frozen=True)
class Choice:
    """The best trial on a split that nothing else is scored on."""

    trial: Trial
    among: int
    """How many were compared."""
    seeds: tuple[int, ...]
    """Those that all of them have; the means over these were compared."""
    without: tuple[str, ...]
    """Trials that have no score on the split, so that they could not be chosen."""

    def as_dict(self) -> dict[str, Any]:
        found = {name: getattr(self.trial, name) for name in ("form", "alpha", "beta")}
        return found | {name: getattr(self, name) for name in ("among", "seeds", "without")}


def choose(trials: Sequence[Trial], split: str, what: str = NEW) -> Choice | None:
    """The trial with the highest mean on `split` over the seeds that every scored one has; of equal
    ones the first. None where nothing is scored on it, or no seed is there for all."""
    scored = [(t, t.scores[what, split]) for t in trials if t.scores.get((what, split))]
    common = set.intersection(*(set(scores) for _, scores in scored)) if scored else set()
    if not common:
        return None
    best = max(scored, key=lambda pair: statistics.fmean(pair[1][k] for k in sorted(common)))[0]
    without = tuple(t.label for t in trials if not t.scores.get((what, split)))
    return Choice(best, len(scored), tuple(sorted({seed for seed, _ in common})), without)


@dataclass
class Panel:
    """Trials that differ in penalty and frozen layers, and in nothing else but the seed."""

    title: str
    metric: str
    trials: list[Trial]
    split: str
    """Of the figures' scores."""
    selection: str
    """Split that alpha and beta are chosen on; `` = none was scored."""
    before: dict[str, Stat | None]
    """NEW, OLD -> scores of the networks that the trials came from, on `split`."""

    @property
    def free(self) -> list[Trial]:
        """Without frozen layers."""
        return [t for t in self.trials if not t.freeze]

    @property
    def control(self) -> Trial | None:
        return next((t for t in self.free if t.penalty == NONE), None)

    @property
    def forms(self) -> dict[str, list[Trial]]:
        """Form -> its trials without frozen layers, by alpha and beta; no penalty comes first."""
        return by_name((t.form, t) for t in self.free)

    @property
    def lines(self) -> dict[str, list[Trial]]:
        """Through the alphas of each form; one for each beta where an alpha has several."""
        return by_name(
            (f"{form}, beta {t.beta:g}" if is_grid(trials) else form, t)
            for form, trials in self.forms.items()
            for t in trials
            if t.penalty != NONE
        )

    @property
    def frozen(self) -> dict[str, list[Trial]]:
        """Penalty -> trials by what is frozen, where several amounts were tried."""
        found = by_name((t.label.removesuffix(f", freeze {t.freeze}"), t) for t in self.trials)
        return {name: trials for name, trials in found.items() if len(trials) > 1}

    def choices(self, what: str = NEW) -> dict[str, Choice]:
        """Form -> what the selection split chooses among its alphas and betas."""
        made = {form: choose(trials, self.selection, what) for form, trials in self.forms.items()}
        return {form: choice for form, choice in made.items() if choice}

    @property
    def overall(self) -> Choice | None:
        """What the selection split chooses among all that have no frozen layers."""
        return choose(self.free, self.selection)

    def over_control(self, trial: Trial) -> Stat | None:
        """Gain over training without a penalty on `split`, seed by seed: how much seeds differ in
        their teachers drops out. None for the control, and without common seeds."""
        if self.control is None or trial is self.control:
            return None
        own, base = (t.scores.get((NEW, self.split), {}) for t in (trial, self.control))
        return stat(own[key] - base[key] for key in own if key in base)

    def as_dict(self) -> dict[str, Any]:
        """As penalties.json has it."""
        splits = dict.fromkeys(split for t in self.trials for _, split in t.scores)
        names = ("penalty", "form", "alpha", "beta", "freeze", "others")

        def scores(trial: Trial, split: str) -> dict[str, Any]:
            found = {what: trial.stat(what, split) for what in (NEW, OLD, AGREEMENT, DROP)}
            return {what: vars(s) for what, s in found.items() if s}

        return {
            "panel": self.title,
            "metric": self.metric,
            "shown": self.split,
            "selection": self.selection,
            "before": {what: vars(s) if s else None for what, s in self.before.items()},
            "chosen": {form: c.as_dict() for form, c in self.choices().items()},
            "chosen_by_agreement": {f: c.as_dict() for f, c in self.choices(AGREEMENT).items()},
            "chosen_of_all": self.overall.as_dict() if self.overall else None,
            "trials": [
                {name: getattr(trial, name) for name in names}
                | {
                    "runs": list(trial.runs.values()),
                    "scores": {split: scores(trial, split) for split in splits},
                    "over_control": vars(gain) if gain else None,
                }
                for trial, gain in ((t, self.over_control(t)) for t in self.trials)
            ],
        }


def by_name(named: Iterable[tuple[str, Trial]]) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {}
    for name, trial in named:
        found.setdefault(name, []).append(trial)
    return found


def is_grid(trials: Sequence[Trial]) -> bool:
    """Does an alpha come with several betas?"""
    return len({t.alpha for t in trials}) < len({(t.alpha, t.beta) for t in trials})


def selection_of(entries: Sequence[Entry]) -> str:
    """The part of the training split that runs were scored on but not trained on, if there is just
    one: what choices are made on where nothing else is named."""
    parts = {
        e.row.split
        for e in entries
        if e.row.split in e.config["data"]["parts"]
        and e.config["data"]["part"] not in ("", "all", e.row.split)
    }
    return parts.pop() if len(parts) == 1 else ""


def panels_of(entries: Sequence[Entry], selection: str = "") -> list[Panel]:
    """Panels with at least two trials; of evaluations that are neither restyled nor AdaBN.

    Args:
        entries: all evaluations.
        selection: the split that choices are made on; empty = as `selection_of`.
    """
    selection = selection or selection_of(entries)
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    free = ("penalty.", "freeze", "adabn", "restyle_beta", "adapted to")
    for entry in entries:
        if not entry.treated and entry.method != B0:
            rest = sorted((k, v) for k, v in entry.settings.items() if not k.startswith(free))
            groups.setdefault((*names_of(entry), repr(rest)), []).append(entry)
    made = []
    for (*names, _), members in groups.items():
        trials = trials_of(members)
        splits = [e.row.split for e in members if e.row.split != selection]
        if len(trials) < 2 or not splits:
            continue
        split = max(dict.fromkeys(splits), key=splits.count)
        before = before_of(entries, members, split)
        for trial in trials:
            kept = trial.scores.get((OLD, split), {})
            drops = {k: before[OLD][k[1]] - v for k, v in kept.items() if k[1] in before[OLD]}
            if drops:
                trial.scores[DROP, split] = drops
        rows = [e.row for e in members if at_home(e)]
        kinds = ("mIoU" if r.miou is not None else "top-1" for r in rows if truth_of(r) is not None)
        stats = {what: stat(values.values()) for what, values in before.items()}
        panel = Panel("", next(kinds, AGREEMENT), trials, split, selection, stats)
        made.append((names, Path(members[0].row.run).name, panel))
    columns = zip(*(names for names, _, _ in made), strict=True)
    telling = [not i or len(set(column)) > 1 for i, column in enumerate(columns)]
    titles = [", ".join(filter(None, compress(names, telling))) for names, _, _ in made]
    for title, (_, run, panel) in zip(titles, made, strict=True):
        panel.title = title if titles.count(title) == 1 else f"{title} ({run})"
    return [panel for _, _, panel in made]


def truth_of(row: Row) -> float | None:
    """mIoU or, of one label an image, top-1."""
    return row.top1 if row.miou is None else row.miou


def trained_on_new(entry: Entry) -> bool:
    return bool(entry.config["teacher"]) or entry.config["domain"] == "d2"


def at_home(entry: Entry) -> bool:
    """Is it scored on the domain that it was trained for?"""
    return (entry.metrics["domain"] == "d2") == trained_on_new(entry)


def names_of(entry: Entry) -> tuple[str, ...]:
    """What a panel's title may say: data or shift, source, objective, protocol."""
    config, data = entry.config, entry.config["data"]
    where = Path(data["target"]).name if trained_on_new(entry) else data["name"]
    source = source_of(config["teacher"] or config["start"])
    method = entry.method if entry.method != TEACHER else ""
    return where, f"from {source}", method, entry.protocol


def trials_of(entries: Iterable[Entry]) -> list[Trial]:
    """Entries that differ in the seed, the split and the domain only, joined."""
    found: dict[tuple[Any, ...], Trial] = {}
    for entry in entries:
        settings, row = entry.settings, entry.row
        pull = {k: v for k, v in settings.items() if k.startswith("penalty.")}
        alpha, beta = pull.pop("penalty.alpha"), pull.pop("penalty.beta")
        name, freeze = entry.config["penalty"]["name"], str(settings.get("freeze", ""))
        others = {k.removeprefix("penalty."): str(pull[k]) for k in sorted(pull)}
        if name == NONE:
            alpha, beta, others = 0.0, 0.0, {}
        place = (name, alpha, beta, freeze, *others.items())
        trial = found.setdefault(place, Trial(name, alpha, beta, freeze, others))
        origin = str(entry.config["start"]) if entry.method == TEACHER else entry.origin
        key, truth = (row.seed, origin), truth_of(row)
        trial.runs.setdefault(key, row.run)
        home = {NEW: row.agreement if truth is None else truth, AGREEMENT: row.agreement}
        for what, value in (home if at_home(entry) else {OLD: truth}).items():
            if value is not None:
                trial.scores.setdefault((what, row.split), {}).setdefault(key, value)
    name_forms(list(found.values()))

    def place_of(trial: Trial) -> tuple[Any, ...]:
        rank = (*PENALTIES, trial.penalty).index(trial.penalty)
        return rank, trial.form, trial.alpha, trial.beta, len(trial.freeze), trial.freeze

    return sorted(found.values(), key=place_of)


def name_forms(trials: Sequence[Trial]) -> None:
    """`L2-SP`; with the settings in which trials under one penalty differ."""
    for penalty in {t.penalty for t in trials}:
        alike = [t for t in trials if t.penalty == penalty]
        keys = alike[0].others
        differing = [k for k in keys if len({t.others.get(k) for t in alike}) > 1][:NAMED]
        pieces = [p if p == "fisher" else p.upper() for p in penalty.split("_")]
        name = FREE if penalty == NONE else "-".join(pieces).replace("fisher", "Fisher")
        for trial in alike:
            note = ", ".join(f"{k} {trial.others[k]}" for k in differing)
            trial.form = f"{name} ({note})" if note else name
    for trial in trials:
        trial.with_beta = len({t.beta for t in trials if t.form == trial.form}) > 1


def before_of(
    entries: Iterable[Entry], members: Sequence[Entry], split: str
) -> dict[str, dict[str, float]]:
    """NEW, OLD -> run of a network that the members came from -> its score, as they were scored."""
    origins = {e.origin for e in members if trained_on_new(e)}
    shift, protocol = names_of(members[0])[0], members[0].protocol
    found: dict[str, dict[str, float]] = {NEW: {}, OLD: {}}
    for entry in entries:
        row, score = entry.row, truth_of(entry.row)
        alike = entry.origin in origins and (row.split, entry.protocol) == (split, protocol)
        if alike and score is not None:
            if entry.method == B0 and row.shift == shift:
                found[NEW][entry.origin] = score
            if entry.method == TEACHER:
                found[OLD][entry.origin] = score
    return found
