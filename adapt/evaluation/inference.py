"""Networks over whole data sets: predictions, scores with and without labels, AdaBN's pass."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from adapt.data import DataSet
from adapt.data.augment import MASKS, resize
from adapt.data.images import IGNORE, image_size
from adapt.data.sampling import Decoder, loading, tensor, unwrapped
from adapt.evaluation.classification import (
    UNLABELLED,
    Views,
    check_protocol,
    classify,
    labels_of,
    loader,
)
from adapt.evaluation.metrics import ImageScores, Scores, confusion, image_scores, scores
from adapt.evaluation.protocol import finite_logits, predict
from adapt.evaluation.restyle import Restyle, make_restyle
from adapt.machine.processes import all_sum, rank, shared_errors, world
from adapt.machine.runtime import Runtime, progress
from adapt.networks.batchnorm import adapt_statistics, eval_mode
from adapt.networks.taps import normalise, upsample
from adapt.settings.groups import DataConfig, NetworkConfig, ProtocolConfig


@dataclass(frozen=True)
class Reading:
    """How images reach a network outside training."""

    data: DataConfig
    network: NetworkConfig
    batch: int
    workers: int
    restyle: Restyle | None = None
    """What x2 goes through behind the resizing."""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    """Of the scored network and of the teacher that it is compared with."""


class Whole(Dataset[dict[str, Any]]):
    """Every sample once, in order: resized images, and masks at their own size."""

    def __init__(
        self, data: DataSet, config: DataConfig, fields: list[str], restyle: Restyle | None = None
    ) -> None:
        self.decode = Decoder(data, config, fields)
        self.samples, self.size, self.restyle = data.samples, config.resize, restyle

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        native = self.decode.native(self.samples[index])
        size = next(iter(native.values())).shape[:2]
        masks = {key: native.pop(key) for key in MASKS if key in native}
        images = resize(native, self.size)
        if self.restyle is not None and "x2" in images:
            images["x2"] = self.restyle(images["x2"])
        tensors = {k: tensor(v) for k, v in images.items()}
        return {"name": self.samples[index].name, "size": size, **masks, **tensors}


def groups(
    whole: Whole, reading: Reading, what: str, shared: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """The samples of each batch, in groups of equal size.

    With `shared` the processes of a run take turns at batches, so that each group, and what a
    network computes of it, is the same in one process and in several.
    """
    turn, turns = (rank(), world()) if shared else (0, 1)
    places = [i for i in range(len(whole)) if i // reading.batch % turns == turn]
    loader = loading(whole, reading.workers, batch_size=None, sampler=places)
    group: list[dict[str, Any]] = []
    items = progress(unwrapped(loader), what=what, total=len(places))
    for place, item in zip(places, items, strict=True):
        if group and (place % reading.batch == 0 or item["size"] != group[0]["size"]):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


@dataclass(frozen=True)
class Evaluation:
    """Scores against labels (None without labels) and agreement with the teacher (None without)."""

    images: int
    truth: Scores | ImageScores | None
    agreement: Scores | ImageScores | None
    confusion: list[list[int]] | None


def evaluate_networks(
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
    teacher: nn.Module | None = None,
) -> Evaluation:
    """Run over a data set once, at the labels' own size; all processes of a run together.

    Args:
        machine: device and precision.
        net: the network that is scored; its train/eval modes are left as they were.
        reading: size, batch and normalisation.
        data: the samples.
        image: `x1` or `x2`: what `net` sees.
        teacher: sees x1; its prediction serves as truth for the label-free agreement
            (pseudo-mIoU) on all valid pixels, labelled or not.
    """
    if data.classification:
        return evaluate_classifier(machine, net, reading, data, image, teacher)
    network, protocol = reading.network, reading.protocol
    fields = [image] + (["x1", "valid"] if teacher is not None else [])
    fields += ["y" + image[1]] if data.labelled else []
    whole = Whole(data, reading.data, fields, reading.restyle)
    classes = len(data.classes)
    truth = np.zeros((classes, classes), np.int64)
    agreement = np.zeros_like(truth)
    with shared_errors(), eval_mode(net):
        for group in groups(whole, reading, "evaluate", shared=True):
            size = group[0]["size"]
            shown = stack(group, image)
            found = predict(machine, net, network, shown, size, protocol, reading.batch)
            if data.labelled:
                for item, prediction in zip(group, found, strict=True):
                    truth += confusion(np.asarray(item["y"]), prediction, classes)
            if teacher is not None:
                shown = stack(group, "x1")
                wanted = predict(machine, teacher, network, shown, size, protocol, reading.batch)
                for item, expected in zip(group, wanted, strict=True):
                    if "valid" in item:
                        expected[np.asarray(item["valid"]) == 0] = IGNORE
                agreement += confusion(wanted, found, classes)
    truth, agreement = (all_sum(torch.from_numpy(m)).numpy() for m in (truth, agreement))
    return Evaluation(
        images=len(data.samples),
        truth=scores(truth) if data.labelled else None,
        agreement=scores(agreement) if teacher is not None else None,
        confusion=truth.tolist() if data.labelled else None,
    )


def evaluate_classifier(
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
    teacher: nn.Module | None = None,
) -> Evaluation:
    """As `evaluate_networks`, of one label an image; the agreement is that of the labels."""
    check_protocol(reading.protocol)
    classes, truth = len(data.classes), labels_of(data)

    def predicted(scored: nn.Module, image: str) -> np.ndarray:
        source = Views(data, reading.data, image, reading.protocol.crops, reading.restyle)
        settings = (reading.network, source, reading.data, reading.batch, reading.workers)
        with eval_mode(scored):
            return classify(machine, scored, *settings)[0]

    found = predicted(net, image)
    matrix = confusion(truth, found, classes, ignore=UNLABELLED)
    agreement = None
    if teacher is not None:
        agreement = image_scores(confusion(predicted(teacher, "x1"), found, classes, UNLABELLED))
    return Evaluation(
        images=len(data.samples),
        truth=image_scores(matrix) if data.labelled else None,
        agreement=agreement,
        confusion=matrix.tolist() if data.labelled else None,
    )


def stack(group: list[dict[str, Any]], key: str) -> Tensor:
    return torch.stack([item[key] for item in group])


def headline(found: Evaluation) -> dict[str, float]:
    """The numbers that matter, flat."""
    numbers: dict[str, float] = {}
    if found.truth is not None:
        names = ("miou", "top1", "class_accuracy", "pixel_accuracy")
        numbers |= {k: getattr(found.truth, k) for k in names if hasattr(found.truth, k)}
    if isinstance(found.agreement, ImageScores):
        numbers["agreement_top1"] = found.agreement.top1
    elif found.agreement is not None:
        numbers["agreement_miou"] = found.agreement.miou
    return numbers


def adapt_to(machine: Runtime, net: nn.Module, reading: Reading, data: DataSet, image: str) -> None:
    """AdaBN: statistics of the domain's training images, at the size that evaluation uses."""
    mean, std = reading.network.mean, reading.network.std
    images = (
        normalise(machine.images(shown), mean, std)
        for shown in shown_images(reading, data, image, "adabn")
    )
    with machine.autocast():
        adapt_statistics(net, images)


def shown_images(reading: Reading, data: DataSet, image: str, what: str) -> Iterator[Tensor]:
    """uint8 (B, 3, H, W) as evaluation shows them: whole, or the centre where an image has one
    label."""
    if data.classification:
        source = Views(data, reading.data, image, 1, reading.restyle)
        batches = loader(source, reading.data, reading.batch, reading.workers)
        for shown in progress(unwrapped(batches), what=what, total=len(batches)):
            yield shown[:, 0]
        return
    whole = Whole(data, reading.data, [image], reading.restyle)
    for group in groups(whole, reading, what):
        yield stack(group, image)


def restyle_to_old(
    name: str, beta: float, reading: Reading, training: DataSet, evaluated: DataSet
) -> Restyle:
    """The restyling of x2 towards the old domain's training images (adapt.evaluation.restyle).

    Those of a data set whose images are evaluated at several sizes are brought to the largest.
    """
    size = reading.data.resize
    if len(size) != 2:
        sizes = [image_size(s.x2) for s in evaluated.samples if s.x2 is not None]
        size = [max(sides) for sides in zip(*sizes, strict=True)]

    def images(key: str) -> Iterator[np.ndarray]:
        whole = Whole(training, replace(reading.data, resize=size), [key])
        for group in groups(whole, reading, f"{name}, {key}"):
            yield from (item[key].permute(1, 2, 0).numpy() for item in group)

    return make_restyle(name, images("x1"), images("x2"), beta)


def mean_loss(
    machine: Runtime, net: nn.Module, reading: Reading, data: DataSet, image: str
) -> float:
    """Mean cross-entropy over all labelled pixels of a data set, in nats; NaN if there are none.

    Whole images, logits upsampled to the labels' own size; weight decay and other penalties have no
    part in it.

    Args:
        machine: device and precision.
        net: the network; its train/eval modes are left as they were.
        reading: size, batch and normalisation; its protocol is not read.
        data: labelled samples, one label a pixel.
        image: `x1` or `x2`: what `net` sees.
    """
    whole = Whole(data, reading.data, [image, "y" + image[1]], reading.restyle)
    sums = torch.zeros(2, dtype=torch.float64)
    with shared_errors(), eval_mode(net):
        for group in groups(whole, reading, "loss", shared=True):
            shown = normalise(
                machine.images(stack(group, image)), reading.network.mean, reading.network.std
            )
            for item, logits in zip(group, finite_logits(machine, net, shown), strict=True):
                label = torch.from_numpy(np.asarray(item["y"])).long().to(machine.device)
                found = upsample(logits[None], (label.shape[0], label.shape[1]))
                lost = nn.functional.cross_entropy(
                    found, label[None], ignore_index=IGNORE, reduction="sum"
                )
                sums += torch.tensor([lost.item(), (label != IGNORE).sum().item()])
    lost, pixels = all_sum(sums)
    return float(lost / pixels)
