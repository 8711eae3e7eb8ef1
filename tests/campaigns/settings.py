"""Absurd values for every setting of every command: none may end in anything but a named error.

    python tests/campaigns/settings.py [--commands train evaluate] [--seconds 30] [--out FILE]

The settings are read from the dataclasses, so a new one is covered. Every case runs in a child of
its own with bounded memory and time, as adapt/cli/main.py would run it. What is accepted is listed
in the results, to be read by a person: it should mean something.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

ME = Path(__file__).resolve()
ROOT = ME.parents[2]
sys.path[0:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import torch
from tiny import adapting, teaching
from tqdm import tqdm

from adapt.analysis.fisher import fisher
from adapt.cli.commands import COMMANDS
from adapt.data.scenes import write_scenes
from adapt.disk.files import write_json
from adapt.disk.runs import environment
from adapt.errors import InputError, Stopped
from adapt.evaluation.evaluate import evaluate
from adapt.machine.runtime import processor
from adapt.networks.factory import permit
from adapt.settings.commands import DistortConfig, EvaluateConfig, FisherConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.settings.mapping import EXPLICIT, build
from adapt.settings.study import StudyConfig
from adapt.shift.distort import make_distorted
from adapt.study import study_of
from adapt.study.cells import check_study
from adapt.training.train import train

MEMORY = 12 << 30
NAN, INF = float("nan"), float("inf")
ABSURD: dict[Any, list[Any]] = {
    bool: [True, False, "yes", 1, None],
    int: [-1, 0, 10**12, 1.5, "1", None, True],
    float: [-1.0, 0.0, 1e-300, 1e30, NAN, INF, -INF, "1", None, True],
    str: ["", "no_such", "a/b", "a\0b", "x" * 300, "/dev/null/x", "..", 5, None, ["a"]],
    list[int]: [[], [0], [1], [0, 0], [-1, -1], [1, 1], [1, 2, 3], [10**6, 10**6], [1.5, 2], "12"],
    list[list[int]]: [[], [[]], [[0, 0, 0]], [[0, 0, 0]] * 2, [[-1, 0, 0]], [[1, 2]], [1], "12"],
    list[float]: [[], [0.0], [1.0], [-1.0, 1.0], [2.0, 1.0], [1e9, 1e9], [NAN] * 3, [INF], "1"],
    list[str]: [[], [""], ["no_such"], ["no_such", "no_such"], ["a\0b"], [1], "abc"],
    dict[str, float]: [{}, {"": 1.0}, {"no_such": 1.0}, {"pool3": NAN}, {"pool3": -1.0},
                       {"pool3": 1e30}, {"a": 1e-9}, {"pool3": "1"}, [1]],
    dict[str, str]: [{}, {"": ""}, {"mine": "no_such"}, {"mine": 1}, {"conv1": "conv2"}, "a"],
    dict[str, Any]: [{}, {"": 1}, {"no_such": 1}, {"image": 1}, "a"],
    dict[str, list[float]]: [{}, {"no_such": [1.0]}, {"pool3": [NAN]}, {"pool3": []}, {"a": 1.0}],
    dict[str, dict[str, list[int]]]: [{}, {"no_such": {}}, {"": {"a": [1]}}, {"a": {"b": [-1]}},
                                      {"a": {"b": [10**6]}}, {"a": {"b": 1}}, {"a": 1}, [1]],
    dict[str, dict[str, Any]]: [{}, {"no_such": {}}, {"": {"a": 1}}, {"pool3": {"no_such": 1}},
                                {"pool3": {"ema": NAN}}, {"pool3": 1}, [1]],
    Any: ["", "auto", "no_such", [], ["no_such"], {}, {"pool3": NAN}, {"pool3": 0}, 5, None, [1]],
    list[dict[str, Any]]: [[], [{"no_such": 1}], [{"black": "x"}], [1], "a"],
}  # fmt: skip


LONG = ("steps", "refine", "images", "draws", "root", "workers")
"""Settings that may ask for more work than a case has time for; a root draws all scenes."""


def world(root: Path) -> Path:
    """What every case may read, and none changes: nine embedded scenes, their twin, a teacher, a
    student and a Fisher file."""
    write_scenes(root / "d1", train=6, val=3, seed=0, size=(32, 40))
    data = DataConfig(name="scenes", root=str(root / "d1"), crop=[16, 24])
    shift = ShiftConfig("photocopy")
    make_distorted(DistortConfig(data=data, shift=shift, out=str(root / "d2"), workers=1))
    train(teaching(root, data=data, steps=2))
    train(adapting(root, root / "student", steps=2))
    fisher(FisherConfig(str(root / "teacher"), images=2, out=str(root / "f.safetensors")))
    evaluate(EvaluateConfig(run=str(root / "student"), device="cpu"))
    return root


def scenes(root: Path) -> dict[str, Any]:
    return {"name": "scenes", "root": f"{root}/d1", "crop": [16, 24]}


CPU = {"device": "cpu", "precision": "fp32"}
SMALL = {"steps": 2, "batch": 2, "log_every": 1, **CPU}
SUPERVISED = {"name": "supervised", "supervised": {"weight": 1.0}}
POOL3 = {"name": "pool3", "regression": {"weight": 1.0, "taps": {"pool3": 1.0}}}
NETWORK = {"width": 1 / 32, "batch_norm": True}
L2_SP = {"name": "l2_sp", "alpha": 0.01, "beta": 0.01}
PHOTOCOPY: dict[str, Any] = {"name": "photocopy", "parameters": {"mask_radius": 5.0}}


def plan(config: StudyConfig) -> None:
    """A study up to its first cell: what the cells do, the other commands are tried on."""
    check_study(config)
    list(study_of(config).cells())


BASES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "train": lambda w, out: {
        "run": f"{out}/run", "data": scenes(w), "network": NETWORK, "objective": SUPERVISED,
        **SMALL,
    },
    "adapt": lambda w, out: {
        "run": f"{out}/run", "data": {"target": f"{w}/d2"}, "teacher": f"{w}/teacher",
        "objective": POOL3, "penalty": L2_SP, "domain": "d2", **SMALL,
    },
    "evaluate": lambda w, out: {"run": f"{w}/student", **CPU},
    "predict": lambda w, out: {"run": f"{w}/student", "out": f"{out}/p", **CPU},
    "make_distorted_voc": lambda w, out: {
        "data": scenes(w), "shift": PHOTOCOPY, "out": f"{out}/d", "workers": 1,
    },
    "calibrate": lambda w, out: {
        "teacher": f"{w}/teacher", "out": f"{out}/c.json", "refine": 1, **CPU,
        "shift": {**PHOTOCOPY, "distortion": 20.0, "candidates": [{"black": 0.1}, {"black": 0.3}]},
    },
    "fisher": lambda w, out: {
        "run": f"{w}/teacher", "images": 2, "out": f"{out}/f.safetensors", "device": "cpu",
    },
    "analyse": lambda w, out: {
        "run": f"{w}/student", "fisher": f"{w}/f.safetensors", "out": f"{out}/a", **CPU,
    },
    "invert": lambda w, out: {
        "run": f"{w}/student", "image": f"{w}/d1/JPEGImages/scene_000000.png", "steps": 2,
        "out": f"{out}/i", "device": "cpu",
    },
    "layers": lambda w, out: {"run": f"{w}/student", "out": f"{out}/l", "device": "cpu"},
    "export": lambda w, out: {
        "run": f"{w}/student", "out": f"{out}/e", "formats": ["safetensors"], "images": 1,
    },
    "merge": lambda w, out: {"runs": [f"{w}/student", f"{w}/teacher"], "run": f"{out}/m"},
    "report": lambda w, out: {"runs": str(w), "out": f"{out}/r.html", "examples": 1},
    "drift": lambda w, out: {
        "teacher": f"{w}/teacher", "data": {"target": f"{w}/d2"}, "out": f"{out}/d", **CPU,
    },
    "align": lambda w, out: {
        "data": {"name": "pairs", "root": f"{w}/d1/JPEGImages", "target": f"{w}/d2/JPEGImages"},
        "out": f"{out}/a", "sample": 4, "examples": 1, "workers": 1,
    },
    "scan": lambda w, out: {
        "data": {**scenes(w), "target": f"{w}/d2"}, "out": f"{out}/s.json", "workers": 1,
    },
    "filters": lambda w, out: {"out": f"{out}/f", "image": f"{w}/d1/JPEGImages/scene_000000.png"},
    "study": lambda w, out: {
        "runs": f"{out}/s", "data": scenes(w), "network": NETWORK, "batch": 2, "inversions": 0,
        "shifts": {"photocopy": PHOTOCOPY}, "objectives": {"pool3": POOL3}, "baselines": ["b0"],
        "supervised": {"steps": 1}, "adaptation": {"steps": 1}, **CPU,
    },
}  # fmt: skip
"""Settings with which each command succeeds, written to `out`."""


class Case(NamedTuple):
    """One setting of a command with one value; with no path, nothing is changed."""

    command: str
    path: tuple[str, ...]
    value: Any

    def __str__(self) -> str:
        return f"{self.command} {'.'.join(self.path)}={shown(self)}"


def shown(case: Case) -> str:
    text = repr(case.value)
    return text if len(text) < 60 else f"{text[:50]}…"


def settings(schema: type, values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and type of every setting; of a dictionary of groups those of what `values` has."""
    hints = get_type_hints(schema)
    for f in (f for f in fields(schema) if f.name != EXPLICIT):
        hint, given = hints[f.name], values.get(f.name) or {}
        groups = {}
        if is_dataclass(hint):
            groups = {(f.name,): (hint, given)}
        elif get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
            groups = {(f.name, key): (get_args(hint)[1], v) for key, v in given.items()}
            yield (f.name,), hint
        else:
            yield (f.name,), hint
        for first, (inner, group) in groups.items():
            yield from ((first + rest, leaf) for rest, leaf in settings(inner, group))


def values_for(hint: Any) -> list[Any]:
    if hint in ABSURD:
        return ABSURD[hint]
    assert get_origin(hint) is dict and is_dataclass(get_args(hint)[1]), hint
    return [{}, {"no_such": {}}, {"a/b": {}}, {"": {}}, {"x": 1}, "a"]


def cases(names: list[str], place: Path) -> list[Case]:
    return [
        Case(name, path, value)
        for name in names
        for path, hint in settings(COMMANDS[name].settings(), BASES[name](place, Path("out")))
        for value in values_for(hint)
    ]


def changed(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with one setting replaced, and noted as given, as adapt/cli/main.py notes it."""
    values = deepcopy(values)
    if not path:
        return values
    inner = values
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
    inner[path[-1]] = value
    if path[0] == "data":
        values["data"][EXPLICIT] = [path[1]]
    return values


def perform(case: Case, place: Path, out: Path) -> str:
    """`accepted`, or `refused: MESSAGE`. Anything but our errors is raised."""
    command = COMMANDS[case.command]
    values = changed(BASES[case.command](place, out), case.path, case.value)
    try:
        config = build(command.settings(), values)
        permit(getattr(getattr(config, "network", None), "factory", ""))
        (plan if case.command == "study" else command.function())(config)
    except (InputError, Stopped) as error:
        return f"refused: {error}"
    except OSError as error:  # a file that cannot be written or read; adapt/cli/main.py says which
        if error.filename is None:
            raise
        return f"refused: {error.filename}: {error.strerror}"
    return "accepted"


def crash(error: BaseException) -> str:
    """Where in the product, and what."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) != ME]
    ours = [f for f in frames if Path(f.filename).is_relative_to(ROOT)]
    where = f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else ""
    return f"crashed: {where} {type(error).__name__}: {str(error)[:300]}"


def in_child(case: Case, place: Path, out: Path, seconds: int) -> str:
    """`perform` with bounded time and memory, silent."""
    os.setsid()
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chdir(out)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        found = perform(case, place, out)
    except BaseException as error:  # noqa: BLE001
        return crash(error)
    left = [str(p.relative_to(out)) for p in sorted(out.rglob("*")) if p.is_file()]
    written = left and found.startswith("refused")
    return f"left {', '.join(left[:3])}; {found}" if written else found


def outcome(case: Case, place: Path, seconds: int) -> str:
    """`accepted`, `refused: …`, `left FILES; refused: …`, `crashed: …` or `endless`."""
    out = Path(tempfile.mkdtemp(prefix="case", dir=place))
    told = out.with_suffix(".txt")
    child = os.fork()
    if not child:
        told.write_text(in_child(case, place, out, seconds))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started
    shutil.rmtree(out, ignore_errors=True)
    if told.exists():
        found = told.read_text()
        told.unlink()
        return found
    number = os.WTERMSIG(status)
    return "endless" if number == signal.SIGALRM else f"crashed: signal {number}"


def summary(found: list[tuple[Case, str]]) -> dict[str, Any]:
    """Counts by command, what was accepted by setting, and every case that ended badly."""
    counts: dict[str, Counter[str]] = {}
    accepted: dict[str, list[str]] = {}
    for case, text in found:
        kind = text.split(maxsplit=1)[0].rstrip(":")
        counts.setdefault(case.command, Counter())[kind] += 1
        if kind == "accepted":
            accepted.setdefault(f"{case.command} {'.'.join(case.path)}", []).append(shown(case))
    return {
        "cases": len(found), "counts": dict(sum(counts.values(), Counter())),
        "bad": {str(case): text for case, text in found if is_bad(case, text)},
        "by_command": {k: dict(v) for k, v in counts.items()},
        "accepted": {k: ", ".join(v) for k, v in accepted.items()},
    }  # fmt: skip


def is_bad(case: Case, text: str) -> bool:
    """A crash; or no end, where the value does not ask for much work."""
    return text.startswith("crashed") or (text == "endless" and case.path[-1] not in LONG)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--every", type=int, default=1, help="one case of so many")
    parser.add_argument("--seconds", type=int, default=30, help="for one case")
    parser.add_argument("--out", type=Path, default=ROOT / "results/campaign_settings.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = world(Path(folder))
        for name in given.commands:
            COMMANDS[name].function()  # imported here, not by every child
            base = outcome(Case(name, (), None), place, 2 * given.seconds)
            assert base == "accepted", f"{name}, nothing changed: {base}"
        todo = cases(given.commands, place)
        found = [
            (case, outcome(case, place, given.seconds).replace(folder, "DIR"))
            for case in tqdm(todo[:: given.every], disable=not sys.stderr.isatty())
        ]
    made = summary(found)
    for case, text in made["bad"].items():
        print(f"{case}: {text}")
    print(made["counts"])
    write_json(given.out, {
        "command": " ".join(["python", "tests/campaigns/settings.py", *sys.argv[1:]]),
        "date": date.today().isoformat(), "environment": environment(), "processor": processor(),
        "seconds": round(time.monotonic() - started), **made,
    })  # fmt: skip
    sys.exit(bool(made["bad"]))


if __name__ == "__main__":
    main()
