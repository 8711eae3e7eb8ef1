"""The student's weights averaged over steps (Polyak & Juditsky 1992; Tarvainen & Valpola 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adapt.networks.factory import cut


def averaged(net: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network, one more in memory, whose `update_parameters(net)` moves it:
    average <- d average + (1 - d) current after `count` earlier updates, with
    d = min(decay, (1 + count) / (10 + count)), the warm-up of TensorFlow's
    ExponentialMovingAverage.

    The first update copies, so that the average holds no share of where training began. Batch
    norm's statistics are averaged like the weights: the weights' average does not fit the
    statistics of the last step's network. Integer tensors are copied; values that do not change
    stay bit-equal.
    """

    @torch.no_grad()
    def update(average: Sequence[Tensor], current: Sequence[Tensor], count: int | Tensor) -> None:
        if average[0].is_floating_point():
            rate = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(list(average), list(current), rate)
        else:
            torch._foreach_copy_(list(average), list(current))

    return AveragedModel(cut(net), multi_avg_fn=update, use_buffers=True)
