"""One adaptation step in several hands: the project's, a bare floor, and what users write.

Each function returns a call that does one step (it reads a batch of uint8 pairs and updates the
student) and the student. From the same networks and batch all make the same update, but for the
penalty.
"""

from collections.abc import Callable, Mapping, Sequence
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
from adapt.networks.preprocessing import as_input
from adapt.networks.taps import forward
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
from adapt.training.updates import Update

NETWORK = NetworkConfig()
MEAN, STD = NETWORK.mean, NETWORK.std
LR, ALPHA = 1e-4, 1e-3
TAPS: dict[str, dict[str, float]] = {
    **{f"pool{n}": {f"pool{n}": 1.0} for n in range(1, 6)},
    "all": {f"pool{n}": w for n, w in enumerate((0.2, 0.4, 0.6, 0.8, 0.9), 1)},
}
"""What to regress: one layer, or all of them with the paper's W_inc."""
Taps = Mapping[str, float]
Batch = dict[str, Tensor]
Stepper = tuple[Callable[[], object], nn.Module]


def network(name: str = "deeplab_vgg16", classes: int = 21, width: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkConfig(name=name, width=width), classes)


def pairs(count: int, size: Sequence[int]) -> Batch:
    """Random x1 and x2, uint8 (B, 3, H, W); pinned where a GPU reads them, as the loader does."""
    found = torch.randint(0, 256, (2, count, 3, *size), dtype=torch.uint8)
    x1, x2 = found.pin_memory() if torch.cuda.is_available() else found
    return {"x1": x1, "x2": x2}


def prepared(
    net: nn.Module, objective: ObjectiveConfig, precision: str, device: str = "auto", **more: Any
) -> Setup:
    """What `training.setup.prepare` makes, around copies of a network and without files.

    The penalty is L2-SP unless `more`, the other settings of a training, has another one.
    """
    machine, schedule = runtime(device, precision), ScheduleConfig(lr=LR)
    given: dict[str, Any] = {"penalty": PenaltyConfig("l2_sp", ALPHA, ALPHA), **more}
    config = TrainConfig(
        objective=objective, schedule=schedule, steps=10**6, precision=machine.precision, **given
    )
    student = machine.place(deepcopy(net))
    train_mode(student, "train")
    terms = Objective(objective)
    trained = with_gradient(student, terms.student, (64, 64))
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name in trained)
    start = {k: v.clone() for k, v in student.state_dict().items()}
    penalty = Penalty(student, start, config.penalty, None, trained)
    return Setup(
        config=config,
        machine=machine,
        sets=[(DataSet("none", "train", (), (), ()), config.data)],
        scored={},
        student=student,
        teacher=freeze(machine.place(deepcopy(net))) if terms.teacher else None,
        objective=terms,
        penalty=penalty,
        update=Update(make_optimizer(student, penalty.shared, schedule), penalty),
        inputs={},
        again=blocks(student, terms.student) if config.gradient_checkpointing else [],
    )


def ours(
    net: nn.Module, batch: Batch, taps: Taps, precision: str, *, cached: bool = False,
    checkpointing: bool = False,
) -> Stepper:  # fmt: skip
    """The project's step: penalty, non-finite checks, and every layer's loss logged at each step;
    `cached` with the teacher's maps kept, as from the second epoch on."""
    objective = ObjectiveConfig("benchmark", RegressionConfig(1.0, dict(taps), "mean"))
    setup = prepared(net, objective, precision, gradient_checkpointing=checkpointing)
    given: dict[str, object] = {**batch, "name": []}
    if cached:
        given["view"] = views = torch.arange(len(batch["x1"]))
        image = as_input(setup.machine.images(batch["x1"][:1]), NETWORK)
        with torch.no_grad(), setup.machine.autocast():
            setup.cache = TeacherCache(len(views), forward(setup.teacher, image, taps), None)
    return lambda: record(setup, one_step(setup, given, 0), 0.0), setup.student


def floor(
    net: nn.Module, batch: Batch, taps: Taps, precision: str, *, teacher: bool = True
) -> Stepper:
    """Forward and backward to the deepest tap, in the project's precision and memory format, with a
    truncated teacher or, without one, fixed targets; no penalty, checks or log."""
    machine = runtime("auto", precision)
    student, frozen = machine.place(deepcopy(net)), freeze(machine.place(deepcopy(net)))
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)

    def maps(network: nn.Module, side: str) -> dict[str, Tensor]:
        images = as_input(machine.images(batch[side]), NETWORK)
        with machine.autocast():
            return {tap: found.float() for tap, found in forward(network, images, taps).items()}

    fixed = None if teacher else torch.no_grad()(maps)(frozen, "x1")

    def step() -> None:
        with torch.no_grad():
            target = maps(frozen, "x1") if fixed is None else fixed
        found = maps(student, "x2")
        each = [w * (found[t] - target[t]).square().mean() for t, w in taps.items()]
        optimizer.zero_grad()
        torch.stack(each).sum().backward()
        optimizer.step()

    return step, student


def usual_images(batch: Batch, place: torch.device) -> list[Tensor]:
    """x1 and x2 as users normalise them: NCHW, fp32."""
    constants = (torch.tensor(v, device=place) for v in (MEAN, STD))
    mean, std = (values.view(1, 3, 1, 1) for values in constants)
    return [(batch[k].to(place).float() / 255 - mean) / std for k in ("x1", "x2")]


def naive(net: nn.Module, batch: Batch, taps: Taps) -> Stepper:
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
        x1, x2 = usual_images(batch, place)
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
    net: nn.Module, batch: Batch, taps: Taps, machine: Runtime | None = None
) -> Stepper:
    """Torchdistill's box, without a penalty: its defaults (whole networks, NCHW, fp32); with a
    `machine` what an expert makes of it: both networks cut after the deepest tap, that precision
    and memory format."""
    from torchdistill.core.distillation import DistillationBox
    from torchdistill.core.interfaces.registry import register_forward_proc_func

    @register_forward_proc_func(key="of_pair")
    def of_pair(model: nn.Module, sample_batch: list[Tensor], *_: object, **__: object) -> Tensor:
        return model(sample_batch[1 if model.training else 0])

    def term(tap: str, weight: float) -> dict:
        found = {"is_from_teacher": False, "module_path": tap, "io": "output"}
        wrapper = {"input": found, "target": {**found, "is_from_teacher": True}}
        return {
            "criterion": {"key": "MSELoss", "kwargs": {}},
            "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": wrapper},
            "weight": weight,
        }

    both: dict[str, object] = {"forward_hook": {"output": list(taps)}, "forward_proc": "of_pair"}
    place = (machine or runtime("auto", "fp32")).device
    student, teacher = deepcopy(net).to(place), deepcopy(net).to(place)
    if machine is not None:
        last = int(max(taps).removeprefix("pool"))
        both["sequential"] = [f"{kind}{n}" for n in range(1, last + 1) for kind in ("conv", "pool")]
        student, teacher = machine.place(student), machine.place(teacher)
    terms = {"sub_terms": {t: term(t, w) for t, w in taps.items()}}
    config = {
        "num_epochs": 1,
        "teacher": {**deepcopy(both), "requires_grad": False},
        "student": deepcopy(both),
        "criterion": {"key": "WeightedSumLoss", "kwargs": terms},
        "optimizer": {"key": "SGD", "kwargs": {"lr": LR, "momentum": 0.9}},
    }
    box = DistillationBox(teacher, student, {}, config, place, None, False, 1)
    box.teacher_model.eval()
    box.student_model.train()

    def step() -> None:
        images = usual_images(batch, place)
        if machine is None:
            loss = box.forward_process(images)
        else:
            with machine.autocast():
                loss = box.forward_process([machine.images(x) for x in images])
        box.post_forward_process(loss)

    return step, student
