"""Does a refactoring change a number? Losses, weights, scores and pixels of two checkouts.

    python tests/campaigns/identical.py CHECKOUT FILE.json    # 3 minutes on one core
    diff A.json B.json                                        # a line for each that differs

Only scripts/, what these leave and `transforms` are used, so that all inside may move. Recorded are
all numbers of losses, scores and curves, and a SHA-256 of each network's tensors, of pictures, and
of what the filters make. Another machine or another torch may make other numbers.
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
COMMANDS = (
    "train.py data=scenes data.root=scenes data.crop=[80,112] network.width=0.125 steps=150 "
    f"network.batch_norm=true batch=4 log_every=1 schedule.lr=0.1 {CPU} run=teacher",
    f"study.py experiment=demo data.root=scenes data.share=0.25 batch=4 seeds=[0] {CPU} moved=true "
    "supervised.start=teacher supervised.steps=20 supervised.schedule.lr=0.02 adaptation.steps=10 "
    "adaptation.schedule.lr=0.02 inversion.steps=2 features=[pool3,pool5] "
    "baselines=[b0,adabn,histogram,fda,b1,b2] runs=study",
    f"adapt.py objective=w_inc_kd penalty=l2_sp penalty.alpha=0.01 ema=0.9 {PAIRS} steps=30 "
    "run=w_inc_kd",
    "train.py data.target=study/shifts/ripple domain=d2 start=teacher penalty=l2_sp "
    f"augment=photometric {RUN} steps=30 run=b2",
    "adapt.py objective=pool5_kd penalty=l1_sp penalty.apply=proximal freeze=2 schedule=cosine "
    f"{PAIRS} steps=30 run=l1_sp",
    "fisher.py device=cpu images=16 run=teacher out=fisher.safetensors",
    f"evaluate.py protocol=multiscale protocol.scales=[0.75,1.25] loss=true {CPU} run=w_inc_kd",
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
TWO = f"adapt.py objective=w_inc penalty=l2_sp bn=eval {PAIRS} steps=30 run=two_processes"
STOPPED = f"adapt.py objective=pool5 {PAIRS} checkpoint_every=5 eval_every=30 steps=60 run=resumed"
GEGL = Path(__file__).resolve().parents[1] / "transforms/gegl"
"""Images, and settings of the filters that bring out every part of them."""


def digest(*arrays: np.ndarray) -> str:
    content = (f"{a.dtype.str} {a.shape} ".encode() + a.tobytes() for a in arrays)
    return sha256(b"".join(content)).hexdigest()


def filtered(checkout: Path) -> dict[str, str]:
    """What the filters make of an array and of a batch, and the gradient through them."""
    sys.path.insert(0, str(checkout))
    import torch

    import transforms
    import transforms.torch as batched

    assert Path(transforms.__file__).is_relative_to(checkout), transforms.__file__
    found: dict[str, str] = {}
    for case in json.loads((GEGL / "manifest.json").read_text())["cases"]:
        image = np.array(Image.open(GEGL / case["input"]).convert("RGB"))
        tensors = torch.from_numpy(np.stack([image, 255 - image])).permute(0, 3, 1, 2)
        single, batch = (getattr(place, case["op"]) for place in (transforms, batched))
        floats = (tensors / 255).requires_grad_()
        out = batch(floats, **case["params"])
        out.square().sum().backward()
        made = {"array": single(image, **case["params"]), "gradient": floats.grad,
                "bytes": batch(tensors, **case["params"]), "floats": out.detach()}  # fmt: skip
        found |= {f"{case['output']} {kind}": digest(np.asarray(v)) for kind, v in made.items()}
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
            found[key] = digest(np.array(Image.open(path)))
    return found


def run(checkout: Path, command: str, work: Path, *launcher: str, stop: str = "") -> None:
    """One of a checkout's scripts; with `stop` it is sent SIGTERM as soon as that is there."""
    script, *given = command.split()
    process = subprocess.Popen(
        [sys.executable, *launcher, str(checkout / "scripts" / script), *given], cwd=work
    )
    while stop and process.poll() is None and not list(work.glob(stop)):
        time.sleep(0.01)
    if stop:
        process.terminate()
    if process.wait(timeout=600) != (143 if stop else 0):
        sys.exit(f"{command}: status {process.returncode}")


def measured(checkout: Path, work: Path) -> dict[str, Any]:
    # numba's cache beside the sources would miss changes in functions of other files
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "NUMBA_CACHE_DIR": str(work / "numba")}
    os.environ.update(own)
    for command in COMMANDS:
        run(checkout, command, work)
    run(checkout, TWO, work, *TORCHRUN)
    run(checkout, STOPPED, work, stop="resumed/checkpoints/*")
    run(checkout, STOPPED, work)
    return recorded(work) | filtered(checkout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path, help="JSON that receives the numbers, one a line")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = measured(given.checkout.resolve(), Path(work))
    given.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{given.out}: {len(found)} values")


if __name__ == "__main__":
    main()
