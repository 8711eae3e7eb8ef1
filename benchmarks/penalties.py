"""What each penalty adds to an update, as a share of a training step and of the usual L2-SP loop.

    python benchmarks/penalties.py [--rounds 5] [--network deeplab_vgg16] [--size 321] [--batch 1]
                                   [--precision fp32] [--threads 1]

The step is that of fine-tuning, cross-entropy through the whole network without a teacher: every
parameter is penalised, and an adaptation step, which runs a teacher too, makes the share smaller.
So does a larger batch, as a penalty's time does not depend on it. Penalties run on fixed gradients
and from the same weights each time: channels at 0.1 to 10 thresholds from their start, so that some
groups and weights rest on it.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import nn

from adapt.machine.runtime import runtime
from adapt.penalties import PENALTIES, Penalty
from adapt.settings.groups import PenaltyConfig
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.training.train import one_step
from benchmarks.measure import Variant, conclude, measure, settings, timed
from benchmarks.steps import network, prepared

CLASSES, LR, ALPHA = 21, 1e-3, 1e-2
APPLIES = ("gradient", "decoupled", "proximal")
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

    def timed(self, act: Callable[[], object]) -> Variant:
        """Seconds of `act` from the same weights each time."""

        def run() -> float:
            with torch.no_grad():
                for p, moved in zip(self.net.parameters(), self.moved, strict=True):
                    p.copy_(moved)
            return timed(act)

        return run

    def ours(self, name: str, apply: str) -> Variant:
        """What a penalty does in a step."""
        form, config = PENALTIES[name], PenaltyConfig(name, ALPHA, ALPHA, apply=apply)
        fisher = self.fisher if form is not None and form.fisher else None
        penalty = Penalty(self.net, self.start, config, fisher)

        def act() -> None:
            penalty.before_step(self.optimizer)
            penalty.after_step(self.optimizer)

        return self.timed(act)

    def loop(self) -> Variant:
        """L2-SP of the same parameters, all but biases and batch norm's, as users write it: a sum
        in the loss, for autograd."""
        pulled = [(p, self.start[k]) for k, p in self.net.named_parameters() if p.ndim > 1]

        def act() -> None:
            loss = torch.zeros((), device=pulled[0][0].device)
            for p, p0 in pulled:
                loss = loss + 0.5 * ALPHA * (p - p0).square().sum()
            loss.backward()

        return self.timed(act)


def main() -> None:
    given = settings(
        __doc__, rounds=5, network="deeplab_vgg16", size=321, batch=1, threads=1, precision="fp32",
        width=1.0, only=list(PENALTIES),
    )  # fmt: skip
    torch.set_num_threads(given.threads)
    net = runtime("auto", given.precision).place(network(given.network, CLASSES, given.width))
    supervised = ObjectiveConfig(supervised=SupervisedConfig(1.0))
    setup = prepared(net, supervised, given.precision, penalty=PenaltyConfig())
    size = (given.batch, given.size, given.size)
    images = torch.randint(0, 256, (given.batch, 3, *size[1:]), dtype=torch.uint8)
    batch = {"x1": images, "y": torch.randint(0, CLASSES, size), "name": []}
    update, own = Update(net), "SGD's own step"
    variants: dict[str, Variant] = {
        STEP: lambda: one_step(setup, batch, 0),
        own: update.timed(update.optimizer.step),
        LOOP: update.loop(),
    }
    pairs = [(own, STEP), (LOOP, STEP)]
    for name in given.only:
        for apply in APPLIES if PENALTIES[name] is not None else ():
            variants[f"{name} {apply}"] = update.ours(name, apply)
            pairs.append((f"{name} {apply}", STEP))
            if name == "l2_sp":
                pairs.append((f"{name} {apply}", LOOP))
    about = {k: getattr(given, k) for k in ("network", "precision", "batch", "size", "threads")}
    print(about)
    conclude(given.out, measure(variants, given.rounds), pairs, **about)


if __name__ == "__main__":
    main()
