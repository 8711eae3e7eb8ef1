"""Stacked U-Nets, SUNet-64 (Shah, Ghosh, Davis, Goldstein 2018), with the de-gridding head of Dai's
thesis (2018, section 4.3).

The thesis's Table 4.1 says 6.8 million parameters and prints block 4 four times and maps of 56, 28
and 14 cells. The weights of the public ImageNet network, 6,910,248, are those of one module in
block 4, of depth 1; an image of 512 x 512 has 64, 32 and 16 cells there; and the head brings the
network to 12,976,981 for 21 classes.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

BLOCKS = ((256, 2, 2), (512, 4, 2), (768, 4, 2), (1024, 1, 1))
"""Channels, number of U-Net modules, and how often each of these halves the resolution."""
HEAD = 512


def activated(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def unit(inputs: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Batch norm, ReLU and a convolution, in this order ("pre-activation")."""
    conv = nn.Conv2d(inputs, out, kernel, stride, padding=kernel // 2)
    return nn.Sequential(*activated(inputs), conv)


class Residual(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, beside a 1x1 convolution."""

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(unit(inputs, out, 3, stride=2), unit(out, out, 3))
        self.shortcut = nn.Conv2d(inputs, out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


class Up(nn.Module):
    """A transposed convolution of stride 2 to the size of another map, and a convolution."""

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.activated = nn.Sequential(*activated(inputs))
        self.enlarge = nn.ConvTranspose2d(inputs, out, 3, stride=2, padding=1)
        self.conv = unit(out, out, 3)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return self.conv(self.enlarge(self.activated(x), output_size=like.shape[2:]))


class UNet(nn.Module):
    """A U-Net between two 1x1 convolutions, beside a shortcut: (B, C, h, w) -> (B, out, h, w). The
    maps inside it are concatenated with those of the same size on the way down, but for the first.

    Args:
        inputs: channels of the input.
        out: channels of the output.
        width: channels inside.
        depth: how often the resolution is halved.
    """

    def __init__(self, inputs: int, out: int, width: int, depth: int) -> None:
        super().__init__()
        self.reduce = unit(inputs, width, 1)
        self.down = nn.ModuleList(
            nn.Sequential(unit(width, width, 3, stride=2), unit(width, width, 3))
            for _ in range(depth)
        )
        self.up = nn.ModuleList(Up(2 * width if level else width, width) for level in range(depth))
        self.expand = unit(width, out, 1)
        self.shortcut = nn.Identity() if inputs == out else nn.Conv2d(inputs, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.reduce(x)]
        for down in self.down:
            maps.append(down(maps[-1]))
        y = maps.pop()
        for level, up in enumerate(self.up):
            y = up(torch.cat([y, maps.pop()], dim=1) if level else y, maps[-1])
        return self.shortcut(x) + self.expand(y)


def backbone(width: float) -> tuple[OrderedDict[str, nn.Module], int]:
    """The layers up to the last maps, (B, 1024, ceil(H / 32), ceil(W / 32)) at width 1, and how
    many channels these have."""

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    layers = OrderedDict[str, nn.Module]()
    layers["stem"] = nn.Conv2d(3, scaled(64), 7, stride=2, padding=3)
    layers["residual"] = Residual(scaled(64), inputs := scaled(128))
    for number, (channels, modules, depth) in enumerate(BLOCKS, 1):
        if number > 1:
            layers[f"transition{number - 1}"] = nn.AvgPool2d(2, ceil_mode=True)
        out = scaled(channels)
        block = [UNet(inputs, out, scaled(64), depth)]
        block += [UNet(out, out, scaled(64), depth) for _ in range(1, modules)]
        layers[f"block{number}"], inputs = nn.Sequential(*block), out
    layers["activated"] = nn.Sequential(*activated(inputs))
    return layers, inputs


def initialise(net: nn.Module) -> None:
    """He et al. 2015."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)


class SUNetClassifier(nn.Sequential):
    """The network for one label an image, whose file `start=backbone:FILE` takes.

    Args:
        num_classes: channels of the output (B, num_classes).
        width: multiplier of all hidden channel counts, 64 in the U-Nets.
    """

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        layers, channels = backbone(width)
        head = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        super().__init__(layers | head | {"fc": nn.Linear(channels, num_classes)})
        initialise(self)


class SUNet(nn.Module):
    """The network for one label a pixel.

    Args:
        num_classes: channels of the output.
        width: multiplier of all hidden channel counts, 64 in the U-Nets.
    """

    head_at = "classifier"
    """Where the network can have several heads, side by side."""

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        layers, channels = backbone(width)
        self.backbone, hidden = nn.Sequential(layers), max(1, round(HEAD * width))
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=2, dilation=2), *activated(hidden),
            nn.Conv2d(hidden, hidden, 3, padding=1), *activated(hidden),
            nn.Conv2d(hidden, num_classes, 1),
        )  # fmt: skip
        places = ("stem", "block1", "block2", "block3", "activated")
        self.aliases = {f"pool{n}": f"backbone.{place}" for n, place in enumerate(places, 1)}
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 32), ceil(W / 32))."""
        return self.classifier(self.backbone(x))
