"""Style inversion: ours against the loop that tutorials of style transfer write.

    python benchmarks/inversion.py [--rounds 5] [--size 240] [--evaluations 60] [--taps pool|conv]
    python benchmarks/inversion.py --run RUN --image A.png B.png   # what bf16 costs in loss

The tutorial's loop is frozen, truncated at the last tap, NCHW, fp32, and compares Gram matrices and
maps by `F.mse_loss`. Taps are the five poolings, as in the command, or what goes into them. All
variants run interleaved in one process (benchmarks/measure.py); each one's time is that of a whole
inversion, targets included, for one evaluation of loss and gradient. Memory is the peak of a
process that makes one inversion, less what it had before. `--clock cpu --threads 1` counts the
process's own time: on a machine that others use, the only ratios that repeat.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from adapt.data.augment import resize
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.disk.runs import read_config
from adapt.machine.runtime import Runtime, runtime
from adapt.networks.batchnorm import eval_mode
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.saved import load_model
from adapt.settings.groups import NetworkConfig
from benchmarks.measure import Variant, forget, gpu_wait, in_use, measure, record, report
from viz.inversion.style import Matching, invert_image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TV = 0.05  # the command's default; the tutorial has none

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Inverter = Callable[[int], float]
"""Evaluations -> seconds for one of them."""


def five(taps: str) -> dict[str, float]:
    return {f"{taps}{number}": 1.0 for number in range(1, 6)}


def tutorial(net: nn.Module, picture: np.ndarray, taps: str, clock: str, kind: str) -> Inverter:
    """Neural style transfer as its tutorials have it: slices of a frozen VGG."""
    now, wait = CLOCKS[clock], gpu_wait()
    device = runtime("auto", "fp32").device
    net = deepcopy(net).to(device).eval().requires_grad_(False)
    every = [f"{layer}{i}" for i in range(1, 6) for layer in ("conv", "pool")]
    if taps == "conv":
        every = ["", *every[:-1]]
    slices = [
        nn.Sequential(*(net.get_submodule(name) for name in pair if name))
        for pair in zip(every[::2], every[1::2], strict=True)
    ]
    mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (MEAN, STD))
    target = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous().to(device) / 255

    def features(image: torch.Tensor) -> list[torch.Tensor]:
        x, found = (image - mean) / std, []
        for block in slices:
            x = block(x)
            found.append(x)
        return found

    def gram(maps: torch.Tensor) -> torch.Tensor:
        _, c, h, w = maps.shape
        flat = maps.view(c, h * w)
        return torch.mm(flat, flat.t()).div(h * w)

    def run(evaluations: int) -> float:
        started, done = now(), 0
        with torch.no_grad():
            content = features(target)
            style = [gram(maps) for maps in content]
        image = torch.rand_like(target).requires_grad_()
        optimizer = {"adam": torch.optim.Adam, "lbfgs": torch.optim.LBFGS}[kind]([image])

        def closure() -> torch.Tensor:
            nonlocal done
            done += 1
            with torch.no_grad():
                image.clamp_(0, 1)
            optimizer.zero_grad()
            loss = torch.zeros((), device=device)
            for maps, c, s in zip(features(image), content, style, strict=True):
                loss = loss + F.mse_loss(maps, c) + F.mse_loss(gram(maps), s)
            loss.backward()
            return loss

        while done < evaluations:
            optimizer.step(closure)
        wait()
        return (now() - started) / done

    return run


def ours(
    net: nn.Module, picture: np.ndarray, taps: str, clock: str, kind: str, precision: str
) -> Inverter:
    """`invert_image` as scripts/invert.py calls it."""
    now = CLOCKS[clock]
    machine = runtime("auto", precision)
    net = machine.place(deepcopy(net))

    def run(evaluations: int) -> float:
        started = now()
        settings = {"tv": TV, "optimizer": kind, "steps": evaluations, "machine": machine}
        found = invert_image(net, NetworkConfig(), picture, five(taps), **settings)
        return (now() - started) / (len(found.curve) - 1)

    return run


def makers(given: argparse.Namespace) -> dict[str, Callable[[], Inverter]]:
    torch.manual_seed(0)
    net = DeepLabVGG16(21, given.width)
    picture = np.random.default_rng(0).integers(0, 256, (given.size, given.size, 3), np.uint8)
    made: dict[str, Callable[[], Inverter]] = {}
    for kind in ("adam", "lbfgs"):
        made[f"tutorial {kind}"] = partial(tutorial, net, picture, given.taps, given.clock, kind)
        for precision in ("fp32", "bf16"):
            arguments = (net, picture, given.taps, given.clock, kind, precision)
            made[f"ours {kind} {precision}"] = partial(ours, *arguments)
    return made


def peak(inverter: Inverter) -> float:
    """MB that two evaluations need beyond what is there before."""
    forget()
    before = in_use()
    inverter(2)
    return (in_use(peak=True) - before) / 1e6


def memory(given: argparse.Namespace, names: list[str]) -> dict[str, float]:
    """MB of every variant, each in a process of its own."""
    found = {}
    for name in names:
        command = [sys.executable, *sys.argv, "--memory", name]
        found[name] = float(subprocess.run(command, capture_output=True, check=True).stdout)
        print(f"{name:<28} peak {found[name]:8.0f} MB")
    return found


def fp32_loss(
    net: nn.Module, network: NetworkConfig, picture: np.ndarray, found: np.ndarray, taps: str
) -> float:
    """The loss of a finished picture, so that both precisions are measured by one ruler."""
    machine = Runtime(next(net.parameters()).device, bf16=False)
    target, image = (tensor(a)[None].to(machine.device) / 255 for a in (picture, found))
    with eval_mode(net), torch.no_grad():
        weights = {"content": 1.0, "style": 1.0, "tv": TV}
        return Matching(net, network, target, five(taps), weights, machine)(image).item()


def losses(given: argparse.Namespace) -> dict[str, list[float]]:
    """Loss in fp32 after so many evaluations, from the same noise, with a trained network; an entry
    an image."""
    model = load_model(Path(given.run))
    size = read_config(Path(given.run))["data"]["resize"]
    pictures = [resize({"x1": read_image(Path(path))}, size)["x1"] for path in given.image]
    found = {}
    for kind in ("sgd", "adam", "lbfgs"):
        for precision in ("fp32", "bf16"):
            machine = runtime("auto", precision)
            net = machine.place(deepcopy(model.net))
            settings = {"tv": TV, "optimizer": kind, "steps": given.evaluations}
            found[f"{kind} {precision}"] = []
            for picture in pictures:
                taps = five(given.taps)
                made = invert_image(net, model.network, picture, taps, machine=machine, **settings)
                loss = fp32_loss(net, model.network, picture, made.image, given.taps)
                found[f"{kind} {precision}"].append(loss)
        exact, low = np.array(found[f"{kind} fp32"]), np.array(found[f"{kind} bf16"])
        more = np.sort(100 * (low / exact - 1))
        spread = f"{np.median(more):+.1f} % ({more[0]:+.1f} to {more[-1]:+.1f})"
        print(f"{kind:<6} median loss {np.median(exact):.4f} in fp32; bf16: {spread}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--taps", default="pool", choices=("pool", "conv"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=tuple(CLOCKS))
    parser.add_argument("--run", default="", help="a run: compare losses, not times")
    parser.add_argument("--image", nargs="+", default=[])
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)
    parser.add_argument("--out", default="benchmarks/inversion.jsonl")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.run:
        record(given.out, {}, [], losses=losses(given))
        return
    made = makers(given)
    if given.memory:
        print(peak(made[given.memory]()))
        return
    inverters = {name: make() for name, make in made.items()}
    timed: dict[str, Variant] = {
        name: partial(one, given.evaluations) for name, one in inverters.items()
    }
    seconds = measure(timed, given.rounds)
    pairs = [(name, f"tutorial {name.split()[1]}") for name in made if name.startswith("ours")]
    rows = report(seconds, pairs)
    record(given.out, seconds, rows, peak_megabytes=memory(given, list(made)))


if __name__ == "__main__":
    main()
