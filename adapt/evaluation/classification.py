"""One label an image: crops of it, averaged probabilities, predictions for a whole data set."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from adapt.data import DataSet
from adapt.data.sampling import Decoder, loading, tensor, unwrapped
from adapt.errors import InputError
from adapt.evaluation.protocol import finite_logits
from adapt.evaluation.restyle import Restyle
from adapt.machine.runtime import Runtime, progress
from adapt.networks.taps import normalise
from adapt.settings.groups import DataConfig, NetworkConfig, ProtocolConfig

UNLABELLED = -1
"""A label that scores do not count; unlike IGNORE it is never a class's index."""


def views(image: np.ndarray, crop: list[int], count: int) -> list[np.ndarray]:
    """1 or 10 crops of an image (H, W, 3): the centre; or the centre and the four corners, then the
    same mirrored (Krizhevsky et al. 2012). Without a crop, the image itself.

    Raises:
        InputError: an image smaller than the crop, or 10 crops without their size.
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
    return cut + [cv2.flip(part, 1) for part in cut] if count > 1 else cut


class Views(Dataset[Tensor]):
    """The crops of every image once, in order: uint8 (crops, 3, h, w)."""

    def __init__(
        self,
        data: DataSet,
        config: DataConfig,
        image: str,
        count: int = 1,
        restyle: Restyle | None = None,
    ) -> None:
        self.decode = Decoder(data, config, [image])
        self.samples, self.image, self.crop, self.count = data.samples, image, config.crop, count
        self.restyle = restyle if image == "x2" else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        sample = self.samples[index]
        shown = self.decode(sample)[self.image]
        if self.restyle is not None:
            shown = self.restyle(shown)
        try:
            cut = views(shown, self.crop, self.count)
        except InputError as error:
            raise InputError(f"sample {sample.name}: {error}") from None
        return torch.stack([tensor(part) for part in cut])


def loader(source: Dataset[Any], config: DataConfig, batch: int, workers: int) -> DataLoader:
    """Batches of a data set whose images have one size after cropping, else one image at a time."""
    together = batch if config.crop or len(config.resize) == 2 else 1
    return loading(source, workers, batch_size=together)


def probabilities(
    machine: Runtime, net: nn.Module, network: NetworkConfig, shown: Tensor, batch: int
) -> Tensor:
    """uint8 crops (B, K, 3, h, w) -> class probabilities (B, C), averaged over the K crops; at most
    `batch` crops go through the network together."""
    parts = shown.flatten(0, 1).split(batch)
    logits = [
        finite_logits(machine, net, normalise(machine.images(part), network.mean, network.std))
        for part in parts
    ]
    return torch.cat(logits).softmax(dim=1).unflatten(0, shown.shape[:2]).mean(dim=1)


def check_protocol(protocol: ProtocolConfig) -> None:
    """Raises InputError for what is for pixels only."""
    if protocol.window or protocol.flip or protocol.scales != [1.0]:
        raise InputError(
            f"protocol {protocol.tag} is for segmentation; images as a whole have protocol.crops=10"
        )


def classify(
    machine: Runtime,
    net: nn.Module,
    network: NetworkConfig,
    source: Views,
    config: DataConfig,
    batch: int,
    workers: int,
    what: str = "evaluate",
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted class, int64 (N,), and its probability, float32 (N,), of every image in order."""
    batches = loader(source, config, batch, workers)
    found = [
        probabilities(machine, net, network, shown, batch).cpu()
        for shown in progress(unwrapped(batches), what=what, total=len(batches))
    ]
    chance, label = torch.cat(found).max(dim=1)
    return label.numpy(), chance.numpy()


def labels_of(data: DataSet) -> np.ndarray:
    """int64 (N,); UNLABELLED where there is none."""
    return np.array([UNLABELLED if s.label is None else s.label for s in data.samples], np.int64)
