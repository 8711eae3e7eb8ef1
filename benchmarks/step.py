"""Adaptation step: ours against a hand-written floor and against the usual hooks-and-MSE loop.

    python benchmarks/step.py [--rounds 10] [--size 160] [--batch 4] [--tap pool5] [--threads 2]

All variants run interleaved in one process (benchmarks/measure.py).
"""

import argparse
import sys
from copy import deepcopy
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from adapt.batchnorm import freeze, train_mode
from adapt.commands import TrainConfig
from adapt.config import PenaltyConfig, ScheduleConfig
from adapt.data import DataSet
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.objective_config import ObjectiveConfig, RegressionConfig
from adapt.objectives import Objective
from adapt.penalties import Penalty
from adapt.runtime import runtime
from adapt.schedules import make_optimizer
from adapt.setup import Setup
from adapt.taps import forward, normalise
from adapt.train import one_step
from benchmarks.measure import Variant, measure, record, report

LR = 1e-4


def ours(net: DeepLabVGG16, batch: dict[str, torch.Tensor], tap: str, precision: str) -> Variant:
    """The project's step with penalty and non-finite checks."""
    machine = runtime("auto", precision)
    objective = ObjectiveConfig(tap, RegressionConfig(1.0, {tap: 1.0}))
    schedule = ScheduleConfig(lr=LR)
    config = TrainConfig(objective=objective, schedule=schedule, steps=10**6, precision=precision)
    student, teacher = machine.place(deepcopy(net)), machine.place(deepcopy(net))
    train_mode(student, "train")
    start = {k: v.clone() for k, v in student.state_dict().items()}
    penalty = Penalty(student, start, PenaltyConfig("l2_sp", 1e-3, 1e-3))
    setup = Setup(
        config=config,
        machine=machine,
        data=DataSet("none", "train", (), (), ()),
        held_out=None,
        student=student,
        teacher=freeze(teacher),
        objective=Objective(objective),
        penalty=penalty,
        optimizer=make_optimizer(student, penalty.shared, schedule),
        inputs={},
    )
    return lambda: one_step(setup, {**batch, "name": []}, 0)


def floor(net: DeepLabVGG16, batch: dict[str, torch.Tensor], tap: str, precision: str) -> Variant:
    """Student forward and backward to the tap and a truncated teacher, without bookkeeping."""
    machine = runtime("auto", precision)
    student, teacher = machine.place(deepcopy(net)), freeze(machine.place(deepcopy(net)))
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def step() -> None:
        x1, x2 = (normalise(machine.images(batch[k]), mean, std) for k in ("x1", "x2"))
        with machine.autocast():
            with torch.no_grad():
                target = forward(teacher, x1, [tap])[tap].float()
            found = forward(student, x2, [tap])[tap].float()
        loss = (found - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def naive(net: DeepLabVGG16, batch: dict[str, torch.Tensor], tap: str) -> Variant:
    """Hooks on whole networks, NCHW, fp32, L2-SP as a loop in the loss: what users write."""
    place = runtime("auto", "fp32").device
    student, teacher = deepcopy(net).to(place), deepcopy(net).to(place).eval()
    start = {k: p.detach().clone() for k, p in student.named_parameters()}
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    maps: dict[str, torch.Tensor] = {}
    for name, module in (("t", teacher), ("s", student)):
        hook = lambda m, i, o, name=name: maps.__setitem__(name, o)  # noqa: E731
        module.get_submodule(tap).register_forward_hook(hook)
    mean = torch.tensor((0.485, 0.456, 0.406), device=place).view(1, 3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225), device=place).view(1, 3, 1, 1)

    def step() -> None:
        x1, x2 = ((batch[k].to(place).float() / 255 - mean) / std for k in ("x1", "x2"))
        with torch.no_grad():
            teacher(x1)
        student(x2)
        loss = torch.nn.functional.mse_loss(maps["s"], maps["t"])
        for name, parameter in student.named_parameters():
            loss = loss + 0.5e-3 * (parameter - start[name]).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tap", default="pool5")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="benchmarks/step.jsonl")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    net = DeepLabVGG16(21)
    shape = (given.batch, 3, given.size, given.size)
    batch = {k: torch.randint(0, 256, shape, dtype=torch.uint8) for k in ("x1", "x2")}
    variants: dict[str, Variant] = {"naive fp32": naive(net, batch, given.tap)}
    for precision in ("fp32", "bf16"):
        variants[f"floor {precision}"] = floor(net, batch, given.tap, precision)
        variants[f"ours {precision}"] = ours(net, batch, given.tap, precision)
    seconds = measure(variants, given.rounds)
    pairs = [("ours fp32", "floor fp32"), ("ours bf16", "floor bf16")]
    pairs += [("naive fp32", name) for name in ("ours fp32", "ours bf16")]
    record(given.out, seconds, report(seconds, pairs))


if __name__ == "__main__":
    main()
