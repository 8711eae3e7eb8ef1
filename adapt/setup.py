"""What a training is made of: configuration resolved, data and networks loaded and checked."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from adapt.batchnorm import freeze, train_mode
from adapt.commands import TrainConfig
from adapt.config import DataConfig, NetworkConfig
from adapt.data import DataSet, load
from adapt.errors import InputError
from adapt.models import Model, load_model
from adapt.networks import build_network
from adapt.objectives import Objective
from adapt.penalties import Penalty
from adapt.runs import NO_START, read_config
from adapt.runtime import Runtime, runtime
from adapt.sampling import check_sizes
from adapt.schedules import make_optimizer
from adapt.settings import build, differences, inherit, plain
from adapt.taps import LOGITS, check_taps


@dataclass
class Setup:
    """Everything a run is made of, checked before the first step."""

    config: TrainConfig
    machine: Runtime
    data: DataSet
    held_out: DataSet | None
    student: nn.Module
    teacher: nn.Module | None
    objective: Objective
    penalty: Penalty
    optimizer: torch.optim.Optimizer
    inputs: dict[str, str]
    """Digests of what the run starts from; a resumed run must find the same."""

    @property
    def image(self) -> str:
        """Which image the student sees."""
        return "x2" if self.teacher is not None or self.config.domain == "d2" else "x1"

    @property
    def fields(self) -> list[str]:
        """What a batch must hold."""
        wanted = {self.image} | ({"x1", "valid"} if self.teacher is not None else set())
        if self.objective.labels:
            wanted.add("y" + self.image[1])
        return sorted(wanted)


def resolve(config: TrainConfig) -> tuple[TrainConfig, Model | None, Model | None]:
    """The configuration with everything that start and teacher determine, and those two models.

    Raises:
        InputError: a network that differs from the start's, or a needed start or teacher missing.
    """
    teacher = load_model(Path(config.teacher), "teacher") if config.teacher else None
    start_name = config.start or config.teacher or NO_START
    start = None if start_name == NO_START else load_model(Path(start_name), "start")
    source = start_name if start is not None else config.teacher
    recorded = DataConfig()
    if source:
        recorded = build(DataConfig, read_config(Path(source))["data"], "data.")
    data = inherit(config.data, recorded)
    fixed = start or teacher
    network = inherit(config.network, fixed.network if fixed is not None else NetworkConfig())
    if fixed is not None and network != fixed.network:
        changed = "; ".join(differences(plain(fixed.network), plain(network)))
        raise InputError(f"network differs from the one in {source} (there -> given): {changed}")
    precision = runtime(config.device, config.precision).precision
    resolved = replace(config, data=data, network=network, start=start_name, precision=precision)
    return resolved, start, teacher


def prepare(config: TrainConfig, start: Model | None, teacher: Model | None) -> Setup:
    """Load data and networks of a resolved configuration and check that they fit together."""
    machine = runtime(config.device, config.precision)
    objective = Objective(config.objective)
    needs_teacher = bool(objective.teacher)
    if needs_teacher and teacher is None:
        raise InputError(f"objective {config.objective.name!r} needs teacher=RUN")
    if needs_teacher and objective.labels and config.domain != "d2":
        raise InputError("a supervised term beside a regression needs domain=d2")
    data = load(config.data, "train")
    if (needs_teacher or config.domain == "d2") and not data.paired:
        raise InputError("data.target is empty: give the folder of the new domain (D2)")
    if objective.labels and not data.labelled:
        raise InputError(f"data: {config.data.name} in {config.data.root} has unlabelled images")
    classes = data.classes or (teacher.classes if teacher else ())
    fixed = start or teacher
    if fixed is not None and data.classes and tuple(fixed.classes) != tuple(data.classes):
        raise InputError(
            f"classes of the data ({', '.join(data.classes)}) are not those of the start "
            f"({', '.join(fixed.classes)})"
        )
    torch.manual_seed(config.seed)
    student = start.net if start is not None else build_network(config.network, len(classes))
    if teacher is not None and start is not None and teacher.digest == start.digest:
        teacher = load_model(Path(config.teacher), "teacher")  # its own copy, never aliased
    student = machine.place(student)
    check_taps(student, objective.student - {LOGITS}, "objective")
    train_mode(student, config.bn)
    origin = {k: v.clone() for k, v in student.state_dict().items()} if start is not None else None
    penalty = Penalty(student, origin, config.penalty)
    penalty.refuse_decay(config.schedule.weight_decay)
    names = "\n".join(s.name for s in data.samples)
    inputs = {"samples": hashlib.sha256(names.encode()).hexdigest()}
    inputs |= {k: m.digest for k, m in (("start", start), ("teacher", teacher)) if m is not None}
    setup = Setup(
        config=config,
        machine=machine,
        data=replace(data, classes=tuple(classes)),
        held_out=replace(load(config.data, "val"), classes=tuple(classes))
        if config.eval_every
        else None,
        student=student,
        teacher=freeze(machine.place(teacher.net)) if needs_teacher and teacher else None,
        objective=objective,
        penalty=penalty,
        optimizer=make_optimizer(student, penalty.shared, config.schedule),
        inputs=inputs,
    )
    check_sizes(setup.data, setup.fields)
    return setup
