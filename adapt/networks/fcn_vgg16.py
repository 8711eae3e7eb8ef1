"""Fully convolutional networks on VGG-16: FCN-32s, 16s and 8s (Long, Shelhamer, Darrell 2015)."""

import torch
from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3x3 convolutions before each pooling."""


class FCNVGG16(nn.Module):
    """VGG-16's convolutions under torchvision's names, fc6 (7x7) and fc7 (1x1) as convolutions, and
    class scores that are fused with those of pool4 (16s) and pool3 (8s).

    Pools round up and fc6 keeps its size (the paper pads the image by 100 pixels and crops), so a
    map at stride s has ceil(n / s) cells for n pixels. The paper's last upsampling is bilinear and
    fixed; it is left to whoever compares with labels, as for the other networks.

    Args:
        num_classes: channels of the output.
        stride: 32, 16 or 8: pixels a cell of the output.
        width: multiplier of all hidden channel counts.
        batch_norm: batch normalisation in VGG's stages (torchvision's vgg16_bn).
    """

    def __init__(
        self, num_classes: int, stride: int, width: float = 1.0, batch_norm: bool = False
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
        self.fc6 = nn.Sequential(
            nn.Conv2d(channels[-1], hidden, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout()
        )
        self.fc7 = nn.Sequential(nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout())
        self.score = nn.Conv2d(hidden, num_classes, 1)
        skips = {32: [], 16: [4], 8: [4, 3]}[stride]
        scores = [nn.Conv2d(channels[n - 1], num_classes, 1) for n in skips]
        doubling = [
            nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, padding=1, bias=False)
            for _ in skips
        ]
        self.skips = nn.ModuleDict({f"pool{n}": s for n, s in zip(skips, scores, strict=True)})
        self.upscore = nn.ModuleDict({f"pool{n}": d for n, d in zip(skips, doubling, strict=True)})
        self._initialise([self.score, *scores], doubling)

    def _initialise(self, scores: list[nn.Conv2d], doubling: list[nn.ConvTranspose2d]) -> None:
        """He et al. 2015 for hidden layers; scores zero and upsampling bilinear, as the paper."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for score in scores:
            nn.init.zeros_(score.weight)
        ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for layer in doubling:
            channels = range(layer.in_channels)
            nn.init.zeros_(layer.weight)
            layer.weight.data[channels, channels] = torch.outer(ramp, ramp)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / s), ceil(W / s))."""
        pooled: dict[str, Tensor] = {}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.pools:
                pooled[f"pool{self.pools.index(place) + 1}"] = x
        x = self.score(self.fc7(self.fc6(x)))
        for name, skip in self.skips.items():
            finer = skip(pooled[name])
            x = self.upscore[name](x)[..., : finer.shape[2], : finer.shape[3]] + finer
        return x
