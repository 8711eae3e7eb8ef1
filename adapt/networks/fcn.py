"""Fully convolutional networks (Long, Shelhamer, Darrell 2015): FCN-32s, 16s and 8s on VGG-16, and
FCN-32s on AlexNet (Krizhevsky et al. 2012) and ResNet-18 (He et al. 2016)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""VGG-16's channels and number of 3x3 convolutions before each pooling."""
TAPS = {
    "alexnet": {f"pool{n}": f"features.{i}" for n, i in enumerate((1, 2, 5, 11, 12), 1)},
    "resnet18": {"pool1": "maxpool"} | {f"pool{n + 1}": f"layer{n}" for n in range(1, 5)},
}
"""AlexNet has three poolings, pool2, pool3 and pool5; pool1 is the first convolution, pool4 the
last. ResNet's are the stem's pooling and the ends of the four stages."""


class Upsampling(nn.ConvTranspose2d):
    """A transposed convolution that enlarges maps by a factor, bilinearly until it has learnt
    something else: (B, C, h, w) -> (B, C, factor h, factor w)."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(
            channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False
        )
        ramp = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor
        every = range(channels)
        nn.init.zeros_(self.weight)
        self.weight.data[every, every] = torch.outer(ramp, ramp)


def initialise(net: nn.Module, scores: list[nn.Conv2d]) -> None:
    """He et al. 2015 for hidden convolutions; scores zero, as the paper has them."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for score in scores:
        nn.init.zeros_(score.weight)


def fully_connected(inputs: int, out: int, kernel: int = 1, padding: int = 0) -> nn.Sequential:
    """A fully connected layer as a convolution, with ReLU and dropout."""
    conv = nn.Conv2d(inputs, out, kernel, padding=padding)
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.Dropout())


class FCNVGG16(nn.Module):
    """VGG-16's convolutions under torchvision's names, fc6 (7x7) and fc7 (1x1) as convolutions, and
    class scores that are fused with those of pool4 (16s) and pool3 (8s).

    Pools round up and fc6 keeps its size (the paper pads the image by 100 pixels and crops), so a
    map at stride s has ceil(n / s) cells for n pixels. The last upsampling is bilinear and left to
    whoever compares with labels, as for the other networks, unless it is `learnt`.

    Args:
        num_classes: channels of the output.
        stride: 32, 16 or 8: pixels a cell of the scores.
        width: multiplier of all hidden channel counts.
        batch_norm: batch normalisation in VGG's stages (torchvision's vgg16_bn).
        learnt: bring the scores to the image's size by a transposed convolution that trains.
    """

    def __init__(
        self,
        num_classes: int,
        stride: int,
        width: float = 1.0,
        batch_norm: bool = False,
        learnt: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, channels = 3, [max(1, round(wanted * width)) for wanted, _ in STAGES]
        for out, (_, depth) in zip(channels, STAGES, strict=True):
            for _ in range(depth):
                norm = [nn.BatchNorm2d(out)] if batch_norm else []
                layers += [nn.Conv2d(inputs, out, 3, padding=1), *norm, nn.ReLU(inplace=True)]
                inputs = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pools = [i for i, m in enumerate(layers) if isinstance(m, nn.MaxPool2d)]
        self.aliases = {f"pool{n}": f"features.{i}" for n, i in enumerate(self.pools, 1)}
        hidden = max(1, round(4096 * width))
        self.fc6 = fully_connected(channels[-1], hidden, 7, padding=3)
        self.fc7 = fully_connected(hidden, hidden)
        self.score = nn.Conv2d(hidden, num_classes, 1)
        skips = {32: [], 16: [4], 8: [4, 3]}[stride]
        scores = [nn.Conv2d(channels[n - 1], num_classes, 1) for n in skips]
        doubling = [Upsampling(num_classes, 2) for _ in skips]
        self.skips = nn.ModuleDict({f"pool{n}": s for n, s in zip(skips, scores, strict=True)})
        self.upscore = nn.ModuleDict({f"pool{n}": d for n, d in zip(skips, doubling, strict=True)})
        self.upsampling = Upsampling(num_classes, stride) if learnt else None
        initialise(self, [self.score, *scores])

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / s), ceil(W / s)), or
        (B, num_classes, H, W) where the upsampling is learnt."""
        height, width = x.shape[2:]
        pooled: dict[str, Tensor] = {}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.pools:
                pooled[f"pool{self.pools.index(place) + 1}"] = x
        x = self.score(self.fc7(self.fc6(x)))
        for name, skip in self.skips.items():
            finer = skip(pooled[name])
            x = self.upscore[name](x)[..., : finer.shape[2], : finer.shape[3]] + finer
        return x if self.upsampling is None else self.upsampling(x)[..., :height, :width]


def alexnet(width: float) -> tuple[nn.Module, int]:
    """AlexNet up to fc7 under torchvision's names, and its channels; fc6 is 6x6. The first
    convolution and the pools are padded so that they round up."""
    out = [max(1, round(channels * width)) for channels in (64, 192, 384, 256, 256, 4096)]

    def relu() -> nn.Module:
        return nn.ReLU(inplace=True)

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, stride=2, padding=1)

    features = nn.Sequential(
        nn.Conv2d(3, out[0], 11, stride=4, padding=5), relu(), pool(),
        nn.Conv2d(out[0], out[1], 5, padding=2), relu(), pool(),
        nn.Conv2d(out[1], out[2], 3, padding=1), relu(),
        nn.Conv2d(out[2], out[3], 3, padding=1), relu(),
        nn.Conv2d(out[3], out[4], 3, padding=1), relu(), pool(),
        nn.ZeroPad2d((2, 3, 2, 3)),  # so that fc6 keeps the size
    )  # fmt: skip
    fc6, fc7 = fully_connected(out[4], out[5], 6), fully_connected(out[5], out[5])
    return nn.Sequential(OrderedDict(features=features, fc6=fc6, fc7=fc7)), out[5]


def resnet18() -> tuple[nn.Module, int]:
    """torchvision's ResNet-18 without its global pooling and classifier, and its channels."""
    from torchvision.models import get_model

    *layers, _, _ = get_model("resnet18", weights=None).named_children()
    return nn.Sequential(OrderedDict(layers)), 512


class FCN32s(nn.Module):
    """A network up to its stride of 32, a linear classifier on each cell, and a learnt upsampling
    to the image's size; what is over of the last cells is cropped.

    Args:
        num_classes: channels of the output.
        backbone: `alexnet` or `resnet18`.
        width: AlexNet's: multiplier of all hidden channel counts.
    """

    def __init__(self, num_classes: int, backbone: str, width: float = 1.0) -> None:
        super().__init__()
        self.backbone, channels = alexnet(width) if backbone == "alexnet" else resnet18()
        self.score = nn.Conv2d(channels, num_classes, 1)
        self.upsampling = Upsampling(num_classes, 32)
        self.aliases = {tap: f"backbone.{layer}" for tap, layer in TAPS[backbone].items()}
        initialise(self, [self.score])

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, H, W)."""
        return self.upsampling(self.score(self.backbone(x)))[..., : x.shape[2], : x.shape[3]]
