"""Style inversion: ours against the loop that tutorials of style transfer write.

    python benchmarks/inversion.py [--rounds 5] [--size 240] [--evaluations 60] [--threads 2]

The tutorial's loop is frozen, truncated at the last tap, NCHW, fp32, and compares Gram matrices and
maps by `F.mse_loss`. Taps are the five poolings, as in the command. Each variant's time is that of
a whole inversion, targets included, for one evaluation of loss and gradient. Memory is the peak of
two evaluations in a process of their own, less what it had before.
"""

import json
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

from adapt.machine.runtime import runtime
from adapt.settings.groups import NetworkConfig
from benchmarks.measure import GPU, conclude, gpu_wait, in_own_process, measure, peak, settings
from benchmarks.steps import MEAN, STD, network
from viz.inversion.style import invert_image

TAPS = {f"pool{number}": 1.0 for number in range(1, 6)}
TV = 0.05
"""The command's default; the tutorial has none."""
Inverter = Callable[[int], float]
"""Evaluations -> seconds for one of them."""


def tutorial(net: nn.Module, picture: np.ndarray, kind: str) -> Inverter:
    """Neural style transfer as its tutorials have it: slices of a frozen VGG."""
    device = runtime("auto", "fp32").device
    net = deepcopy(net).to(device).eval().requires_grad_(False)
    slices = [
        nn.Sequential(net.get_submodule(f"conv{number}"), net.get_submodule(f"pool{number}"))
        for number in range(1, 6)
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
        started, done = time.perf_counter(), 0
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
        gpu_wait()
        return (time.perf_counter() - started) / done

    return run


def ours(net: nn.Module, picture: np.ndarray, kind: str, precision: str) -> Inverter:
    """`invert_image` as scripts/invert.py calls it."""
    machine = runtime("auto", precision)
    net = machine.place(deepcopy(net))
    given = {"tv": TV, "optimizer": kind, "machine": machine}

    def run(evaluations: int) -> float:
        started = time.perf_counter()
        found = invert_image(net, NetworkConfig(), picture, TAPS, steps=evaluations, **given)
        return (time.perf_counter() - started) / (len(found.curve) - 1)

    return run


def makers(size: int, width: float) -> dict[str, Callable[[], Inverter]]:
    """Every variant on an image of noise with sides of `size` pixels."""
    net = network(width=width)
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    made: dict[str, Callable[[], Inverter]] = {}
    for kind in ("adam", "lbfgs"):
        made[f"tutorial {kind}"] = partial(tutorial, net, picture, kind)
        for precision in ("fp32", "bf16"):
            made[f"ours {kind} {precision}"] = partial(ours, net, picture, kind, precision)
    return made


PAIRS = [(f"ours {k} {p}", f"tutorial {k}") for k in ("adam", "lbfgs") for p in ("fp32", "bf16")]


def main() -> None:
    given = settings(__doc__, rounds=5, size=240, width=1.0, evaluations=60, threads=2, only="")
    torch.set_num_threads(given.threads)
    made = makers(given.size, given.width)
    if given.only:
        print(json.dumps(peak(partial(made[given.only](), 2)) / 1e6))
        return
    inverters = {name: make() for name, make in made.items()}
    variants = {name: partial(one, given.evaluations) for name, one in inverters.items()}
    seconds = measure(variants, given.rounds)
    own = {n: peak(partial(v, 2)) / 1e6 for n, v in inverters.items()} if GPU else {}
    megabytes = own or {name: in_own_process("--only", name) for name in made}
    print("\n".join(f"{name:<28} peak {value:8.0f} MB" for name, value in megabytes.items()))
    conclude(given.out, seconds, PAIRS, peak_megabytes=megabytes)


if __name__ == "__main__":
    main()
