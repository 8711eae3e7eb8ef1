"""Runs that differ in penalty or frozen layers side by side, and the alpha that is chosen."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from viz.report.tables import Stat, stat

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
    others: tuple[tuple[str, str], ...]
    """The penalty's other settings."""
    form: str = ""
    """How figures call the penalty, without alpha and beta."""
    with_beta: bool = False
    """Do the form's trials differ in beta, so that labels must tell it?"""
    runs: dict[Key, str] = field(default_factory=dict)
    scores: dict[tuple[str, str], dict[Key, float]] = field(default_factory=dict)
    """(what, split) -> a score for each seed, percent."""

    def stat(self, what: str, split: str) -> Stat | None:
        return stat(self.scores.get((what, split), {}).values())

    @property
    def label(self) -> str:
        """`L2-SP, alpha 0.01, freeze 3`."""
        told = {
            "alpha": self.penalty != NONE and f"{self.alpha:g}",
            "beta": self.with_beta and f"{self.beta:g}",
            "freeze": self.freeze,
        }
        return ", ".join([self.form, *(f"{name} {value}" for name, value in told.items() if value)])

    def plain(self, splits: Iterable[str]) -> dict[str, Any]:
        names = ("penalty", "form", "alpha", "beta", "freeze")
        found = {s: {w: self.stat(w, s) for w in (NEW, OLD, AGREEMENT, DROP)} for s in splits}
        return {name: getattr(self, name) for name in names} | {
            "others": dict(self.others),
            "runs": list(self.runs.values()),
            "scores": {
                split: {w: vars(s) for w, s in stats.items() if s} for split, stats in found.items()
            },
        }


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


def choose(trials: Sequence[Trial], split: str, what: str = NEW) -> Choice | None:
    """The trial with the highest mean on `split` over the seeds that every scored one has; of equal
    ones the first. None where nothing is scored on it, or no seed is there for all."""
    scored = [(t, t.scores[what, split]) for t in trials if t.scores.get((what, split))]
    if not scored:
        return None
    common = set.intersection(*(set(scores) for _, scores in scored))
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
    shown: str
    """Split of the figures' scores."""
    selection: str
    """Split that alpha and beta are chosen on; `` = none was scored."""
    before: dict[str, Stat | None]
    """NEW, OLD -> scores of the networks that the trials came from, on `shown`."""

    @property
    def free(self) -> list[Trial]:
        return [t for t in self.trials if not t.freeze]

    @property
    def control(self) -> Trial | None:
        return next((t for t in self.free if t.penalty == NONE), None)

    @property
    def forms(self) -> dict[str, list[Trial]]:
        """Form -> its trials without frozen layers, by alpha and beta; no penalty comes first."""
        found: dict[str, list[Trial]] = {}
        for trial in self.free:
            found.setdefault(trial.form, []).append(trial)
        return found

    @property
    def lines(self) -> dict[str, list[Trial]]:
        """Through the alphas of each form; one for each beta where an alpha has several."""
        found: dict[str, list[Trial]] = {}
        for form, trials in self.forms.items():
            for trial in trials if trials[0].penalty != NONE else ():
                name = f"{form}, beta {trial.beta:g}" if is_grid(trials) else form
                found.setdefault(name, []).append(trial)
        return found

    @property
    def frozen(self) -> dict[str, list[Trial]]:
        """Penalty -> trials by what is frozen, where several amounts were tried."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            name = trial.label.removesuffix(f", freeze {trial.freeze}")
            found.setdefault(name, []).append(trial)
        return {name: ts for name, ts in found.items() if len(ts) > 1}

    def choices(self, what: str = NEW) -> dict[str, Choice]:
        """Form -> what the selection split chooses among its alphas and betas."""
        if not self.selection:
            return {}
        made = {form: choose(trials, self.selection, what) for form, trials in self.forms.items()}
        return {form: choice for form, choice in made.items() if choice}

    @property
    def overall(self) -> Choice | None:
        """What the selection split chooses among all that have no frozen layers."""
        return choose(self.free, self.selection) if self.selection else None

    def over_control(self, trial: Trial) -> Stat | None:
        """Gain over training without a penalty on `shown`, seed by seed: how much seeds differ in
        their teachers drops out. None for the control, and without common seeds."""
        if self.control is None or trial is self.control:
            return None
        own, base = (t.scores.get((NEW, self.shown), {}) for t in (trial, self.control))
        return stat(own[key] - base[key] for key in own if key in base)

    def plain(self) -> dict[str, Any]:
        """As penalties.json has it."""
        splits = dict.fromkeys(split for t in self.trials for _, split in t.scores)

        def chosen(choice: Choice) -> dict[str, Any]:
            at = {name: getattr(choice.trial, name) for name in ("form", "alpha", "beta")}
            return at | {
                "among": choice.among, "seeds": list(choice.seeds), "without": list(choice.without)
            }  # fmt: skip

        return {
            "panel": self.title,
            "metric": self.metric,
            "shown": self.shown,
            "selection": self.selection,
            "before": {what: vars(s) if s else None for what, s in self.before.items()},
            "chosen": {form: chosen(c) for form, c in self.choices().items()},
            "chosen_by_agreement": {f: chosen(c) for f, c in self.choices(AGREEMENT).items()},
            "chosen_of_all": chosen(self.overall) if self.overall else None,
            "trials": [
                trial.plain(splits) | {"over_control": vars(gain) if gain else None}
                for trial in self.trials
                for gain in [self.over_control(trial)]
            ],
        }


def is_grid(trials: Sequence[Trial]) -> bool:
    """Does an alpha come with several betas?"""
    return len({t.alpha for t in trials}) < len({(t.alpha, t.beta) for t in trials})
