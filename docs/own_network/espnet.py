"""ESPNet (Mehta et al., ECCV 2018, arXiv 1803.06815), which knows nothing of this project.

It is written from the paper. Its layers have the names of the tensors in the authors' public files,
which settle what the paper leaves open.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

RATES = (1, 2, 4, 8, 16)
"""Dilations of the parallel convolutions: 2^(k-1) for k = 1 to K = 5 (section 3.1)."""
EPSILON = 1e-3


def named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def conv(inputs: int, out: int, size: int, stride: int = 1, rate: int = 1) -> nn.Conv2d:
    padding = rate * (size // 2)
    return nn.Conv2d(inputs, out, size, stride, padding, rate, bias=False)


def norm(channels: int) -> nn.Sequential:
    return named(bn=nn.BatchNorm2d(channels, EPSILON), act=nn.PReLU(channels))


class ESP(nn.Module):
    """The ESP module (section 3.1): reduce, dilate in parallel, add up hierarchically (section
    3.2), concatenate, add the input where it has the output's shape. With stride 2 a 3x3
    convolution reduces."""

    def __init__(self, inputs: int, out: int, stride: int = 1) -> None:
        super().__init__()
        each = out // len(RATES)
        self.c1 = named(conv=conv(inputs, each, 3 if stride == 2 else 1, stride))
        for rate in RATES:
            own = out - (len(RATES) - 1) * each if rate == 1 else each
            self.add_module(f"d{rate}", named(conv=conv(each, own, 3, rate=rate)))
        if stride == 2:
            self.bn, self.act = norm(out)
        else:
            self.bn, self.act = norm(out), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.c1(x)
        first, *others = (self.get_submodule(f"d{rate}")(reduced) for rate in RATES)
        sums = [others[0]]
        for found in others[1:]:
            sums.append(sums[-1] + found)
        merged = torch.cat([first, *sums], dim=1)
        return self.act(self.bn(merged + x if merged.shape == x.shape else merged))


class Encoder(nn.Module):
    """ESPNet-C (section 3.3): images -> the maps of strides 2 and 4, and those of stride 8 reduced
    to one for each output. The image, pooled, is seen again at each stride."""

    def __init__(self, outputs: int, p: int, q: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.level1 = named(conv=conv(3, 16, 3, 2), **dict(norm(16).named_children()))
        self.b1 = norm(16 + 3)
        self.level2_0 = ESP(16 + 3, 64, stride=2)
        self.level2 = nn.Sequential(*(ESP(64, 64) for _ in range(p)))
        self.b2 = norm(2 * 64 + 3)
        self.level3_0 = ESP(2 * 64 + 3, 128, stride=2)
        self.level3 = nn.Sequential(*(ESP(128, 128) for _ in range(q)))
        self.b3 = norm(2 * 128)
        self.classifier = named(conv=conv(2 * 128, outputs, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.pool(image)
        one = self.b1(torch.cat([self.level1(image), half], dim=1))
        down = self.level2_0(one)
        two = self.b2(torch.cat([self.level2(down), down, self.pool(half)], dim=1))
        down = self.level3_0(two)
        three = self.b3(torch.cat([down, self.level3(down)], dim=1))
        return one, two, self.classifier(three)


class ESPNet(nn.Module):
    """Images (B, 3, H, W) -> logits (B, num_classes, H, W); H and W are multiples of 8.

    The decoder (section 3.3) reduces, upsamples and merges with the encoder's maps, of strides 4
    and 2, in as many channels as there are outputs. These are one more than classes with `void`:
    the authors' files count void as a last class, which is no prediction here.
    """

    def __init__(self, num_classes: int, p: int, q: int, void: bool) -> None:
        super().__init__()
        self.num_classes, outputs = num_classes, num_classes + void
        self.encoder = Encoder(outputs, p, q)
        self.br = nn.BatchNorm2d(outputs, EPSILON)
        self.up_l3 = nn.Sequential(self.double(outputs))
        self.level3_C = named(conv=conv(2 * 64 + 3, outputs, 1))
        self.combine_l2_l3 = nn.Sequential(norm(2 * outputs), ESP(2 * outputs, outputs))
        self.up_l2 = nn.Sequential(self.double(outputs), norm(outputs))
        last = conv(outputs + 16 + 3, outputs, 3)
        self.conv = named(conv=last, **dict(norm(outputs).named_children()))
        self.classifier = self.double(outputs)

    @staticmethod
    def double(channels: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        one, two, three = self.encoder(image / 255)  # the authors divide once more, after the std
        up = self.up_l3(self.br(three))
        up = self.up_l2(self.combine_l2_l3(torch.cat([self.level3_C(two), up], dim=1)))
        logits = self.classifier(self.conv(torch.cat([up, one], dim=1)))
        return logits[:, : self.num_classes]


def espnet(classes: int, p: int = 2, q: int = 8, void: bool = True) -> nn.Module:
    """The network of the authors' files: p ESP modules at stride 4, q at stride 8."""
    return ESPNet(classes, p, q, void)
