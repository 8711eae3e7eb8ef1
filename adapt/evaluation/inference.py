"""Networks over whole data sets: predictions, and scores with and without labels."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from math import nan
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, Dataset, default_collate

from adapt.data import DataSet
from adapt.data.augment import IMAGES, MASKS, resize
from adapt.data.images import void_of
from adapt.data.sampling import Decoder, alike, tensor
from adapt.errors import InputError
from adapt.evaluation.metrics import (
    MATRIX,
    ImageScores,
    Scores,
    confusion,
    image_scores,
    per_class,
    scores_of,
    tally,
)
from adapt.evaluation.protocol import (
    WHOLE,
    classes_of,
    finite_logits,
    predict,
    summed_loss,
    whole_logits,
)
from adapt.evaluation.restyle import Restyle
from adapt.machine.processes import all_gather, all_sum, rank, shared_errors, world
from adapt.machine.runtime import Runtime, progress
from adapt.machine.workers import loading, unwrapped
from adapt.networks.batchnorm import eval_mode
from adapt.networks.preprocessing import as_input
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.settings.protocol import ProtocolConfig

UNLABELLED = -1
"""A label of an image that scores do not count; unlike void it is never the index of a class."""


@dataclass(frozen=True)
class Reading:
    """How images reach a network outside training."""

    data: DataConfig
    network: NetworkConfig
    batch: int
    workers: int
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    """Of the scored network and of the teacher that it is compared with."""
    restyle: Restyle | None = None
    """Applied to x2 after resizing."""
    teacher: NetworkConfig | None = None
    """Of the teacher that a network is compared with; None = the same as its own."""

    @property
    def of_teacher(self) -> "Reading":
        """How images reach the teacher."""
        return replace(self, network=self.teacher or self.network)


class Whole(Dataset[dict[str, Any]]):
    """Every sample once, in order: resized images, and masks at their own resolution, fitted as the
    images are. `size` (H, W) is the label's, where there is one, else that of x1 or the only image;
    at it predictions are made, and `valid` is brought to it. `shape` is that of the first image's
    file."""

    def __init__(
        self, data: DataSet, config: DataConfig, fields: list[str], restyle: Restyle | None = None
    ) -> None:
        self.decode = Decoder(data, config, fields)
        self.samples, self.size, self.restyle = data.samples, config.resize, restyle

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        own = self.decode.native(self.samples[index])
        shape = next(own[key] for key in IMAGES if key in own).shape[:2]
        native = self.decode.fitted(own)
        size = next(native[key] for key in ("y", *IMAGES) if key in native).shape[:2]
        masks = {key: native.pop(key) for key in MASKS if key in native}
        if "valid" in masks and masks["valid"].shape != size:
            masks |= resize({"valid": masks["valid"]}, [*size])
        images = resize(native, self.size)
        if self.restyle is not None and "x2" in images:
            images["x2"] = self.restyle(images["x2"])
        tensors = {k: tensor(v) for k, v in images.items()}
        about = {"name": self.samples[index].name, "size": size, "shape": shape}
        return {**about, **masks, **tensors}


def groups(
    whole: Whole, reading: Reading, what: str, shared: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """The samples of each batch, in groups of equal sizes.

    With `shared` the processes of a run take turns at batches. So each group, and what a network
    computes from it, is the same in one process and in several.
    """
    turn, turns = (rank(), world()) if shared else (0, 1)
    places = [i for i in range(len(whole)) if i // reading.batch % turns == turn]
    loader = loading(whole, reading.workers, batch_size=None, sampler=places)
    group: list[dict[str, Any]] = []
    items = progress(unwrapped(loader), what=what, total=len(places))

    def sizes(item: dict[str, Any]) -> list[tuple[int, ...]]:
        return [item["size"], *(item[key].shape for key in IMAGES if key in item)]

    for place, item in zip(places, items, strict=True):
        if group and (place % reading.batch == 0 or sizes(item) != sizes(group[0])):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def stack(group: list[dict[str, Any]], key: str) -> Tensor:
    return torch.stack(alike([item[key] for item in group]))


def batches_of(
    machine: Runtime, reading: Reading, data: DataSet, what: str, *images: str
) -> Iterator[tuple[Any, ...]]:
    """Normalised images (B, C, H, W) and the mask (B, H, W) of what is valid in them, or None, on
    the device."""
    whole = Whole(data, reading.data, [*images, "valid"], reading.restyle)
    for group in groups(whole, reading, what):
        valid = stack(group, "valid").to(machine.device) if "valid" in group[0] else None
        seen = (as_input(machine.images(stack(group, key)), reading.network) for key in images)
        yield (*seen, valid)


def predicted(
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    group: list[dict[str, Any]],
    image: str,
    logits: Tensor | None = None,
    probabilities: bool = False,
) -> np.ndarray:
    """The classes of a group's images, index masks (B, H, W), at the group's `size`, or their
    probabilities (B, C, H, W). Where `whole_logits` are there already, one pass needs no other."""
    size, protocol = group[0]["size"], reading.protocol
    if logits is not None and protocol == WHOLE:
        return classes_of(logits, size, reading.network)
    images, how = stack(group, image), (protocol, reading.batch, probabilities)
    return predict(machine, net, reading.network, images, size, *how)


def views(image: np.ndarray, crop: list[int], count: int) -> list[np.ndarray]:
    """1 or 10 crops of an image (H, W, C): the centre; or the centre and the four corners, then the
    same mirrored (Krizhevsky et al. 2012). Without a crop it is the image itself.

    Raises:
        InputError: the image is smaller than the crop, or 10 crops have no size.
    """
    if not crop:
        if count > 1:
            raise InputError(f"protocol.crops={count} needs data.crop=[H,W], the size of the crops")
        return [image]
    height, width = crop
    low, right = image.shape[0] - height, image.shape[1] - width
    if low < 0 or right < 0:
        raise InputError(
            f"data.crop is {crop}, larger than an image of {image.shape[:2]}; give data.resize too"
        )
    corners = [(0, 0), (0, right), (low, 0), (low, right)] if count > 1 else []
    spots = [(round(low / 2), round(right / 2)), *corners]
    cut = [image[y : y + height, x : x + width] for y, x in spots]
    return cut + [cv2.flip(part, 1).reshape(part.shape) for part in cut] if count > 1 else cut


class Views(Dataset[Tensor]):
    """The crops of every image once, in order: (crops, C, h, w)."""

    def __init__(
        self, data: DataSet, config: DataConfig, image: str, count: int, restyle: Restyle | None
    ) -> None:
        self.decode = Decoder(data, config, [image])
        self.samples, self.image, self.crop, self.count = data.samples, image, config.crop, count
        self.restyle = restyle if image == "x2" else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        sample = self.samples[index]
        image = self.decode(sample)[self.image]
        if self.restyle is not None:
            image = self.restyle(image)
        try:
            cut = views(image, self.crop, self.count)
        except InputError as error:
            raise InputError(f"sample {sample.name}: {error}") from None
        return torch.stack([tensor(part) for part in cut])


def together(images: list[Tensor]) -> Tensor:
    return default_collate(alike(images))


def crops_of(
    reading: Reading, data: DataSet, image: str, count: int, what: str, shared: bool = False
) -> Iterator[Tensor]:
    """Batches of crops (B, count, C, h, w) of images with one label each; images that still
    have different sizes come one at a time. With `shared` the processes take turns at batches."""
    source = Views(data, reading.data, image, count, reading.restyle)
    size = reading.batch if reading.data.crop or len(reading.data.resize) == 2 else 1
    turn, turns = (rank(), world()) if shared else (0, 1)
    own = [*BatchSampler(range(len(source)), size, drop_last=False)][turn::turns]
    batches = loading(source, reading.workers, batch_sampler=own, collate_fn=together)
    yield from progress(unwrapped(batches), what=what, total=len(own))


def classify(
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
    what: str = "evaluate",
) -> tuple[np.ndarray, np.ndarray]:
    """The predicted class, int64 (N,), and its probability, float32 (N,), of every image in order.

    The probabilities are averaged over the crops of an image; at most `reading.batch` crops go
    through the network together; a run's processes share the work.

    Raises:
        InputError: the protocol is for one label a pixel.
    """
    protocol, found = reading.protocol, []
    if protocol.window or protocol.flip or protocol.scales != [1.0]:
        raise InputError(
            f"protocol {protocol.tag} is for segmentation; images as a whole have protocol.crops=10"
        )
    with shared_errors(), eval_mode(net):
        for crops in crops_of(reading, data, image, protocol.crops, what, shared=True):
            logits = [
                finite_logits(machine, net, as_input(machine.images(x), reading.network))
                for x in crops.flatten(0, 1).split(reading.batch)
            ]
            chances = torch.cat(logits).softmax(dim=1).unflatten(0, crops.shape[:2]).mean(dim=1)
            found.append([part.numpy() for part in chances.cpu().max(dim=1)])
    every = [batch for turn in zip_longest(*all_gather(found)) for batch in turn if batch]
    chance, label = (np.concatenate(part) for part in zip(*every, strict=True))
    return label, chance


@dataclass(frozen=True)
class Evaluation:
    """Scores against labels (None without labels) and agreement with the teacher (None without)."""

    images: int
    truth: Scores | ImageScores | None
    agreement: Scores | ImageScores | None
    confusion: list[list[int]] | None
    """Rows are true classes, columns predictions, the last one void of networks that have it; None
    without labels, or with more than MATRIX classes."""
    void: float | None = None
    """Percent of the labels' pixels that count nowhere; None without labels a pixel."""
    per_image: dict[str, float] = field(default_factory=dict)
    """mIoU of each image by its name, in order, over the classes that it or its prediction has; {}
    without labels a pixel."""
    loss: float | None = None
    """Mean cross-entropy over all labelled pixels, in nats, without any penalty, of whole images
    whatever the protocol; NaN without any such pixel, None where nobody asked."""


def evaluate_networks(
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
    teacher: nn.Module | None = None,
    loss: bool = False,
) -> Evaluation:
    """Scores of a network on a data set, at the labels' own size; all processes of a run share the
    work.

    Args:
        machine: the device and the precision.
        net: the network that is scored; its train and eval modes are left as they were.
        reading: the size, the batch and the normalisation.
        data: the samples.
        image: `x1` or `x2`, the image that `net` sees.
        teacher: sees x1; its prediction serves as truth for the label-free agreement (pseudo-mIoU)
            on all valid pixels, labelled or not; the agreement of labels where an image has one.
        loss: also the mean cross-entropy, where there is one label a pixel.
    """
    classes = len(data.classes)
    whole = classes <= MATRIX
    count = confusion if whole else tally
    truth = np.zeros((classes, classes + 1) if whole else (3, classes), np.int64)
    agreement, pixels = np.zeros((3, classes), np.int64), np.zeros(1, np.int64)
    lost, measured = np.zeros(2), loss and data.with_labels > 0 and not data.classification
    own: dict[str, float] = {}
    if data.classification:
        found, _ = classify(machine, net, reading, data, image)
        labels = np.array([UNLABELLED if s.label is None else s.label for s in data.samples])
        truth += count(labels, found, classes, UNLABELLED)
        if teacher is not None:
            wanted, _ = classify(machine, teacher, reading.of_teacher, data, "x1")
            agreement += tally(wanted, found, classes, UNLABELLED)
    else:
        fields = [image, "y" + image[1]] + (["x1", "valid"] if teacher is not None else [])
        samples = Whole(data, reading.data, fields, reading.restyle)
        with shared_errors(), eval_mode(net):
            for group in groups(samples, reading, "evaluate", shared=True):
                masks = {i: np.asarray(x["y"]) for i, x in enumerate(group) if "y" in x}
                logits = None
                if measured:
                    logits = whole_logits(machine, net, reading.network, stack(group, image))
                    lost += summed_loss(logits[[*masks]], [*masks.values()], classes)
                found = predicted(machine, net, reading, group, image, logits)
                for i, mask in masks.items():
                    counted = count(mask, found[i], classes)
                    scored = scores_of(per_class(counted) if whole else counted)
                    own[group[i]["name"]] = scored.miou
                    truth += counted
                    pixels += mask.size
                if teacher is not None:
                    wanted = predicted(machine, teacher, reading.of_teacher, group, "x1")
                    for item, expected in zip(group, wanted, strict=True):
                        if "valid" in item:
                            expected[np.asarray(item["valid"]) == 0] = void_of(classes)
                    agreement += tally(wanted, found, classes)
        summed = (all_sum(torch.from_numpy(m)).numpy() for m in (truth, agreement, pixels, lost))
        truth, agreement, pixels, lost = summed
    own = {name: value for part in all_gather(own) for name, value in part.items()}
    score = image_scores if data.classification else scores_of
    counts = per_class(truth) if whole else truth
    matrix = truth[:, : classes + reading.network.void]
    return Evaluation(
        images=len(data.samples),
        truth=score(counts) if data.with_labels else None,
        agreement=score(agreement) if teacher is not None else None,
        confusion=matrix.tolist() if data.with_labels and whole else None,
        void=float(100 * (1 - counts[1].sum() / pixels[0])) if pixels[0] else None,
        per_image={s.name: own[s.name] for s in data.samples if s.name in own},
        loss=float(lost[0] / lost[1] if lost[1] else nan) if measured else None,
    )


def headline(found: Evaluation) -> dict[str, float]:
    """The numbers that matter, flat."""
    names = ("miou", "top1", "class_accuracy", "pixel_accuracy")
    numbers = {k: getattr(found.truth, k) for k in names if hasattr(found.truth, k)}
    if found.agreement is not None:
        main = "top1" if isinstance(found.agreement, ImageScores) else "miou"
        numbers[f"agreement_{main}"] = getattr(found.agreement, main)
    return numbers
