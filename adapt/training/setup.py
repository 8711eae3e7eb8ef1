"""What a training is made of: configuration resolved, data and networks loaded and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import adapt.data
from adapt.data import DataSet, Read, by_task, once, some
from adapt.data.objects import contents
from adapt.data.samples import pairing
from adapt.data.sampling import Batch, check_labels, check_sizes, size_of
from adapt.disk.runs import read_data
from adapt.errors import InputError, listing
from adapt.evaluation.baselines import adapt_to
from adapt.evaluation.inference import Reading
from adapt.machine.processes import on_rank_zero, rank, world
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks import build_network
from adapt.networks.adapters import is_added
from adapt.networks.batchnorm import freeze, train_mode
from adapt.networks.cuts import run_from
from adapt.networks.factory import copied
from adapt.networks.gradient_checkpointing import blocks
from adapt.networks.layers import Layer, trace
from adapt.networks.pretrained import is_pretrained, pretrained
from adapt.networks.saved import (
    DATA,
    NO_START,
    Model,
    Tasks,
    check_network,
    check_outputs,
    check_tasks,
    common_classes,
    is_file,
    is_run,
    load_complete,
    load_model,
)
from adapt.networks.sizes import outputs
from adapt.networks.taps import forward, of_task
from adapt.objective.terms import Maps, Objective, cut_at
from adapt.penalties import Penalty
from adapt.penalties.fisher import read_fisher
from adapt.settings.choices import BACKBONE, RIDGE
from adapt.settings.groups import AlsoConfig, DataConfig, NetworkConfig, TeacherNetworkConfig
from adapt.settings.mapping import as_dict, inherit_data, inherit_network, teachers_network
from adapt.settings.training import TrainConfig
from adapt.training.adapters import add_adapters, freeze_base, start_at_ridge, with_adapters
from adapt.training.averaging import AveragedModel, averaged
from adapt.training.checks import (
    check_data,
    check_kind,
    check_sources,
    check_teacher,
    check_used,
)
from adapt.training.drift import Drift
from adapt.training.freezing import freeze_first, refuse_new, with_gradient
from adapt.training.mixing import cell_of
from adapt.training.schedules import make_optimizer
from adapt.training.taps import Tapped, projectors, with_taps
from adapt.training.tasks import owners, sets_of, shares_of, tasks_in, with_weights
from adapt.training.teacher_cache import TeacherCache, cached
from adapt.training.updates import Update, update_of
from adapt.training.variance import with_variance

OTHER_HEADS = f", or start={BACKBONE}RUN, which takes all but the heads"
ANOTHER = "; a student of another network needs start=RUN, a weights file, or none"


@dataclass
class Setup:
    """Everything a run is made of, checked before the first step."""

    config: TrainConfig
    machine: Runtime
    sets: Sequence[tuple[DataSet, DataConfig]]
    """What is learnt from, with its settings: `data` and, where there is one, `also`."""
    scored: Mapping[str, Mapping[str, tuple[DataConfig, DataSet]]]
    """What is scored while training, by task: held-out images as `evaluation` and, on request, some
    that are learnt from as `training`; {} = nothing."""
    student: nn.Module
    teacher: nn.Module | None
    objective: Objective
    penalty: Penalty
    update: Update
    """What a step does with the gradients."""
    inputs: dict[str, str]
    """Digests of what the run starts from; a resumed run must find the same."""
    tasks: Tasks = field(default_factory=dict)
    """Of several heads; {} = there is one."""
    average: AveragedModel | None = None
    """Of the student's weights, with `ema`."""
    drift: Drift | None = None
    """Where the student started, if it started from anything."""
    cache: TeacherCache | None = None
    """Of the teacher's maps, where they are kept."""
    again: Sequence[nn.Module] = ()
    """Blocks of the student whose maps the backward pass computes again."""
    projectors: nn.Module = field(default_factory=nn.Identity)
    """Of the student's maps to the teacher's channels."""
    size: tuple[int, int] = (0, 0)
    """(H, W) of an image of a batch."""
    layers: Sequence[Layer] = ()
    """Of the student, as an image of this size meets them."""
    cell: int = 0
    """Pixels, of which the crops of a pair are moved by multiples; 0 = they are not."""

    @property
    def data(self) -> DataSet:
        return self.sets[0][0]

    @cached_property
    def networks(self) -> dict[str, NetworkConfig]:
        """The network, and so the normalisation, of each image: x1 is the teacher's, if there is
        one."""
        student = self.config.network
        return {"x1": teachers_network(self.config.teacher_network, student), "x2": student}

    @cached_property
    def alone(self) -> Tapped:
        """The student's maps that the objective needs, as this process computes them."""
        return Tapped(self.student, self.objective.student, self.again, self.projectors)

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

    def continued(self, maps: Maps, x1: Tensor, step: int) -> Maps:
        """The teacher's logits where it goes on from the student's maps, at the step's cuts."""
        assert self.teacher is not None
        taps = self.objective.cuts(self.config.seed, step)
        return {cut_at(tap): run_from(self.teacher, tap, maps[tap], x1[:1]) for tap in taps}

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.update.optimizer

    @property
    def result(self) -> nn.Module:
        """What is evaluated and saved: the average where there is one, else the student."""
        return self.average.module if self.average is not None else self.student

    @property
    def image(self) -> str:
        """Which image the student sees."""
        return "x2" if self.teacher is not None or self.config.domain == "d2" else "x1"

    @property
    def samples(self) -> int:
        """How many there are to learn from."""
        return sum(len(data.samples) for data, _ in self.sets)

    @property
    def fields(self) -> list[str]:
        """What a batch must hold."""
        wanted = {self.image} | ({"x1", "valid"} if self.teacher is not None else set())
        if self.objective.labels:
            wanted.add("y" + self.image[1])
        return sorted(wanted)


def resolve(
    config: TrainConfig, read: Read | None = None
) -> tuple[TrainConfig, Model | None, Model | None]:
    """The configuration with everything that start and teacher determine, and those two models;
    `read` is what `prepare` reads the samples by as well.

    A start of pretrained weights (`imagenet`) has no model of its own: its backbone is loaded into
    a freshly initialised network by `begun`. The settings `teacher_network` are empty afterwards
    unless teacher and student are two networks.

    Raises:
        InputError: a network that differs from the start's or, without one, from the teacher's, or
            a needed start or teacher missing.
    """
    read, sources = read or once(), {"teacher": config.teacher, "start": config.start}
    files = {k: s for k, s in sources.items() if is_file(s) or is_pretrained(s)}
    check_sources(config, files)
    models = {what: load_model(Path(s), what) for what, s in sources.items() if is_run(s)}
    recorded, given = DataConfig(), NetworkConfig()
    for what, model in models.items():  # the start's, else the teacher's
        recorded, given = read_data(Path(sources[what]), what), model.network
    data, network = inherit_data(config.data, recorded), inherit_network(config.network, given)
    on_rank_zero(lambda: adapt.data.prepare(data))
    also = config.also
    if also.name:
        also = AlsoConfig(**as_dict(inherit_data(also, data)))
        on_rank_zero(lambda: adapt.data.prepare(also))
    if "start" in models:
        check_network(models["start"], network, config.start)
    if "teacher" in models:
        known = models["teacher"].network
        taught = inherit_network(config.teacher_network, known)
        check_network(models["teacher"], taught, config.teacher, "teacher_network")
    networks = {"teacher": inherit_network(config.teacher_network, network), "start": network}
    for what, source in files.items():
        if what == "teacher" or is_file(source):
            images = read(data)
            size = size_of(data, images)
            models[what] = load_complete(source, networks[what], images.classes, what, size)
    teacher = models.get("teacher")
    if student := models.get("start", teacher):  # a weights file tells how many logits it is for
        network = replace(network, one_logit=student.network.one_logit)
    taught = TeacherNetworkConfig(keys=config.teacher_network.keys)
    if teacher is not None and not config.start:
        check_network(teacher, network, config.teacher, hint=ANOTHER)
        models["start"] = replace(teacher, net=copied(teacher.net))
    elif teacher is not None and replace(teacher.network, keys=network.keys) != network:
        taught = TeacherNetworkConfig(**as_dict(teacher.network))
    precision = runtime(config.device, config.precision).precision
    resolved = replace(
        config, data=data, also=also, network=network, teacher_network=taught,
        precision=precision, start=config.start or config.teacher or NO_START,
    )  # fmt: skip
    return with_adapters(resolved, models.get("start")), models.get("start"), teacher


def begun(
    config: TrainConfig, start: Model | None, classes: int | Mapping[str, int]
) -> tuple[nn.Module, dict[str, Tensor] | None, dict[str, str]]:
    """The student of a resolved configuration before its first step; the tensors that it starts
    from (None = it is new), but for adapters, which are new to a penalty; and the digest of a start
    that has no model of its own.

    New weights are the first that is drawn from the seed, so that they depend on nothing else, and
    the start point is cloned before anything can change the student.
    """
    torch.manual_seed(config.seed)
    student = start.net if start is not None else build_network(config.network, classes)
    if start is not None:
        kept = {k: v for k, v in student.state_dict().items() if not is_added(k)}
        return student, {k: v.clone() for k, v in kept.items()}, {}
    if not is_pretrained(config.start):
        return student, None, {}
    start_point, digest = pretrained(config.start, config.network, student)
    student.load_state_dict(student.state_dict() | start_point)
    return student, start_point, {"start": digest}


def prepare(
    config: TrainConfig, start: Model | None, teacher: Model | None, read: Read | None = None
) -> Setup:
    """Data and networks of a resolved configuration, loaded and checked: InputError where they do
    not fit together."""
    # 1. What the settings alone tell is wrong is said before anything is read.
    machine = runtime(config.device, config.precision, config.memory_format)
    if config.batch % world():
        raise InputError(f"batch is {config.batch}; {world()} processes cannot share it equally")
    read = read or once()
    config = with_taps(config, start, teacher, machine, read)
    check_used(config)
    check_teacher(config, Objective(config.objective), teacher)
    sets = sets_of(config, read(config.data))
    tasks = tasks_in(sets)
    config = with_weights(config, tasks)
    config = with_variance(config, sets[0][0], teacher, machine)
    objective = Objective(config.objective, config.network.auxiliary, config.seed, config.steps)
    for data, settings in sets:
        check_data(config, settings, data, objective)
    models = {k: m for k, m in (("start", start), ("teacher", teacher)) if m is not None}
    sources = {f"{what}: {getattr(config, what)}": model for what, model in models.items()}
    for what, model in sources.items():
        check_tasks(model.tasks, tasks, what, DATA, OTHER_HEADS)
    classes = () if tasks else common_classes(sets[0][0].classes, sources)
    sets = [(replace(data, classes=classes), settings) for data, settings in sets]
    data = sets[0][0]
    inputs = {k: m.digest for k, m in models.items()}

    # 2. The student is the first that is drawn from the seed.
    counts = {task: len(own) for task, own in tasks.items()}
    student, start_point, digest = begun(config, start, counts or len(classes))
    inputs |= digest
    size = size_of(config.data, data)
    if config.adapters:
        inputs |= add_adapters(student, config, size)
    student = machine.place(student)
    if isinstance(config.adapters, dict) and RIDGE in config.adapters.values():
        start_at_ridge(config, student, teacher, machine, data, size)
    if config.adabn:
        if not data.paired or not (teacher or config.domain == "d2"):
            raise InputError("adabn=true takes the statistics of new images; give data.target=DIR")
        reading = Reading(config.data, config.network, config.batch, config.workers)
        adapt_to(machine, student, reading, data, "x2")
    if world() > 1 and machine.device.type == "cuda" and config.bn == "train":
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)

    # 3. Taps are checked on the networks as they will run, at the size of a batch.
    layers = trace(student, size)
    if several := next(layer.returned for layer in layers if not layer.name):
        say(f"network: of the {several} that it returns the first member counts as the logits")
    check_kind(layers, data, objective, config.network.void)
    for task, own in tasks.items():
        check_outputs(outputs(of_task(student, task), size), own, f"network, head {task},")
    theirs = trace(teacher.net, size) if teacher is not None else layers
    projected = projectors(objective, layers, theirs, bool(config.teacher_network.name))
    machine.place(projected)

    # 4. Frozen layers and batch norm's policy say what may train; then the objective says what of
    #    that gets a gradient. The penalty reports on both, so the rest is switched off after it.
    if config.adapters:
        freeze_base(student)
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
    if not penalty.shared and config.penalty.alpha != config.penalty.beta:
        say(f"warning: penalty.alpha={config.penalty.alpha:g} acts on nothing: no parameter is "
            "shared with a start; penalty.beta acts on new ones")  # fmt: skip
    free = {name for name, p in student.named_parameters() if p.requires_grad}
    if random := (penalty.new & free) - trained:
        say(
            f"warning: objective {config.objective.name!r} does not reach {listing(random, 5)}, "
            "which the start does not have and which keep their first values"
            f"{'' if tasks else '; objective=kd reaches all'}"
        )
    for name, parameter in student.named_parameters():  # DDP would wait for the others' gradients
        parameter.requires_grad_(name in trained)
    penalty.refuse_overshoot(config.schedule)
    inputs |= penalty.digests()
    for what, (one, _) in zip(("samples", "also"), sets, strict=False):
        inputs[what] = pairing(one.samples)
    if data.objects and not data.objects.loader and (digest_of_pairs := contents(data.items)):
        inputs["pairs"] = digest_of_pairs

    # 5. Optimiser, average, cache and drift are made of the finished student and teacher.
    frozen = freeze(machine.place(teacher.net)) if objective.teacher and teacher else None
    scored = {}
    if config.eval_every:
        scored["evaluation"] = by_task([s for _, s in sets], named=bool(tasks))
    if config.eval_train:
        every = by_task([s for _, s in sets], "train", named=bool(tasks))
        scored["training"] = {t: (s, some(d, config.eval_train)) for t, (s, d) in every.items()}
    for found in scored.values():
        if "" in found:
            found[""] = config.data, replace(found[""][1], classes=classes)
    apart = owners(student, objective, tasks, size) if config.schedule.asynchronous else {}
    moved = (student, penalty.shared, config.schedule, projected.parameters(), apart)
    penalty.refuse_decay(optimizer := make_optimizer(*moved))
    setup = Setup(
        config=config,
        machine=machine,
        sets=sets,
        scored=scored,
        student=student,
        teacher=frozen,
        objective=objective,
        penalty=penalty,
        update=update_of(config, optimizer, penalty, shares_of(sets, tasks)),
        inputs=inputs,
        tasks=tasks,
        average=averaged(student, config.ema) if config.ema else None,
        again=blocks(student, objective.student) if config.gradient_checkpointing else [],
        cache=cached(config, machine, data, objective, frozen, size) if frozen else None,
        drift=Drift(student, start_point) if start_point and config.drift_every else None,
        projectors=projected,
        size=size,
        layers=layers,
        cell=cell_of(config, objective, layers, theirs, size),
    )

    # 6. Every image's header is read last, because that takes longest. From here on nothing is
    #    drawn before the first step: rank 0 draws dropout as a run of one process does.
    shares, sized = config.batch // world() > 1, config.data.crop or len(config.data.resize) == 2
    for data, settings in sets:
        check_sizes(data, settings, setup.fields, stacked=shares and not sized)
        if config.steps:
            check_labels(data, settings, setup.fields)
    if rank():
        torch.manual_seed(process_seed(config.seed, 0))
    return setup


def process_seed(seed: int, step: int) -> int:
    """What a process that has no random state yet begins to draw dropout from at a step."""
    return int(np.random.SeedSequence([seed, rank(), step]).generate_state(1)[0])
