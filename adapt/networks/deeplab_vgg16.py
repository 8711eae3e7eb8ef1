"""DeepLab on VGG-16 (Simonyan & Zisserman 2015): LargeFOV of DeepLab v1 (Chen et al. ICLR 2015) and
ASPP-L of v2 (Chen et al. TPAMI 2018)."""

import torch
from torch import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3x3 convolutions before each pooling."""
RATES = (6, 12, 18, 24)
"""Dilations of ASPP-L's branches (v2, section 4.1.2)."""


class DeepLabVGG16(nn.Module):
    """VGG-16 with pool4 and pool5 at stride 1, conv5 dilated by 2, and fc6/fc7 as convolutions.

    fc6 is 3x3 with dilation 12 ("large field of view") and 1024 channels, as fc7 (1x1). Pools are
    3x3 with padding 1, so the maps of a side of n pixels have ceil(n / 8) cells from pool3 on.
    `pool1` .. `pool5` are the paper's taps.

    Args:
        num_classes: channels of the output.
        width: multiplier of all hidden channel counts.
        batch_norm: batch normalisation after every hidden convolution, which then has no bias.
        pool5a: a 3x3 average pool of stride 1 between pool5 and fc6, as the authors' public network
            has it.
    """

    head_at = "classifier"
    """Where the network can have several heads, side by side."""

    def __init__(
        self,
        num_classes: int,
        width: float = 1.0,
        batch_norm: bool = False,
        pool5a: bool = False,
    ) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        channels = 3
        for number, (wanted, depth) in enumerate(STAGES, 1):
            layers: list[nn.Module] = []
            for _ in range(depth):
                out = max(1, round(wanted * width))
                layers += self._convolution(channels, out, 3, rate=2 if number == 5 else 1)
                channels = out
            pool = nn.MaxPool2d(3, stride=2 if number < 4 else 1, padding=1)
            self.add_module(f"conv{number}", nn.Sequential(*layers))
            self.add_module(f"pool{number}", pool)
        self.pool5a = nn.AvgPool2d(3, stride=1, padding=1) if pool5a else None
        self._add_classifier(channels, max(1, round(1024 * width)), num_classes)
        self._initialise()

    def _add_classifier(self, channels: int, hidden: int, num_classes: int) -> None:
        fc6, fc7 = (
            self._convolution(channels, hidden, 3, rate=12),
            self._convolution(hidden, hidden, 1),
        )
        self.fc6: nn.Module = nn.Sequential(*fc6, nn.Dropout())
        self.fc7: nn.Module = nn.Sequential(*fc7, nn.Dropout())
        self.classifier: nn.Module = nn.Conv2d(hidden, num_classes, 1)

    def _convolution(self, inputs: int, out: int, kernel: int, rate: int = 1) -> list[nn.Module]:
        padding, bias = rate * (kernel // 2), not self.batch_norm
        conv = nn.Conv2d(inputs, out, kernel, padding=padding, dilation=rate, bias=bias)
        norm = [nn.BatchNorm2d(out)] if self.batch_norm else []
        return [conv, *norm, nn.ReLU(inplace=True)]

    def _initialise(self) -> None:
        """He et al. 2015 for hidden convolutions; classifiers as DeepLab, N(0, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in self.classifier.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8))."""
        for number in range(1, 6):
            x = self.get_submodule(f"conv{number}")(x)
            x = self.get_submodule(f"pool{number}")(x)
        return self.classify(x if self.pool5a is None else self.pool5a(x))

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """Maps of pool5 -> logits."""
        return self.classifier(self.fc7(self.fc6(x)))


class DeepLabV2VGG16(DeepLabVGG16):
    """ASPP-L: fc6, fc7 and the classifier four times side by side, fc6 with other dilations; the
    sum of the four outputs. Without the authors' CRF and without fused input scales."""

    head_at = ""

    def _add_classifier(self, channels: int, hidden: int, num_classes: int) -> None:
        def branches(inputs: int, kernel: int, rates: tuple[int, ...]) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(*self._convolution(inputs, hidden, kernel, rate), nn.Dropout())
                for rate in rates
            )

        self.fc6, self.fc7 = branches(channels, 3, RATES), branches(hidden, 1, (1,) * len(RATES))
        self.classifier = nn.ModuleList(nn.Conv2d(hidden, num_classes, 1) for _ in RATES)

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """Maps of pool5 -> logits."""
        layers = (side.children() for side in (self.fc6, self.fc7, self.classifier))
        first, *others = (last(fc7(fc6(x))) for fc6, fc7, last in zip(*layers, strict=True))
        return sum(others, start=first)
