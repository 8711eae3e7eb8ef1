"""Does a refactoring change a number? Losses, weights, scores and pixels of two checkouts.

    python tests/campaigns/identical.py CHECKOUT --out FILE.json    # 3 minutes on one core
    python tests/campaigns/identical.py --compare A.json B.json     # exit status 1: they differ

Of a checkout only scripts/, what these leave and `transforms` are used, so that all inside may
move: trainings (one of two processes, one stopped and resumed), Fisher information, scores and a
study, on the CPU in fp32. Compared are all numbers of losses, scores and curves, a SHA-256 of each
network's tensors, of each folder's pixels and of what the filters make of an image; not timings,
settings and files as such. Numbers of two machines, or of two versions of torch, may differ.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

SCORES = re.compile(r"(metrics_.*|summary|verdict|results|activations|curves)\.json")
LEFT_OUT = ("seconds", "format", "settings", "protocol", "made", "montage.png", "curves.png")
"""Keys of records, and pictures with text."""
CPU = "device=cpu precision=fp32 workers=0"
RUN = f"{CPU} batch=4 log_every=1 schedule.lr=0.02"
PAIRS = f"data.target=study/shifts/photocopy teacher=teacher {RUN}"
POOL5 = f"adapt.py objective=pool5 {PAIRS} checkpoint_every=5 eval_every=30"
COMMANDS = (
    "train.py data=scenes data.root=scenes data.crop=[80,112] network.width=0.125 steps=150 "
    f"network.batch_norm=true batch=4 log_every=1 schedule.lr=0.1 {CPU} run=teacher",
    f"study.py experiment=demo data.root=scenes data.share=0.25 batch=4 seeds=[0] {CPU} moved=true "
    "supervised.start=teacher supervised.steps=20 supervised.schedule.lr=0.02 adaptation.steps=10 "
    "adaptation.schedule.lr=0.02 inversion.steps=2 features=[pool3,pool5] "
    "baselines=[b0,adabn,histogram,fda,b1,b2] runs=study",
    f"{POOL5} steps=30 run=pool5",
    f"adapt.py objective=w_inc_kd penalty=l2_sp penalty.alpha=0.01 ema=0.9 {PAIRS} steps=30 "
    "run=w_inc_kd",
    "train.py data.target=study/shifts/ripple domain=d2 start=teacher penalty=l2_sp "
    f"augment=photometric {RUN} steps=30 run=b2",
    "adapt.py objective=pool5_kd penalty=l1_sp penalty.apply=proximal freeze=2 schedule=cosine "
    f"{PAIRS} steps=30 run=l1_sp",
    "fisher.py device=cpu images=16 run=teacher out=fisher.safetensors",
    f"evaluate.py protocol=multiscale protocol.scales=[0.75,1.25] loss=true {CPU} run=w_inc_kd",
)
TORCHRUN = "-m torch.distributed.run --standalone --nproc-per-node=2"
TWO = f"adapt.py objective=w_inc penalty=l2_sp bn=eval {PAIRS} steps=30 run=two_processes"
STOPPED = f"{POOL5} steps=60 run=resumed"
FILTERS: dict[str, tuple[dict[str, Any], ...]] = {
    "photocopy": ({}, {"mask_radius": 5.0, "sharpness": 0.8}, {"black": 0.4, "white": 0.6}),
    "ripple": ({}, {"amplitude": 5.0, "period": 16.0, "phi": 0.3, "angle": 30.0},
               {"sampler_type": "linear", "wave_type": "sawtooth", "abyss_policy": "loop"},
               {"period": 40.0, "sampler_type": "nearest", "tileable": True}),
    "cubism": ({}, {"tile_size": 4.0, "tile_saturation": 1.75, "seed": 3},
               {"tile_size": 20.0, "tile_saturation": 6.0, "bg_color": (200, 10, 60), "seed": 7}),
}  # fmt: skip


def digest(*arrays: np.ndarray) -> str:
    content = (f"{a.dtype.str} {a.shape} ".encode() + a.tobytes() for a in arrays)
    return sha256(b"".join(content)).hexdigest()


def filtered(checkout: Path) -> dict[str, str]:
    """What the filters make of arrays and of batches; for a process of its own."""
    sys.path.insert(0, str(checkout))
    import torch

    import transforms
    import transforms.torch as batched

    assert Path(transforms.__file__).is_relative_to(checkout), transforms.__file__
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 128, (2, 8, 10, 3)), np.ones((1, 9, 9, 1), np.int64))
    images = (smooth + rng.integers(0, 128, smooth.shape)).astype(np.uint8)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    found: dict[str, str] = {}
    for name, given in ((name, given) for name, choices in FILTERS.items() for given in choices):
        single, batch = getattr(transforms, name), getattr(batched, name)
        floats = (tensors.float() / 255).requires_grad_()
        out = batch(floats, **given)
        out.square().sum().backward()
        made = {"array": single(images[0], **given), "bytes": batch(tensors, **given),
                "floats": out.detach(), "gradient": floats.grad}  # fmt: skip
        found |= {f"{name} {given} {kind}": digest(np.asarray(v)) for kind, v in made.items()}
    return found


def numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """Every number of a nested record by its path."""
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if name not in LEFT_OUT:
                yield from numbers(inner, f"{key} {name}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def recorded(work: Path) -> dict[str, Any]:
    """What the commands left below a folder: numbers, weights, pixels."""
    found: dict[str, Any] = {}
    pixels: dict[str, list[np.ndarray]] = {}
    for path in sorted(work.rglob("*.*")):
        key = str(path.relative_to(work))
        if path.name == "metrics.jsonl":
            found |= numbers([json.loads(line) for line in path.read_text().splitlines()], key)
        elif SCORES.fullmatch(path.name):
            found |= numbers(json.loads(path.read_text()), key)
        elif path.suffix == ".safetensors":
            tensors = sorted(load_file(path).items())
            found[key] = digest(np.array([name for name, _ in tensors]), *(t for _, t in tensors))
        elif path.suffix == ".png" and path.name not in LEFT_OUT:
            pixels.setdefault(f"{Path(key).parent}/*.png", []).append(np.array(Image.open(path)))
    return found | {key: digest(*images) for key, images in pixels.items()}


def run(command: list[str], work: Path, stop: str = "") -> str:
    """What a Python file prints; with `stop` it is sent SIGTERM as soon as that is there."""
    # numba's cache beside the sources would miss changes in functions of other files
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "NUMBA_CACHE_DIR": str(work / "numba")}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=work, env=os.environ | own, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    while stop and process.poll() is None and not list(work.glob(stop)):
        time.sleep(0.01)
    if stop:
        process.terminate()
    printed, _ = process.communicate(timeout=600)
    if process.returncode != (143 if stop else 0):
        sys.exit(f"{' '.join(command)}: status {process.returncode}\n{printed[-3000:]}")
    print(f"{time.monotonic() - started:4.0f} s {command[-1]}", file=sys.stderr)
    return printed


def measured(checkout: Path, work: Path) -> dict[str, Any]:
    def started(command: str) -> list[str]:
        script, *given = command.split()
        return [str(checkout / "scripts" / script), *given]

    for command in COMMANDS:
        run(started(command), work)
    run([*TORCHRUN.split(), *started(TWO)], work)
    run(started(STOPPED), work, stop="resumed/checkpoints/*")
    run(started(STOPPED), work)
    printed = run([str(Path(__file__).resolve()), str(checkout), "--filters"], work)
    return recorded(work) | json.loads(printed.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, help="JSON that receives the numbers of CHECKOUT")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"))
    parser.add_argument("--filters", action="store_true", help="print those of the filters alone")
    given = parser.parse_args()
    if given.compare:
        a, b = (json.loads(path.read_text()) for path in given.compare)
        pairs = {key: (a.get(key, "absent"), b.get(key, "absent")) for key in a | b}
        differing = [f"{k}: {x} -> {y}" for k, (x, y) in pairs.items() if repr(x) != repr(y)]
        print("\n".join(differing) or f"identical: {len(a)} values")
        sys.exit(bool(differing))
    if not given.checkout or not (given.out or given.filters):
        parser.error("give CHECKOUT --out FILE.json, or --compare A.json B.json")
    checkout = given.checkout.resolve()
    if given.filters:
        print(json.dumps(filtered(checkout)))
        return
    with tempfile.TemporaryDirectory() as work:
        found = measured(checkout, Path(work))
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{given.out}: {len(found)} values")


if __name__ == "__main__":
    main()
