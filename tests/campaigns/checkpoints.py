"""Damages checkpoints, weights and records by a seed and reads them with the product's functions.

    python tests/campaigns/checkpoints.py [--count 2400] [--seed 0]

Damage is what disks, copies and editors do: flipped bits, a stretch of noise, a file that is cut
off, bytes that are twice there or lost, and in JSON and YAML a value of another kind. Allowed are
an InputError, or the content exactly as it was saved (the damage hit a byte that nobody reads). A
failure is any other exception, code that ran, memory beyond LARGER, and changed content of a file
that has a digest or checksum. Of files that have none the changed ones are counted apart.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers")]

import numpy as np
import torch
import yaml
from pngs import damaged
from tiny import POOL3, SUPERVISED
from tqdm import tqdm

from adapt.data.scenes import write_scenes
from adapt.disk.checkpoint import load, newest
from adapt.disk.files import write_json
from adapt.disk.runs import read_config, read_metrics
from adapt.disk.tensors import load_tensors, read_tensors
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.rows import collect, score_table
from adapt.machine.runtime import processor
from adapt.networks import build_network
from adapt.networks.saved import load_model
from adapt.penalties.fisher import fisher_of, load_fisher, write_fisher
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.training import TrainConfig
from adapt.training.train import train

LARGER = 256 << 20
"""Bytes that resident memory may grow by in one case."""
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**30, 1e308, -0.5, "", "x", "../../x", "🙂" * 9, [], {}, [1, 2],
    {"a": 1}, "<script>alert(1)</script>", "NaN",
)  # fmt: skip
"""What stands where something else is expected."""
FAILURES = ("exception", "executed", "memory", "silently changed")
NETWORK = NetworkConfig(width=1 / 32, batch_norm=True)
CHECKPOINTS = "runs/student/checkpoints"
Rng = np.random.Generator


def make(base: Path) -> None:
    """Two finished runs with checkpoints and evaluations, a Fisher file, a bare weights file."""
    for domain, seed in (("d1", 0), ("d2", 1)):
        write_scenes(base / domain, train=4, val=2, seed=seed, size=(40, 56))
    shared: dict[str, Any] = {
        "steps": 4, "batch": 2, "log_every": 1, "checkpoint_every": 2, "precision": "fp32",
        "device": "cpu", "schedule": ScheduleConfig(lr=0.02),
    }  # fmt: skip
    teacher, paired = str(base / "runs/teacher"), DataConfig(target=str(base / "d2"))
    data = DataConfig(name="scenes", root=str(base / "d1"), crop=[32, 40])
    train(TrainConfig(run=teacher, data=data, network=NETWORK, objective=SUPERVISED, **shared))
    penalty, student = PenaltyConfig("l2_sp", 1e-2, 1e-2), str(base / "runs/student")
    train(TrainConfig(run=student, data=paired, teacher=teacher, objective=POOL3, domain="d2",
                      penalty=penalty, **shared))  # fmt: skip
    evaluate(EvaluateConfig(teacher=teacher, device="cpu"))
    evaluate(EvaluateConfig(run=student, device="cpu"))
    net = load_model(Path(teacher)).net
    image = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    write_fisher(base / "fisher.safetensors", fisher_of(net, [("a", image)]), {"images": 1})
    torch.save(net.state_dict(), base / "bare.pth")


# ---- damage


def edited(
    content: bytes, rng: Rng, read: Callable[[str], Any], write: Callable[..., str]
) -> bytes:
    """A record with one entry of another kind, or without it."""
    tree, places = read(content.decode()), []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = places[int(rng.integers(0, len(places)))]
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = ODD[int(rng.integers(0, len(ODD)))]
    return write(tree).encode()


# ---- readers


def checkpoint(base: Path) -> Any:
    """The newest checkpoint; where it is refused, the older one must be taken, and said so."""
    folder = base / CHECKPOINTS
    try:
        return tuple(load(folder / "step_00000004"))
    except InputError:
        found, warnings = newest(folder)
        assert found is not None and found.step == 2, "the older checkpoint was not used"
        assert len(warnings) == 1 and "step_00000004" in warnings[0], "the damaged one is not named"
        raise


def model(base: Path) -> Any:
    found = load_model(base / "runs/student")
    return found.net.state_dict(), asdict(found.network), found.classes


def fisher(base: Path) -> Any:
    found = load_fisher(base / "fisher.safetensors")
    return found.values, found.made


def bare(base: Path) -> Any:
    net = build_network(NETWORK, 8)
    load_tensors(net, read_tensors(base / "bare.pth"), "bare.pth")
    return net.state_dict()


class Kind(NamedTuple):
    """A file and who reads it; has it a digest or checksum, so that no change may be accepted?"""

    file: str
    read: Callable[[Path], Any]
    guarded: bool = False


KINDS = {
    "checkpoint state.pt": Kind(f"{CHECKPOINTS}/step_00000004/state.pt", checkpoint, True),
    "checkpoint meta.json": Kind(f"{CHECKPOINTS}/step_00000004/meta.json", checkpoint),
    "model.safetensors": Kind("runs/student/model.safetensors", model, True),
    "model.json": Kind("runs/student/model.json", model),
    "Fisher file": Kind("fisher.safetensors", fisher, True),
    "weights .pth": Kind("bare.pth", bare, True),
    "config.yaml": Kind(
        "runs/student/config.yaml", lambda base: read_config(base / "runs/student")
    ),
    "metrics.jsonl": Kind(
        "runs/student/metrics.jsonl", lambda base: read_metrics(base / "runs/student")
    ),
    "metrics_*.json in a table": Kind(
        "runs/student/metrics_scenes_d2_d2_val.json",
        lambda base: score_table(collect(base / "runs")),
    ),
    "summary.json in a table": Kind(
        "runs/student/summary.json", lambda base: score_table(collect(base / "runs"))
    ),
}


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, NaN equal to NaN."""
    if isinstance(a, torch.Tensor):
        alike = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return alike and bool(torch.equal(a.nan_to_num(7.25), b.nan_to_num(7.25)))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        alike = isinstance(b, list | tuple) and len(a) == len(b)
        return alike and all(same(x, y) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b)


def perform(name: str, base: Path, place: Path, rng: Rng) -> dict[str, Any]:
    """One case, on a copy of all but the images: {kind, outcome[, detail]}."""
    kind = KINDS[name]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place, ignore=shutil.ignore_patterns("d1", "d2", "tensorboard"))
    path, wanted = place / kind.file, kind.read(place)
    content, suffix = path.read_bytes(), path.suffix
    if suffix in (".json", ".yaml") and rng.random() < 0.5:
        read, write = (json.loads, json.dumps) if suffix == ".json" else (yaml.safe_load, yaml.dump)
        path.write_bytes(edited(content, rng, read, write))
    else:
        path.write_bytes(damaged(content, rng))
    done, before = {"kind": name}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    system, ran = os.system, list[object]()
    os.system = lambda *given: ran.append(given)  # type: ignore[assignment]
    try:
        found = kind.read(place)
    except InputError as error:
        done |= {"outcome": "refused", "detail": str(error)[:300]}
    except Exception:  # noqa: BLE001  # any other kind is what is looked for
        done |= {"outcome": "exception", "detail": traceback.format_exc()[-1500:]}
    else:
        changed = "silently changed" if kind.guarded else "changed"
        done |= {"outcome": "as saved" if same(found, wanted) else changed}
    finally:
        os.system = system
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > LARGER >> 10:
        done |= {"outcome": "memory"}
    return done | ({"outcome": "executed"} if ran else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/campaign_checkpoints.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, "base"))
        for number in tqdm(range(given.count), disable=not sys.stderr.isatty()):
            name = list(KINDS)[number % len(KINDS)]
            rng = np.random.default_rng([given.seed, number])
            results.append(perform(name, Path(folder, "base"), Path(folder, "copy"), rng))
    by_kind = {name: Counter(r["outcome"] for r in results if r["kind"] == name) for name in KINDS}
    for name, counts in by_kind.items():
        print(f"{name:28}", ", ".join(f"{k} {v}" for k, v in counts.items()))
    failures = [done for done in results if done["outcome"] in FAILURES]
    for done in failures[:40]:
        print(json.dumps(done, indent=1).replace("\\n", "\n"), file=sys.stderr)
    command = f"python tests/campaigns/checkpoints.py --count {given.count} --seed {given.seed}"
    packages = ("torch", "safetensors", "pyyaml", "numpy")
    write_json(
        given.out,
        {
            "command": command,
            "date": date.today().isoformat(),
            "cpu": processor(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in packages},
            "cases": len(results),
            "outcomes": dict(Counter(done["outcome"] for done in results)),
            "failures": len(failures),
            "guarded": [name for name, kind in KINDS.items() if kind.guarded],
            "by_kind": {name: dict(counts) for name, counts in by_kind.items()},
        },
    )
    print(f"{len(results)} cases, {len(failures)} failures; {given.out}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
