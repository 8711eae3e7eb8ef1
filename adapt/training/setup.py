"""What a training is made of: configuration resolved, data and networks loaded and checked."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import adapt.data
from adapt.data import DataSet, layout_of, load
from adapt.data.samples import FILES, column
from adapt.data.sampling import Batch, Decoder, check_sizes, size_of
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.machine.processes import on_rank_zero, rank, world
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks import build_network
from adapt.networks.batchnorm import freeze, train_mode
from adapt.networks.factory import copied
from adapt.networks.gradient_checkpointing import blocks, recomputed
from adapt.networks.layers import Layer, auto_taps, check, linear, proposal, trace, weighted
from adapt.networks.pretrained import is_pretrained, pretrained
from adapt.networks.saved import (
    NO_START,
    Model,
    is_file,
    is_run,
    load_complete,
    load_model,
    same_classes,
)
from adapt.networks.taps import aliases, forward
from adapt.objective.terms import TERMS, Maps, Objective
from adapt.penalties import Penalty
from adapt.penalties.fisher import read_fisher
from adapt.settings.checks import AUTO
from adapt.settings.choices import DEFAULT_TAP
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.settings.mapping import as_dict, differences, inherit, inherit_data
from adapt.settings.training import TrainConfig
from adapt.training.averaging import AveragedModel, averaged
from adapt.training.drift import Drift
from adapt.training.freezing import freeze_first, refuse_new, with_gradient
from adapt.training.schedules import make_optimizer
from adapt.training.teacher_cache import TeacherCache, cached

Read = Callable[[DataConfig], DataSet]


class Tapped(nn.Module):
    """A network's maps at some taps, as a module: (B, 3, H, W) -> name -> (B, C, h, w). Those
    inside the blocks `again` are not kept for the backward pass."""

    def __init__(
        self, net: nn.Module, taps: frozenset[str], again: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.net, self.taps = net, taps
        self.again = tuple(again)  # no ModuleList: they are the network's own

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        with recomputed(self.again):
            return forward(self.net, images, self.taps)


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
    size: tuple[int, int] = (0, 0)
    """(H, W) of an image of a batch."""

    @cached_property
    def alone(self) -> Tapped:
        """The student's maps that the objective needs, as this process computes them."""
        return Tapped(self.student, self.objective.student, self.again)

    @cached_property
    def tapped(self) -> nn.Module:
        """The same with gradients that are averaged over the processes, so every trainable
        parameter must get one (`with_gradient`), or they wait for each other for ever."""
        return DistributedDataParallel(self.alone) if world() > 1 else self.alone

    @torch.no_grad()
    def target(self, x1: Tensor, batch: Batch) -> Maps:
        """The teacher's maps of normalised images (B, C, H, W)."""
        assert self.teacher is not None
        compute = partial(forward, self.teacher, x1, self.objective.teacher)
        if self.cache is None or "view" not in batch:
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


def once() -> Read:
    """Reads the training samples of a configuration, and remembers the last: a list of a million
    takes seconds."""
    known: list[tuple[DataConfig, DataSet]] = []

    def read(data: DataConfig) -> DataSet:
        if not known or known[0][0] != data:
            known[:] = [(data, load(data, "train"))]
        return known[0][1]

    return read


def resolve(
    config: TrainConfig, read: Read | None = None
) -> tuple[TrainConfig, Model | None, Model | None]:
    """The configuration with everything that start and teacher determine, and those two models;
    `read` is what `prepare` reads the samples by as well.

    A start of pretrained weights (`imagenet`) has no model of its own: its backbone is loaded into
    a freshly initialised network by `prepare`.

    Raises:
        InputError: a network that differs from the start's, or a needed start or teacher missing.
    """
    read, sources = read or once(), {"teacher": config.teacher, "start": config.start}
    if config.network.keys and not any(is_file(s) or is_pretrained(s) for s in sources.values()):
        raise InputError(
            "network.keys renames tensors of a weights file; neither teacher nor start is one"
        )
    models = {what: load_model(Path(s), what) for what, s in sources.items() if is_run(s)}
    recorded, given = DataConfig(), NetworkConfig()
    for what, model in models.items():  # the start's, else the teacher's
        recorded, given = read_data(Path(sources[what]), what), model.network
    data, network = inherit_data(config.data, recorded), inherit(config.network, given)
    on_rank_zero(lambda: adapt.data.prepare(data))
    given = replace(given, keys=network.keys)  # these rename the tensors of a file, not the layers
    if models and network != given:
        changed = "; ".join(differences(as_dict(given), as_dict(network)))
        where = " or ".join(sources[what] for what in models)
        raise InputError(f"network differs from the one in {where} (there -> given): {changed}")
    for what, source in sources.items():
        if is_file(source) or (what == "teacher" and is_pretrained(source)):
            images = read(data)
            size = size_of(data, images)
            models[what] = load_complete(source, network, images.classes, what, size)
    teacher = models.get("teacher")
    if teacher is not None and not config.start:
        models["start"] = replace(teacher, net=copied(teacher.net))
    start = config.start or config.teacher or NO_START
    precision = runtime(config.device, config.precision).precision
    resolved = replace(config, data=data, network=network, start=start, precision=precision)
    return resolved, models.get("start"), teacher


def prepare(
    config: TrainConfig, start: Model | None, teacher: Model | None, read: Read | None = None
) -> Setup:
    """Data and networks of a resolved configuration, loaded and checked: InputError where they do
    not fit together."""
    # 1. What the settings alone tell is wrong is said before anything is read.
    machine = runtime(config.device, config.precision)
    if config.batch % world():
        raise InputError(f"batch is {config.batch}; {world()} processes cannot share it equally")
    read = read or once()
    config = with_taps(config, teacher, read)
    objective = Objective(config.objective)
    check_teacher(config, objective, teacher)
    data = read(config.data)
    check_data(config, data, objective)
    fixed = start or teacher
    classes = data.classes or (fixed.classes if fixed else ())
    if fixed is not None and not same_classes(tuple(fixed.classes), tuple(data.classes)):
        raise InputError(
            f"classes of the data ({', '.join(data.classes)}) are not those of the start "
            f"({', '.join(fixed.classes)})"
        )
    data = replace(data, classes=tuple(classes))
    inputs = {k: m.digest for k, m in (("start", start), ("teacher", teacher)) if m is not None}

    # 2. New weights are the first that is drawn from the seed, so that they depend on nothing else.
    torch.manual_seed(config.seed)
    student = start.net if start is not None else build_network(config.network, len(classes))

    # 3. w0 is cloned before anything can change the student.
    start_point: dict[str, Tensor] | None = None
    if start is not None:
        start_point = {k: v.clone() for k, v in student.state_dict().items()}
    elif is_pretrained(config.start):
        start_point, inputs["start"] = pretrained(config.start, config.network, student)
        student.load_state_dict(student.state_dict() | start_point)
    student = machine.place(student)
    if world() > 1 and machine.device.type == "cuda" and config.bn == "train":
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)

    # 4. Taps are checked on the networks as they will run, at the size of a batch.
    size = size_of(config.data, data)
    layers = trace(student, size)
    if several := next(layer.returned for layer in layers if not layer.name):
        say(f"network: of the {several} that it returns the first member counts as the logits")
    check_kind(layers, data, objective)
    check(layers, objective.student, "objective")
    if teacher is not None:
        check(trace(teacher.net, size), objective.teacher, "objective, on the teacher")

    # 5. Frozen layers and batch norm's policy say what may train; then the objective says what of
    #    that gets a gradient. The penalty reports on both, so the rest is switched off after it.
    refuse_new(freeze_first(student, config.freeze, size), start_point, config.freeze)
    train_mode(student, config.bn)
    trained = with_gradient(student, objective.student, size)
    if not trained:
        raise InputError(
            f"nothing to train: objective {config.objective.name!r} reaches no parameter that is "
            f"not frozen (freeze={config.freeze!r})"
        )
    fisher = read_fisher(config.penalty.fisher) if config.penalty.fisher else None
    penalty = Penalty(student, start_point, config.penalty, fisher, trained)
    for name, parameter in student.named_parameters():  # DDP would wait for the others' gradients
        parameter.requires_grad_(name in trained)
    penalty.refuse_decay(config.schedule.weight_decay)
    penalty.refuse_overshoot(config.schedule)
    inputs |= penalty.digests() | {"samples": pairing(data)}

    # 6. Optimiser, average, cache and drift are made of the finished student and teacher.
    frozen = freeze(machine.place(teacher.net)) if objective.teacher and teacher else None
    held_out = None
    if config.eval_every:
        val_split = layout_of(config.data).val_split
        held_out = replace(load(config.data, val_split), classes=data.classes)
    setup = Setup(
        config=config,
        machine=machine,
        data=data,
        held_out=held_out,
        student=student,
        teacher=frozen,
        objective=objective,
        penalty=penalty,
        optimizer=make_optimizer(student, penalty.shared, config.schedule),
        inputs=inputs,
        average=averaged(student, config.ema) if config.ema else None,
        again=blocks(student, objective.student) if config.gradient_checkpointing else [],
        cache=cached(config, machine, data, objective, frozen, size) if frozen else None,
        drift=Drift(student, start_point) if start_point and config.drift_every else None,
        size=size,
    )

    # 7. Every image's header is read last, because that takes longest. From here on nothing is
    #    drawn before the first step: rank 0 draws dropout as a run of one process does.
    shares, sized = config.batch // world() > 1, config.data.crop or len(config.data.resize) == 2
    check_sizes(Decoder(data, config.data, setup.fields), stacked=shares and not sized)
    if rank():
        torch.manual_seed(process_seed(config.seed, 0))
    return setup


def with_taps(config: TrainConfig, teacher: Model | None, read: Read) -> TrainConfig:
    """The configuration in whose objective stand the layers that `taps`, or an objective without a
    name, means for the teacher's network; a line says which ones.

    Raises:
        InputError: `taps` without a teacher, a layer that is not known or cannot be tapped, or a
            network in which `taps=auto` finds none.
    """
    objective, taps, why = config.objective, config.taps, ""
    if not objective.name:
        objective = replace(objective, name=DEFAULT_TAP)
        known = teacher and {*aliases(teacher.net), *dict(teacher.net.named_modules())}
        if not taps and known and DEFAULT_TAP in objective.regression.taps.keys() - known:
            taps, why = AUTO, f"the network has no {DEFAULT_TAP}: "
    if not taps:
        return replace(config, objective=objective)
    if teacher is None:
        raise InputError(f"taps={taps} needs teacher=RUN")
    data = read(config.data)
    check_one_size(config.data, data)
    layers = trace(teacher.net, size_of(config.data, data))
    if taps == AUTO:
        weights = auto_taps(layers)
        if not weights:
            raise InputError(f"{proposal(layers)}; name taps yourself")
    else:
        names = [str(name) for name in taps]
        check(layers, names)
        weights = linear(layers, names)
        if isinstance(taps, dict):
            weights = {str(name): float(weight) for name, weight in taps.items()}
    name = AUTO if taps == AUTO else "taps"
    say(f"{why}{'taps=auto takes' if taps == AUTO else 'taps:'} {weighted(weights)}")
    others = [t for t in TERMS if t != "regression" and getattr(objective, t).weight]
    regression = replace(
        objective.regression, weight=objective.regression.weight or 1.0, taps=weights
    )
    objective = replace(objective, name="_".join([name, *others]), regression=regression)
    return replace(config, taps="", objective=objective)


def process_seed(seed: int, step: int) -> int:
    """What a process that has no random state yet begins to draw dropout from at a step."""
    return int(np.random.SeedSequence([seed, rank(), step]).generate_state(1)[0])


def check_one_size(config: DataConfig, data: DataSet) -> None:
    """InputError for images that do not make batches of one size."""
    resized = len(config.resize)
    if (config.scale or resized == 1) and not config.crop:
        what = "data.scale" if config.scale else f"data.resize={config.resize}"
        raise InputError(f"{what} needs data.crop=[H,W]: the images of a batch have one size")
    if data.classification and not resized and not config.crop:
        raise InputError(f"data={config.name}: images of all sizes need data.resize or data.crop")


def pairing(data: DataSet) -> str:
    """How many samples there are, and a digest of their names, files and labels in their order:
    what belongs to what, not what the files contain."""
    columns = (column(data.samples, field) for field in ("name", *FILES, "label"))
    digest, between = hashlib.sha256(), b""
    for row in zip(*columns, strict=True):
        text = "\0".join([cell or "None" for cell in row])
        digest.update(between + text.encode(errors="surrogateescape"))
        between = b"\n"
    found = f"{len(data.samples)} samples, SHA-256 of their names and files"
    return f"{found} {digest.hexdigest()}"


def check_teacher(config: TrainConfig, objective: Objective, teacher: Model | None) -> None:
    """InputError for an objective without the teacher that it needs, or with labels of the old
    domain beside it."""
    if objective.teacher and teacher is None:
        raise InputError(f"objective {config.objective.name!r} needs teacher=RUN")
    if objective.teacher and objective.labels and config.domain != "d2":
        raise InputError(
            f"domain is {config.domain}; a supervised term beside a regression needs domain=d2"
        )


def check_data(config: TrainConfig, data: DataSet, objective: Objective) -> None:
    """InputError for a data set without the images and labels that the objective reads, or with
    images that do not make batches of one size."""
    if (objective.teacher or config.domain == "d2") and not data.paired:
        raise InputError("data.target is empty: give the folder of the new domain (D2)")
    check_one_size(config.data, data)
    if objective.labels and not data.labelled and config.steps:
        raise InputError(
            f"data: {config.data.name} in {config.data.root} has unlabelled images, which "
            f"objective.supervised cannot learn from"
        )


def check_kind(layers: list[Layer], data: DataSet, objective: Objective) -> None:
    """InputError where network and data set mix one label a pixel with one an image, or where a
    term needs pixels that there are not."""
    logits = next(layer.shape for layer in layers if not layer.name)
    if (len(logits) == 2) != data.classification:
        kinds = ("one label a pixel", "one label an image")
        raise InputError(
            f"network: it has {kinds[len(logits) == 2]}, but the data set {data.name} "
            f"{kinds[data.classification]}; network=resnet101 and other classifiers of torchvision "
            "are for images, the other choices of network= for pixels"
        )
    if data.classification and (unfit := objective.dense):
        raise InputError(f"objective: {', '.join(unfit)} is for one label a pixel only")
