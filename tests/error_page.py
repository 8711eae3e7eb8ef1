"""docs/errors.md: an example of every message, made of what the tests met.

    python -m pytest -n auto --errors FILE      # records into FILE, then brings the page up to date
    python tests/error_page.py FILE             # the second half alone

An example stays as long as its message can still be raised, so the page changes with the messages
only; delete it to have all of them chosen anew.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from error_sites import ROOT, Site, sites

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# What a command says when something is wrong

One message each, as it was printed; `DIR` stands for a folder of yours. Wrong input ends a command
with `error: ` and the message on standard error and exit status 2, before anything is written
wherever that can be known. A run that has to stop (a signal, a value that is not finite, a failed
check, no memory or a lost process, a full disk) prints its message with status 128 + the signal's
number, 3, 1, 4 or 74, its last checkpoint intact.
A setting or choice that does not exist is refused by Hydra before, with its name and the choices.

Made by `make errors` from what the tests meet; the comments say where in the source a message is
raised.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "Settings": (
        "adapt/settings.py", "adapt/bounds.py", "adapt/config.py", "adapt/commands.py",
        "adapt/runtime.py",
    ),
    "Data sets": ("adapt/data/",),
    "Pairs and lists": (
        "adapt/data/files.py", "adapt/data/pairs.py", "adapt/data/shards.py", "adapt/data/tar.py",
        "adapt/sampling.py", "adapt/augment.py",
    ),
    "Indices of public paired sets": (
        "adapt/data/index.py", "scripts/index_",
    ),
    "Images and masks": (
        "adapt/images.py", "adapt/encoded/", "adapt/raw_files.py", "adapt/mat.py", "adapt/tiff.py",
    ),
    "Filters and shifted data sets": (
        "adapt/distort.py", "adapt/calibrate.py", "adapt/scenes.py", "viz/filters.py",
    ),
    "Filters, called from Python": ("transforms/",),
    "Networks, layers and weights": (
        "adapt/networks/", "adapt/models.py", "adapt/tensors.py", "adapt/layers.py",
        "adapt/layers_config.py", "adapt/taps.py", "viz/layers.py",
    ),
    "Runs and checkpoints": (
        "adapt/runs.py", "adapt/records.py", "adapt/checkpoint.py", "adapt/files.py",
        "adapt/lock.py", "adapt/resume.py",
    ),
    "Objectives": (
        "adapt/objective_config.py", "adapt/objectives.py", "adapt/distances.py",
        "adapt/schedules.py",
    ),
    "Penalties, Fisher information and frozen layers": (
        "adapt/penalties/", "adapt/fisher", "adapt/freezing.py",
    ),
    "Training": (
        "adapt/setup.py", "adapt/setup_checks.py", "adapt/recompute.py", "adapt/train.py",
        "adapt/batchnorm.py", "adapt/distributed.py", "adapt/failures.py", "adapt/workers.py",
        "adapt/teacher_cache.py", "scripts/_cli.py",
    ),
    "Evaluation and prediction": (
        "adapt/evaluate.py", "adapt/predict.py", "adapt/protocol.py", "adapt/classification.py",
        "adapt/restyle.py", "adapt/inference.py",
    ),
    "Studies, analyses, inversions and reports": (
        "adapt/study", "adapt/analy", "adapt/activations.py", "adapt/results.py",
        "adapt/evidence.py", "viz/",
    ),
    "Scan": ("adapt/scan/",),
    "Export": ("adapt/export/",),
}  # fmt: skip
"""Heading -> what paths begin with; the longest beginning counts."""

LITTLE = 8
"""Constant characters up to which two messages are not taken for the same one."""
ENTRY = re.compile(r"- (`+) ?(.*?) ?\1 <!-- (.*) -->")


class Entry(NamedTuple):
    message: str
    keys: tuple[str, ...]
    """`file function` of each place that raises it."""


def group_of(file: str) -> str:
    """Raises KeyError: a file that belongs to none."""
    fitting = {p: title for title, parts in GROUPS.items() for p in parts if file.startswith(p)}
    if not fitting:
        raise KeyError(f"{file}: give it a group in {Path(__file__).name}")
    return fitting[max(fitting, key=len)]


def read_page(text: str) -> list[Entry]:
    found = (ENTRY.fullmatch(line) for line in text.splitlines())
    return [Entry(m[2].replace(" ⏎ ", "\n"), tuple(m[3].split("; "))) for m in found if m]


def written(entry: Entry) -> str:
    text = entry.message.replace("\n", " ⏎ ")
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"- {ticks}{space}{text}{space}{ticks} <!-- {'; '.join(entry.keys)} -->\n"


def assigned(places: list[Site], messages: Iterable[str]) -> tuple[dict[Site, str], list[str]]:
    """Which place of one function raised which message, the most particular pattern first, and
    the messages that none did. Of several for one place the first counts."""
    found: dict[Site, str] = {}
    other = []
    for message in messages:
        fitting = [site for site in places if site.fits(message)]
        if not fitting:
            other.append(message)
            continue
        best = max(fitting, key=lambda s: s.weight)
        for site in fitting:
            if site.pattern == best.pattern:
                found.setdefault(site, message)
    return found, other


def examples(entries: list[Entry]) -> tuple[dict[Site, str], list[str]]:
    """The example of each place, and the entries that belong to no place (any more)."""
    found, other = {}, []
    places: dict[str, list[Site]] = {}
    for site in sites():
        places.setdefault(site.key, []).append(site)
    told: dict[str, list[str]] = {}
    for entry in entries:
        for key in entry.keys:
            told.setdefault(key, []).append(entry.message)
    for key, messages in told.items():
        own, rest = assigned(places.get(key, []), messages)
        found |= own
        other += [f"{key}: {message}" for message in rest]
    return found, other


def page(found: dict[Site, str]) -> str:
    """Places of one group that say the same share an entry."""
    entries: dict[str, dict[str, tuple[str, list[str]]]] = {title: {} for title in GROUPS}
    for site in sorted(found, key=lambda s: (order(s), sites().index(s))):
        group = entries[group_of(site.file)]
        same = site.pattern if site.weight > LITTLE else found[site]
        _, keys = group.setdefault(same, (found[site], []))
        if site.key not in keys:
            keys.append(site.key)
    parts = [HEAD]
    for title, group in entries.items():
        lines = [written(Entry(message, tuple(keys))) for message, keys in group.values()]
        parts.append(f"\n## {title}\n\n{''.join(lines)}" if lines else "")
    return "".join(parts)


def order(site: Site) -> int:
    """Files of a group in the order in which it names them."""
    parts = GROUPS[group_of(site.file)]
    return next(i for i, part in enumerate(parts) if site.file.startswith(part))


def update(recorded: Path) -> None:
    """Bring the page up to date with the records of a test run."""
    old = read_page(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else []
    lines = {line for line in recorded.read_text(encoding="utf-8").splitlines() if line}
    new = [Entry(message, (key,)) for key, message in map(json.loads, lines)]
    new.sort(key=lambda entry: (len(entry.message), entry.message))
    found, _ = examples([*old, *new])
    PAGE.write_text(page(found), encoding="utf-8")
    for site in (s for s in sites() if s not in found):
        print(f"no example of {site.file}:{site.first} ({site.function})")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
