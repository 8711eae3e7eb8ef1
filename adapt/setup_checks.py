"""Do the parts of a training fit together? Asked before its folder is made."""

from adapt.commands import TrainConfig
from adapt.data import DataSet
from adapt.errors import InputError
from adapt.layers import Layer
from adapt.models import Model
from adapt.objectives import Objective


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
