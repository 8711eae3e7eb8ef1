"""What a training is made of: configuration resolved, data and networks loaded and checked."""

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adapt.data import DataSet, layout_of, load
from adapt.data import prepare as prepare_files
from adapt.data.images import image_size
from adapt.data.sampling import Batch, check_sizes
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.machine.processes import on_rank_zero, rank, world
from adapt.machine.runtime import Runtime, runtime
from adapt.networks import build_network
from adapt.networks.batchnorm import freeze, train_mode
from adapt.networks.gradient_checkpointing import blocks
from adapt.networks.layers import Layer, check, trace
from adapt.networks.pretrained import is_pretrained, pretrained
from adapt.networks.saved import NO_START, Model, is_file, is_run, load_complete, load_model
from adapt.networks.taps import forward
from adapt.objective.terms import Maps, Objective
from adapt.penalties import Penalty
from adapt.penalties.metric import read_fisher
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.settings.mapping import as_dict, differences, inherit, inherit_data
from adapt.settings.training import TrainConfig
from adapt.training.averaging import AveragedModel, averaged
from adapt.training.drift import Drift
from adapt.training.freezing import freeze_first, reached, refuse_new
from adapt.training.replicas import replicated
from adapt.training.schedules import make_optimizer
from adapt.training.teacher_cache import TeacherCache, cached


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
    average: AveragedModel | None = None
    """Of the student's weights, with `ema`."""
    drift: Drift | None = None
    """Where the student started, if it started from anything."""
    cache: TeacherCache | None = None
    """Of the teacher's maps, where they are kept."""
    again: Sequence[nn.Module] = ()
    """Blocks of the student whose maps the backward pass computes again."""

    @cached_property
    def tapped(self) -> nn.Module:
        """The student's maps that the objective needs, its gradients shared between processes."""
        return replicated(self.student, self.objective.student, self.again)

    @torch.no_grad()
    def target(self, x1: Tensor, batch: Batch) -> Maps:
        """The teacher's maps of normalised images (B, 3, H, W)."""
        assert self.teacher is not None
        compute = partial(forward, self.teacher, x1, self.objective.teacher)
        if self.cache is None:
            return compute()
        return self.cache(batch["view"], compute, self.machine.device)

    @property
    def result(self) -> nn.Module:
        """What is evaluated and saved: the average where there is one, else the student."""
        return self.average.module if self.average is not None else self.student

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

    A start of pretrained weights (`imagenet`) has no model of its own: its body is loaded into a
    freshly initialised network by `prepare`.

    Raises:
        InputError: a network that differs from the start's, or a needed start or teacher missing.
    """
    sources = {"teacher": config.teacher, "start": config.start}
    models = {what: load_model(Path(s), what) for what, s in sources.items() if is_run(s)}
    recorded, given = DataConfig(), NetworkConfig()
    for what, model in models.items():  # the start's, else the teacher's
        given = model.network
        recorded = read_data(Path(sources[what]), what)
    data, network = inherit_data(config.data, recorded), inherit(config.network, given)
    on_rank_zero(lambda: prepare_files(data))
    if models and network != given:
        changed = "; ".join(differences(as_dict(given), as_dict(network)))
        where = " or ".join(sources[what] for what in models)
        raise InputError(f"network differs from the one in {where} (there -> given): {changed}")
    for what, source in sources.items():
        if is_file(source) or (what == "teacher" and is_pretrained(source)):
            classes = load(data, "train").classes
            models[what] = load_complete(source, network, classes, what)
    teacher = models.get("teacher")
    if teacher is not None and not config.start:
        models["start"] = replace(teacher, net=deepcopy(teacher.net))
    start = config.start or config.teacher or NO_START
    precision = runtime(config.device, config.precision).precision
    resolved = replace(config, data=data, network=network, start=start, precision=precision)
    return resolved, models.get("start"), teacher


def process_seed(seed: int, step: int) -> int:
    """What a process that has no random state yet begins to draw dropout from at a step."""
    return int(np.random.SeedSequence([seed, rank(), step]).generate_state(1)[0])


def size_of(config: DataConfig, data: DataSet) -> tuple[int, int]:
    """(H, W) of a training image: the crop, or the size that images are brought to or have."""
    size = config.crop or config.resize
    return (size[0], size[1]) if size else image_size(data.samples[0].x1)


def pairing(data: DataSet) -> str:
    """How many samples there are, and a digest of their names, files and labels in their order:
    what belongs to what, not what the files contain."""
    rows = (f"{s.name}\0{s.x1}\0{s.y1}\0{s.x2}\0{s.y2}\0{s.valid}\0{s.label}" for s in data.samples)
    digest = hashlib.sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()
    return f"{len(data.samples)} samples, SHA-256 of their names and files {digest}"


def prepare(config: TrainConfig, start: Model | None, teacher: Model | None) -> Setup:
    """Load data and networks of a resolved configuration and check that they fit together."""
    machine = runtime(config.device, config.precision)
    if config.batch % world():
        raise InputError(f"batch is {config.batch}; {world()} processes cannot share it equally")
    objective = Objective(config.objective)
    check_teacher(config, objective, teacher)
    data = load(config.data, "train")
    check_data(config, data, objective)
    classes = data.classes or (teacher.classes if teacher else ())
    fixed = start or teacher
    if fixed is not None and data.classes and tuple(fixed.classes) != tuple(data.classes):
        raise InputError(
            f"classes of the data ({', '.join(data.classes)}) are not those of the start "
            f"({', '.join(fixed.classes)})"
        )
    inputs = {k: m.digest for k, m in (("start", start), ("teacher", teacher)) if m is not None}
    torch.manual_seed(config.seed)
    student = start.net if start is not None else build_network(config.network, len(classes))
    origin = {k: v.clone() for k, v in student.state_dict().items()} if start is not None else None
    if is_pretrained(config.start) and start is None:
        origin, inputs["start"] = pretrained(config.start, config.network, student)
        student.load_state_dict(student.state_dict() | origin)
    student = machine.place(student)
    if world() > 1 and machine.device.type == "cuda" and config.bn == "train":
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
    size = size_of(config.data, data)
    layers = trace(student, size)
    check_kind(layers, data, objective)
    check(layers, objective.student, "objective")
    if teacher is not None:
        check(trace(teacher.net, size), objective.teacher, "objective, on the teacher")
    refuse_new(freeze_first(student, config.freeze, size), origin, config.freeze)
    train_mode(student, config.bn)
    within = reached(student, objective.student, size)
    if not within:
        raise InputError(
            f"nothing to train: objective {config.objective.name!r} reaches no parameter that is "
            f"not frozen (freeze={config.freeze!r})"
        )
    fisher = read_fisher(config.penalty.fisher) if config.penalty.fisher else None
    penalty = Penalty(student, origin, config.penalty, fisher, within)
    for name, parameter in student.named_parameters():  # the rest would wait for gradients
        parameter.requires_grad_(name in within)
    penalty.refuse_decay(config.schedule.weight_decay)
    penalty.refuse_overshoot(config.schedule)
    inputs |= penalty.digests()
    inputs["samples"] = pairing(data)
    frozen = freeze(machine.place(teacher.net)) if objective.teacher and teacher else None
    again = blocks(student, objective.student) if config.gradient_checkpointing else []
    setup = Setup(
        config=config,
        machine=machine,
        data=replace(data, classes=tuple(classes)),
        held_out=replace(
            load(config.data, layout_of(config.data).val_split), classes=tuple(classes)
        )
        if config.eval_every
        else None,
        student=student,
        teacher=frozen,
        objective=objective,
        penalty=penalty,
        optimizer=make_optimizer(student, penalty.shared, config.schedule),
        inputs=inputs,
        average=averaged(student, config.ema) if config.ema else None,
        again=again,
        cache=cached(config, machine, data, objective, frozen, size) if frozen else None,
        drift=Drift(student, origin) if origin and config.drift_every else None,
    )
    check_sizes(setup.data, setup.fields)
    if rank():  # one process draws dropout as a run of one does, the others on their own
        torch.manual_seed(process_seed(config.seed, 0))
    return setup


def check_teacher(config: TrainConfig, objective: Objective, teacher: Model | None) -> None:
    """An objective that needs a teacher has one, and reads no labels of the old domain.

    Raises:
        InputError: it is not so.
    """
    if not objective.teacher:
        return
    if teacher is None:
        raise InputError(f"objective {config.objective.name!r} needs teacher=RUN")
    if objective.labels and config.domain != "d2":
        raise InputError(
            f"domain is {config.domain}; a supervised term beside a regression needs domain=d2"
        )


def check_data(config: TrainConfig, data: DataSet, objective: Objective) -> None:
    """The data set has the images and labels that the objective reads, in batches of one size.

    Raises:
        InputError: it has not.
    """
    if (objective.teacher or config.domain == "d2") and not data.paired:
        raise InputError("data.target is empty: give the folder of the new domain (D2)")
    resized = len(config.data.resize)
    if (config.data.scale or resized == 1) and not config.data.crop:
        what = "data.scale" if config.data.scale else f"data.resize={config.data.resize}"
        raise InputError(f"{what} needs data.crop=[H,W]: the images of a batch have one size")
    if data.classification and not resized and not config.data.crop:
        raise InputError(
            f"data={config.data.name}: images of all sizes need data.resize or data.crop"
        )
    if objective.labels and not data.labelled and config.steps:
        raise InputError(
            f"data: {config.data.name} in {config.data.root} has unlabelled images, which "
            f"objective.supervised cannot learn from"
        )


def check_kind(layers: list[Layer], data: DataSet, objective: Objective) -> None:
    """Networks for whole images go with data sets of whole images, and with terms for them.

    Raises:
        InputError: one label a pixel and one an image, mixed; or a term that needs pixels.
    """
    logits = next(layer.shape for layer in layers if not layer.name)
    if (len(logits) == 2) != data.classification:
        kinds = ("one label a pixel", "one label an image")
        raise InputError(
            f"network: it has {kinds[len(logits) == 2]}, but the data set {data.name} "
            f"{kinds[data.classification]}; network=resnet101 and other classifiers of torchvision "
            "are for images, the others of configs/network for pixels"
        )
    if data.classification and (unfit := objective.dense):
        raise InputError(f"objective: {', '.join(unfit)} is for one label a pixel only")
