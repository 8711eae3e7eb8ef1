"""What must fit together before a training: its objective, data set and networks."""

from collections.abc import Iterable
from pathlib import Path

from adapt.data import DataSet, Read
from adapt.data.sampling import size_of
from adapt.disk.runs import SUMMARY, read_summary
from adapt.errors import InputError
from adapt.machine.processes import world
from adapt.machine.runtime import say
from adapt.networks.layers import Layer
from adapt.networks.saved import Model, check_outputs
from adapt.objective.terms import Objective
from adapt.settings.choices import TERMS
from adapt.settings.groups import DataConfig, TeacherNetworkConfig
from adapt.settings.training import TrainConfig
from adapt.settings.unused import refuse_unused


def check_sources(config: TrainConfig, files: Iterable[str]) -> None:
    """InputError for settings of a teacher or of a weights file where there is none; `files` are
    those of `teacher` and `start` that are weights."""
    if config.network.keys and not files:
        raise InputError(
            "network.keys renames tensors of a weights file; neither teacher nor start is one"
        )
    if config.teacher_network.keys and "teacher" not in files:
        raise InputError(
            "teacher_network.keys renames tensors of a weights file; give teacher=FILE"
        )
    if config.teacher_network != TeacherNetworkConfig() and not config.teacher:
        raise InputError("teacher_network is set, but there is no teacher; give teacher=FILE")


def check_one_size(config: DataConfig, data: DataSet) -> None:
    """InputError for images that do not make batches of one size."""
    resized = len(config.resize)
    if (config.scale or resized == 1) and not config.crop:
        what = "data.scale" if config.scale else f"data.resize={config.resize}"
        raise InputError(f"{what} needs data.crop=[H,W]: the images of a batch have one size")
    if data.classification and not resized and not config.crop:
        raise InputError(f"data={config.name}: images of all sizes need data.resize or data.crop")


def seen_size(config: DataConfig, read: Read) -> tuple[int, int]:
    """(H, W) of the images of a batch; InputError where they have several."""
    data = read(config)
    check_one_size(config, data)
    return size_of(config, data)


def check_used(config: TrainConfig) -> None:
    """InputError for an option that the chosen penalty or schedule does not use; a warning for
    those of a term that is off, and for windows of DWA of which a run does not have two."""
    refuse_unused(config.penalty)
    refuse_unused(config.schedule)
    for name in TERMS:
        term = getattr(config.objective, name)
        if not term.weight and term != type(term)():
            say(f"warning: objective.{name} has settings, but weight 0: the term is off")
    regression, steps = config.objective.regression, config.steps
    if regression.weight and regression.weighting == "dwa" and 0 < steps <= 2 * regression.window:
        say(
            f"warning: objective.regression.weighting=dwa weighs all layers alike in the first two "
            f"windows of {regression.window} steps, and the run has {steps}; give more steps or a "
            "smaller objective.regression.window"
        )


def check_teacher(config: TrainConfig, objective: Objective, teacher: Model | None) -> None:
    """InputError for an objective without the teacher that it needs, or with labels of the old
    domain beside it, and for pairs that cannot be mixed."""
    if objective.teacher and teacher is None:
        raise InputError(f"objective {config.objective.name!r} needs teacher=RUN")
    if teacher is not None and not objective.teacher:
        raise InputError(
            f"teacher is {config.teacher}, but objective {config.objective.name!r} needs none; to "
            f"start from it give start={config.teacher}"
        )
    if objective.teacher and objective.labels and config.domain != "d2":
        raise InputError(
            f"domain is {config.domain}; a supervised term beside a regression needs domain=d2"
        )
    if config.mixup and not objective.teacher:
        raise InputError(
            f"mixup is {config.mixup}; it is for pairs: give an objective with teacher"
        )
    if config.crop_shift and not objective.teacher:
        raise InputError(
            f"crop_shift is {config.crop_shift}; it moves the images of pairs, which need a teacher"
        )
    if config.mixup and objective.labels:
        raise InputError(
            f"mixup is {config.mixup}; labels are not mixed: give objective.supervised.weight=0"
        )
    if config.mixup and config.batch == world():
        raise InputError(
            f"mixup is {config.mixup}; batch={config.batch} has one pair for each process, and "
            "none to mix it with"
        )


def check_data(
    config: TrainConfig, settings: DataConfig, data: DataSet, objective: Objective
) -> None:
    """InputError for a data set without the images and labels that the objective reads, or with
    images that do not make batches of one size."""
    if (objective.teacher or config.domain == "d2") and not data.paired:
        raise InputError("data.target is empty: give the folder of the new domain (D2)")
    check_one_size(settings, data)
    if objective.labels and not data.labelled and config.steps:
        where = settings.pairs or settings.shards or settings.root
        raise InputError(
            f"data: {settings.name} in {where} has unlabelled images, "
            f"{len(data.samples) - data.with_labels} of {len(data.samples)}, which "
            "objective.supervised cannot learn from"
        )


def check_kind(layers: list[Layer], data: DataSet, objective: Objective, void: bool) -> None:
    """InputError where network and data set mix one label a pixel with one an image, where outputs
    are not as many as classes, or where a term needs pixels that there are not."""
    logits = next(layer.shape for layer in layers if not layer.name)
    if (len(logits) == 2) != data.classification:
        kinds = ("one label a pixel", "one label an image")
        raise InputError(
            f"network: it has {kinds[len(logits) == 2]}, but the data set {data.name} "
            f"{kinds[data.classification]}; network=resnet101 and other classifiers of torchvision "
            "are for images, the other choices of network= for pixels"
        )
    check_outputs(logits[1] - void, data.classes, "network")
    if data.classification and (unfit := objective.dense):
        raise InputError(f"objective: {', '.join(unfit)} is for one label a pixel only")


def weights_of(run: Path) -> dict[str, str]:
    """SHA-256 of the weights of a finished run and of its teacher, as its summary has them."""
    found = read_summary(run) if (run / SUMMARY).is_file() else {"inputs": {}}
    return {"student": found.get("model", ""), "teacher": found["inputs"].get("teacher", "")}
