"""What each penalty adds to an update, as a share of a training step and of the usual L2-SP loop.

    python benchmarks/penalties.py [--rounds 5] [--network deeplab_vgg16] [--size 321] [--batch 1]
                                   [--precision fp32] [--threads 1]

The step is that of fine-tuning, cross-entropy through the whole network without a teacher: every
parameter is penalised, and an adaptation step, which runs a teacher too, makes the share smaller.
So does a larger batch, as a penalty's time does not depend on it. Penalties run on fixed gradients
and from the same weights each time: channels at 0.1 to 10 thresholds from their start, so that some
groups and weights rest on it. All interleaved in one process (benchmarks/measure.py).
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import nn

from adapt.data import DataSet
from adapt.machine.runtime import runtime
from adapt.networks import build_network
from adapt.objective.terms import Objective
from adapt.penalties import PENALTIES, Penalty
from adapt.settings.groups import NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.schedules import make_optimizer
from adapt.training.setup import Setup
from adapt.training.train import one_step
from benchmarks.measure import Variant, gpu_wait, measure, record, report

CLASSES, LR, ALPHA = 21, 1e-3, 1e-2
APPLIES = ("gradient", "decoupled", "proximal")
REPEATS = 3
"""Updates of one kind in a round; their median counts."""
LOOP, STEP = "autograd loop", "step"


class Update:
    """A network with gradients in place, and how far it stands from its start."""

    def __init__(self, net: nn.Module) -> None:
        torch.manual_seed(1)
        self.net = net
        self.start = {name: p.detach().clone() for name, p in net.named_parameters()}
        self.moved, self.fisher = [], {}
        for name, p in net.named_parameters():
            p.grad = 1e-3 * torch.randn_like(p)
            channels = torch.rand(len(p), *[1] * (p.ndim - 1), device=p.device)
            away = LR * ALPHA * 10 ** (2 * channels - 1)
            self.moved.append(p.detach() + away * torch.randn_like(p))
            self.fisher[name] = 10 ** (-4 * torch.rand_like(p, requires_grad=False))
        self.optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)

    @torch.no_grad()
    def restore(self) -> None:
        for p, moved in zip(self.net.parameters(), self.moved, strict=True):
            p.copy_(moved)

    def timed(self, act: Callable[[], object]) -> Variant:
        """Seconds of `act` from the same weights each time."""
        wait = gpu_wait()

        def run() -> float:
            spent = []
            for _ in range(REPEATS):
                self.restore()
                wait()
                started = time.perf_counter()
                act()
                wait()
                spent.append(time.perf_counter() - started)
            return statistics.median(spent)

        return run

    def penalty(self, name: str) -> Penalty:
        form = PENALTIES[name]
        fisher = self.fisher if form is not None and form.fisher else None
        return Penalty(self.net, self.start, PenaltyConfig(name, ALPHA, ALPHA), fisher)

    def ours(self, penalty: Penalty, apply: str) -> Variant:
        """What the penalty does in a step."""

        def act() -> None:
            penalty.config = config
            penalty.before_step(self.optimizer)
            penalty.after_step(self.optimizer)

        config = replace(penalty.config, apply=apply)
        return self.timed(act)

    def loop(self, penalty: Penalty) -> Variant:
        """L2-SP of the same parameters as users write it: a sum in the loss, for autograd."""
        pulled = [(e.parameter, e.start_point) for e in penalty.entries]

        def act() -> None:
            loss = torch.zeros((), device=pulled[0][0].device)
            for p, p0 in pulled:
                loss = loss + 0.5 * ALPHA * (p - p0).square().sum()
            loss.backward()

        return self.timed(act)


def step(net: nn.Module, given: argparse.Namespace) -> Variant:
    """A training step without a penalty."""
    machine = runtime("auto", given.precision)
    objective = ObjectiveConfig(supervised=SupervisedConfig(1.0))
    config = TrainConfig(objective=objective, steps=10**6, precision=given.precision)
    none = Penalty(net, None, PenaltyConfig())
    setup = Setup(
        config=config,
        machine=machine,
        data=DataSet("none", "train", (), (), ()),
        held_out=None,
        student=net.train(),
        teacher=None,
        objective=Objective(objective),
        penalty=none,
        optimizer=make_optimizer(net, (), ScheduleConfig(lr=1e-6)),
        inputs={},
    )
    size = (given.batch, given.size, given.size)
    images = torch.randint(0, 256, (size[0], 3, *size[1:]), dtype=torch.uint8)
    batch = {"x1": images, "x2": images, "y": torch.randint(0, CLASSES, size), "name": []}
    return lambda: one_step(setup, batch, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", default="deeplab_vgg16", help="or fcn_resnet101, ...")
    parser.add_argument("--size", type=int, default=321)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--only", nargs="*", default=list(PENALTIES), choices=list(PENALTIES))
    parser.add_argument("--out", default="benchmarks/penalties.jsonl")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    place = runtime("auto", given.precision).place
    net = place(build_network(NetworkConfig(given.network), CLASSES))
    variants: dict[str, Variant] = {STEP: step(deepcopy(net), given)}
    update = Update(net)
    variants["SGD's own step"] = update.timed(update.optimizer.step)
    variants[LOOP] = update.loop(update.penalty("l2_sp"))
    pairs = [("SGD's own step", STEP), (LOOP, STEP)]
    for name in given.only:
        penalty = update.penalty(name)
        for apply in APPLIES if penalty.entries else APPLIES[:1]:
            variants[f"{name} {apply}"] = update.ours(penalty, apply)
            pairs.append((f"{name} {apply}", STEP))
            if name == "l2_sp":
                pairs.append((f"{name} {apply}", LOOP))
    seconds = measure(variants, given.rounds)
    print(f"{given.network}, {given.precision}, batch {given.batch} of {given.size} x {given.size}")
    for name, values in seconds.items():
        print(f"{name:<36} {1000 * statistics.median(values):10.2f} ms")
    numbers = sum(math.prod(w.shape) for w in update.moved)
    more = {k: getattr(given, k) for k in ("network", "precision", "batch", "size", "threads")}
    record(given.out, seconds, report(seconds, pairs), parameters=numbers, **more)


if __name__ == "__main__":
    main()
