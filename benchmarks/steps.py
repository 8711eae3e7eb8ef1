"""One adaptation step in several hands: the project's, a bare floor, and what users write.

Each function returns a call that does one step (read a batch of uint8 pairs, update the student),
and the student. The same networks and batch give the same update in all of them, penalties aside.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adapt.data import DataSet
from adapt.machine.runtime import Runtime, runtime
from adapt.networks import build_network
from adapt.networks.batchnorm import freeze, train_mode
from adapt.networks.gradient_checkpointing import blocks
from adapt.networks.taps import forward, normalise
from adapt.objective.terms import Objective
from adapt.penalties import Penalty
from adapt.settings.groups import NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.training import TrainConfig
from adapt.training.freezing import with_gradient
from adapt.training.schedules import make_optimizer
from adapt.training.setup import Setup
from adapt.training.teacher_cache import TeacherCache
from adapt.training.train import one_step, record

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LR, ALPHA = 1e-4, 1e-3
TAPS: dict[str, dict[str, float]] = {
    **{f"pool{n}": {f"pool{n}": 1.0} for n in range(1, 6)},
    "all": {f"pool{n}": w for n, w in enumerate((0.2, 0.4, 0.6, 0.8, 0.9), 1)},
}
"""What to regress: one layer, or all of them with the paper's W_inc."""
Batch = dict[str, Tensor]
Stepper = tuple[Callable[[], object], nn.Module]


def network(name: str = "deeplab_vgg16", classes: int = 21, width: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkConfig(name=name, width=width), classes)


def pairs(count: int, size: tuple[int, int]) -> Batch:
    """Random x1 and x2, uint8 (B, 3, H, W)."""
    return {k: torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8) for k in ("x1", "x2")}


def prepared(
    net: nn.Module, objective: ObjectiveConfig, precision: str, device: str = "auto", **more: Any
) -> Setup:
    """What `training.setup.prepare` makes, around copies of a network, L2-SP on, without files."""
    machine, schedule = runtime(device, precision), ScheduleConfig(lr=LR)
    config = TrainConfig(
        objective=objective, schedule=schedule, steps=10**6, precision=machine.precision, **more
    )
    student, teacher = machine.place(deepcopy(net)), machine.place(deepcopy(net))
    train_mode(student, "train")
    terms = Objective(objective)
    within = with_gradient(student, terms.student, (64, 64))
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name in within)
    start = {k: v.clone() for k, v in student.state_dict().items()}
    penalty = Penalty(student, start, PenaltyConfig("l2_sp", ALPHA, ALPHA), None, within)
    return Setup(
        config=config,
        machine=machine,
        data=DataSet("none", "train", (), (), ()),
        held_out=None,
        student=student,
        teacher=freeze(teacher),
        objective=terms,
        penalty=penalty,
        optimizer=make_optimizer(student, penalty.shared, schedule),
        inputs={},
        again=blocks(student, terms.student) if config.gradient_checkpointing else [],
    )


def regressing(taps: Mapping[str, float]) -> ObjectiveConfig:
    """`F.mse_loss` at some taps."""
    return ObjectiveConfig("benchmark", RegressionConfig(1.0, dict(taps), "mean"))


def ours(
    net: nn.Module,
    batch: Batch,
    taps: Mapping[str, float],
    precision: str,
    cached: bool = False,
    checkpointing: bool = False,
) -> Stepper:
    """The project's step: penalty, non-finite checks, and every layer's loss logged at each step;
    `cached` with the teacher's maps kept, as from the second epoch on."""
    setup = prepared(net, regressing(taps), precision, gradient_checkpointing=checkpointing)
    given: dict[str, object] = {**batch, "name": []}
    if cached:
        views = torch.arange(len(batch["x1"]))
        given["view"] = views
        with torch.no_grad(), setup.machine.autocast():
            shown = setup.machine.images(batch["x1"][:1])
            example = forward(setup.teacher, normalise(shown, MEAN, STD), taps)
        setup.cache = TeacherCache(len(views), example, None)
    return lambda: record(setup, one_step(setup, given, 0), 0.0), setup.student


def floor(
    net: nn.Module, batch: Batch, taps: Mapping[str, float], precision: str, teacher: bool = True
) -> Stepper:
    """Forward and backward to the deepest tap, in the project's precision and memory format, with a
    truncated teacher or, without one, fixed targets; no penalty, checks or log."""
    machine = runtime("auto", precision)
    student, frozen = machine.place(deepcopy(net)), freeze(machine.place(deepcopy(net)))
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)

    def targets() -> dict[str, Tensor]:
        x1 = normalise(machine.images(batch["x1"]), MEAN, STD)
        with torch.no_grad(), machine.autocast():
            return forward(frozen, x1, taps)

    fixed = None if teacher else targets()

    def step() -> None:
        target = targets() if fixed is None else fixed
        x2 = normalise(machine.images(batch["x2"]), MEAN, STD)
        with machine.autocast():
            found = forward(student, x2, taps)
        each = [w * (found[t].float() - target[t].float()).square().mean() for t, w in taps.items()]
        optimizer.zero_grad()
        torch.stack(each).sum().backward()
        optimizer.step()

    return step, student


def shown(batch: Batch, place: torch.device) -> list[Tensor]:
    """x1 and x2 as users normalise them: NCHW, fp32."""
    mean, std = (torch.tensor(v, device=place).view(1, 3, 1, 1) for v in (MEAN, STD))
    return [(batch[k].to(place).float() / 255 - mean) / std for k in ("x1", "x2")]


def naive(net: nn.Module, batch: Batch, taps: Mapping[str, float]) -> Stepper:
    """Hooks on whole networks, `F.mse_loss`, NCHW, fp32, L2-SP as a loop in the loss."""
    place = runtime("auto", "fp32").device
    student, teacher = deepcopy(net).to(place), deepcopy(net).to(place).eval()
    start = {k: p.detach().clone() for k, p in student.named_parameters()}
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    maps: dict[tuple[str, str], Tensor] = {}
    for who, module in (("t", teacher), ("s", student)):
        for tap in taps:
            keep = partial(lambda key, m, i, o: maps.__setitem__(key, o), (who, tap))
            module.get_submodule(tap).register_forward_hook(keep)

    def step() -> None:
        x1, x2 = shown(batch, place)
        with torch.no_grad():
            teacher(x1)
        student(x2)
        loss = sum(w * nn.functional.mse_loss(maps["s", t], maps["t", t]) for t, w in taps.items())
        for name, parameter in student.named_parameters():
            loss = loss + ALPHA / 2 * (parameter - start[name]).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, student


def torchdistill(
    net: nn.Module, batch: Batch, taps: Mapping[str, float], machine: Runtime | None = None
) -> Stepper:
    """Torchdistill's box, without a penalty: its defaults (whole networks, NCHW, fp32); with a
    `machine` what an expert makes of it: both networks cut behind the deepest tap, that precision
    and memory format."""
    from torchdistill.core.distillation import DistillationBox
    from torchdistill.core.interfaces.registry import register_forward_proc_func

    @register_forward_proc_func(key="of_pair")
    def of_pair(model: nn.Module, sample_batch: list[Tensor], *_: object, **__: object) -> Tensor:
        return model(sample_batch[1 if model.training else 0])

    def part(tap: str, weight: float) -> dict:
        found = {"is_from_teacher": False, "module_path": tap, "io": "output"}
        wrapper = {"input": found, "target": {**found, "is_from_teacher": True}}
        return {
            "criterion": {"key": "MSELoss", "kwargs": {}},
            "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": wrapper},
            "weight": weight,
        }

    cut = [f"{kind}{n}" for n in range(1, int(max(taps)[4]) + 1) for kind in ("conv", "pool")]
    both: dict[str, object] = {"forward_hook": {"output": list(taps)}, "forward_proc": "of_pair"}
    place = runtime("auto", "fp32") if machine is None else machine
    student, teacher = deepcopy(net), deepcopy(net)
    if machine is not None:
        both["sequential"] = cut
        student, teacher = machine.place(student), machine.place(teacher)
    config = {
        "num_epochs": 1,
        "teacher": {**deepcopy(both), "requires_grad": False},
        "student": deepcopy(both),
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {t: part(t, w) for t, w in taps.items()}},
        },
        "optimizer": {"key": "SGD", "kwargs": {"lr": LR, "momentum": 0.9}},
    }
    box = DistillationBox(
        teacher.to(place.device), student.to(place.device), {}, config, place.device, None, False, 1
    )
    box.teacher_model.eval()
    box.student_model.train()

    def step() -> None:
        images = shown(batch, place.device)
        if machine is None:
            loss = box.forward_process(images)
        else:
            with machine.autocast():
                loss = box.forward_process([machine.images(x) for x in images])
        box.post_forward_process(loss)

    return step, student
