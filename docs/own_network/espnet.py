"""ESPNet (Mehta et al., ECCV 2018, arXiv 1803.06815), which knows nothing of this project.

Written from public descriptions of the paper. The layers have the names that the tensors in the
authors' files have (github.com/sacmehta/ESPNet), so that a file loads as it is.
"""

from collections import OrderedDict
from itertools import accumulate

import torch
from torch import Tensor, nn

RATES = (1, 2, 4, 8, 16)
"""Dilations of the parallel convolutions, 2^(k-1) for k = 1 to K = 5."""
EPSILON = 1e-3
"""Of batch norm. Images come in so small that another one makes another network."""


def named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def conv(inputs: int, out: int, size: int, stride: int = 1, rate: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, out, size, stride, rate * (size // 2), rate, bias=False)


def norm(channels: int) -> nn.Sequential:
    return named(bn=nn.BatchNorm2d(channels, EPSILON), act=nn.PReLU(channels))


def block(inputs: int, out: int, stride: int = 1) -> nn.Sequential:
    return named(conv=conv(inputs, out, 3, stride), **dict(norm(out).named_children()))


def doubling(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)


def halved(image: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(image, 3, stride=2, padding=1)


class ESP(nn.Module):
    """The ESP module: reduce, convolve with all dilations in parallel, add these up one after the
    other (hierarchical feature fusion, which takes the grid out of dilation), concatenate, and add
    the input where it has the same shape. With stride 2 it is a 3x3 convolution that reduces."""

    def __init__(self, inputs: int, out: int, stride: int = 1) -> None:
        super().__init__()
        each = out // len(RATES)
        self.c1 = named(conv=conv(inputs, each, 2 * stride - 1, stride))
        for rate in RATES:
            own = out - each * (len(RATES) - 1) if rate == 1 else each
            self.add_module(f"d{rate}", named(conv=conv(each, own, 3, rate=rate)))
        self.bn, self.act = (norm(out), nn.Identity()) if stride == 1 else norm(out)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.c1(x)
        first, *others = (self.get_submodule(f"d{rate}")(reduced) for rate in RATES)
        merged = torch.cat([first, *accumulate(others)], dim=1)
        return self.act(self.bn(merged + x if merged.shape == x.shape else merged))


class Encoder(nn.Module):
    """ESPNet-C: images -> maps of stride 2 and 4, and of stride 8 one for each output. The image
    itself comes in again, pooled, at strides 2 and 4."""

    def __init__(self, outputs: int, p: int, q: int) -> None:
        super().__init__()
        self.level1 = block(3, 16, stride=2)
        self.b1 = norm(16 + 3)
        self.level2_0 = ESP(16 + 3, 64, stride=2)
        self.level2 = nn.Sequential(*(ESP(64, 64) for _ in range(p)))
        self.b2 = norm(64 + 64 + 3)
        self.level3_0 = ESP(64 + 64 + 3, 128, stride=2)
        self.level3 = nn.Sequential(*(ESP(128, 128) for _ in range(q)))
        self.b3 = norm(128 + 128)
        self.classifier = named(conv=conv(128 + 128, outputs, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        half = halved(image)
        first = self.level1(image)
        one = self.b1(torch.cat([first, half], dim=1))
        down = self.level2_0(one)
        two = self.b2(torch.cat([self.level2(down), down, halved(half)], dim=1))
        down = self.level3_0(two)
        three = self.b3(torch.cat([down, self.level3(down)], dim=1))
        return first, one, two, self.classifier(three)


class ESPNet(nn.Module):
    """Images (B, 3, H, W) -> logits (B, outputs, H, W); H and W are multiples of 8.

    The decoder reduces the encoder's maps of strides 4 and 2 and merges them with what it has
    upsampled, with as many channels as there are outputs. At stride 2 these maps have the image
    itself among them (`image`), or not.
    """

    def __init__(self, outputs: int, p: int, q: int, image: bool) -> None:
        super().__init__()
        self.image = image
        self.encoder = Encoder(outputs, p, q)
        self.br = nn.BatchNorm2d(outputs, EPSILON)
        self.up_l3 = nn.Sequential(doubling(outputs))
        self.level3_C = named(conv=conv(64 + 64 + 3, outputs, 1))
        self.combine_l2_l3 = nn.Sequential(norm(2 * outputs), ESP(2 * outputs, outputs))
        self.up_l2 = nn.Sequential(doubling(outputs), norm(outputs))
        self.conv = block(outputs + (16 + 3 if image else 16), outputs)
        self.classifier = doubling(outputs)

    def forward(self, image: Tensor) -> Tensor:
        scaled = image / 255  # the authors divide once more, after the standard deviation
        first, one, two, three = self.encoder(scaled)
        up = self.up_l3(self.br(three))
        up = self.up_l2(self.combine_l2_l3(torch.cat([self.level3_C(two), up], dim=1)))
        return self.classifier(self.conv(torch.cat([up, one if self.image else first], dim=1)))


def espnet(classes: int, p: int = 2, q: int = 8, image: bool = True) -> nn.Module:
    """p ESP modules at stride 4 and q at stride 8; 2 and 8 are those of the authors' files, of
    which the one for Cityscapes has image=False."""
    return ESPNet(classes, p, q, image)
