"""The loss that the supervised term trains with, over a whole data set."""

import numpy as np
import torch
from torch import nn

from adapt.batchnorm import eval_mode
from adapt.data import DataSet
from adapt.distributed import together, total
from adapt.images import IGNORE
from adapt.inference import Reading, Whole, groups, stack
from adapt.protocol import finite_logits
from adapt.runtime import Runtime
from adapt.taps import normalise, upsample


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
    with together(), eval_mode(net):
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
    lost, pixels = total(sums)
    return float(lost / pixels)
