"""Evaluations sorted into panels of trials that only penalty and frozen layers tell apart."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from adapt.settings.choices import B0, TEACHER
from viz.report.penalties import AGREEMENT, DROP, FREE, NEW, NONE, OLD, Key, Panel, Trial
from viz.report.tables import TOLD, Entry, source_of, stat


def selection_of(entries: Iterable[Entry], wanted: str) -> str:
    """The split that choices are made on: `wanted`, or else a part of the training split that runs
    were scored on but not trained on; `` = there is none, or more than one."""
    found = {
        e.row.split
        for e in entries
        if e.row.split in e.config["data"]["parts"]
        and e.config["data"]["part"] not in ("", "all", e.row.split)
    }
    return wanted or (found.pop() if len(found) == 1 else "")


def panels_of(entries: Sequence[Entry], selection: str = "") -> list[Panel]:
    """Panels with at least two trials; plain evaluations only."""
    selection = selection_of(entries, selection)
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        if not entry.metrics["adabn"] and not entry.metrics.get("restyle") and entry.method != B0:
            groups.setdefault((*names_of(entry), repr(rest_of(entry))), []).append(entry)
    made = []
    for (*names, _), members in groups.items():
        trials = trials_of(members)
        counts = [e.row.split for e in members if e.row.split != selection]
        if len(trials) > 1 and counts:
            shown = max(dict.fromkeys(counts), key=counts.count)
            add_drops(trials, before := before_of(entries, members, shown), shown)
            metric = next((m for m in map(metric_of, members) if m), AGREEMENT)
            stats = {what: stat(values.values()) for what, values in before.items()}
            panel = Panel("", metric, trials, shown, selection, stats)
            made.append((names, Path(members[0].row.run).name, panel))
    titles = titles_of([names for names, _, _ in made])
    for title, (_, run, panel) in zip(titles, made, strict=True):
        panel.title = title if titles.count(title) == 1 else f"{title} ({run})"
    return [panel for _, _, panel in made]


def trained_on_new(entry: Entry) -> bool:
    return bool(entry.config["teacher"]) or entry.config["domain"] == "d2"


def at_home(entry: Entry) -> bool:
    """Is it scored on the domain that it was trained for?"""
    return (entry.metrics["domain"] == "d2") == trained_on_new(entry)


def metric_of(entry: Entry) -> str:
    """mIoU, top-1, or `` without labels or on the other domain."""
    row = entry.row
    kinds = {"mIoU": row.miou, "top-1": row.top1} if at_home(entry) else {}
    return next((name for name, value in kinds.items() if value is not None), "")


def names_of(entry: Entry) -> tuple[str, ...]:
    """What a panel's title may say: data or shift, source, objective, protocol."""
    config = entry.config
    data = config["data"]
    where = Path(data["target"]).name if trained_on_new(entry) else data["name"]
    source = source_of(config["teacher"] or config["start"])
    method = entry.method if entry.method != TEACHER else ""
    return where, f"from {source}", method, entry.protocol


def titles_of(names: Sequence[Sequence[str]]) -> list[str]:
    """The first name, and of the others what differs."""
    telling = [i for i in range(len(names[0])) if len({n[i] for n in names}) > 1] if names else []
    return [", ".join(filter(None, (n[i] for i in sorted({0, *telling})))) for n in names]


def rest_of(entry: Entry) -> list[tuple[str, Any]]:
    """Settings in which the trials of a panel agree."""
    free = ("penalty.", "freeze", "adabn", "restyle_beta", "adapted to")
    return sorted((k, v) for k, v in entry.settings.items() if not k.startswith(free))


def key_of(entry: Entry) -> Key:
    return entry.row.seed, entry.origin if entry.method != TEACHER else str(entry.config["start"])


def trials_of(entries: Iterable[Entry]) -> list[Trial]:
    """Entries that differ in the seed, the split and the domain only, joined."""
    found: dict[tuple[Any, ...], Trial] = {}
    for entry in entries:
        settings, row = entry.settings, entry.row
        pull = {k: v for k, v in settings.items() if k.startswith("penalty.")}
        alpha, beta = pull.pop("penalty.alpha"), pull.pop("penalty.beta")
        name, freeze = entry.config["penalty"]["name"], str(settings.get("freeze", ""))
        others = tuple(sorted((k.removeprefix("penalty."), str(v)) for k, v in pull.items()))
        if name == NONE:
            alpha, beta, others = 0.0, 0.0, ()
        made = found.setdefault(
            (name, alpha, beta, freeze, others), Trial(name, alpha, beta, freeze, others)
        )
        key = key_of(entry)
        made.runs.setdefault(key, row.run)
        truth, home = row.top1 if row.miou is None else row.miou, at_home(entry)
        found_here = {NEW: row.agreement if truth is None else truth, AGREEMENT: row.agreement}
        for what, value in (found_here if home else {OLD: truth}).items():
            if value is not None:
                made.scores.setdefault((what, row.split), {}).setdefault(key, value)
    name_forms(list(found.values()))
    return sorted(found.values(), key=lambda t: (rank_of(t.penalty), t.form, t.alpha, t.beta,
                                                 len(t.freeze), t.freeze))  # fmt: skip


def rank_of(penalty: str) -> int:
    """In the order of 001's section 3."""
    order = (NONE, "l2", "l2_sp", "l2_sp_fisher", "l1_sp", "gl_sp", "gl_sp_fisher")
    return order.index(penalty) if penalty in order else len(order)


def name_forms(trials: Sequence[Trial]) -> None:
    """`L2-SP`; with the settings in which trials under one penalty differ."""
    for penalty in {t.penalty for t in trials}:
        alike = [t for t in trials if t.penalty == penalty]
        settings = [dict(t.others) for t in alike]
        differing = [k for k in settings[0] if len({s.get(k) for s in settings}) > 1][:TOLD]
        for trial, values in zip(alike, settings, strict=True):
            pieces = [p if p == "fisher" else p.upper() for p in penalty.split("_")]
            told = ", ".join(f"{k} {values[k]}" for k in differing)
            name = FREE if penalty == NONE else "-".join(pieces).replace("fisher", "Fisher")
            trial.form = f"{name} ({told})" if told else name
    for trial in trials:
        trial.with_beta = len({t.beta for t in trials if t.form == trial.form}) > 1


def before_of(
    entries: Iterable[Entry], members: Iterable[Entry], split: str
) -> dict[str, dict[str, float]]:
    """NEW, OLD -> run of a network that the members came from -> its score, as they were scored."""
    members = list(members)
    origins, first = {e.origin for e in members if trained_on_new(e)}, members[0]
    shift, protocol = names_of(first)[0], first.protocol
    found: dict[str, dict[str, float]] = {NEW: {}, OLD: {}}
    for entry in entries:
        row = entry.row
        if entry.origin in origins and (row.split, entry.protocol) == (split, protocol):
            score = row.top1 if row.miou is None else row.miou
            if entry.method == B0 and row.shift == shift and score is not None:
                found[NEW][entry.origin] = score
            if entry.method == TEACHER and score is not None:
                found[OLD][entry.origin] = score
    return found


def add_drops(trials: Iterable[Trial], before: dict[str, dict[str, float]], split: str) -> None:
    """What each run scores less on D1 than the network that it came from."""
    for trial in trials:
        kept = trial.scores.get((OLD, split), {})
        drops = {key: before[OLD][key[1]] - v for key, v in kept.items() if key[1] in before[OLD]}
        if drops:
            trial.scores[DROP, split] = drops
