"""DeepLab-LargeFOV on VGG-16 (Chen et al. ICLR 2015, TPAMI 2017; Simonyan & Zisserman 2015)."""

import torch
from torch import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3x3 convolutions before each pooling."""


class DeepLabVGG16(nn.Module):
    """VGG-16 with pool4 and pool5 at stride 1, conv5 dilated by 2, and fc6/fc7 as convolutions.

    fc6 is 3x3 with dilation 12 ("large field of view") and 1024 channels, as fc7 (1x1). Pools are
    3x3 with padding 1, so the maps of a side of n pixels have ceil(n / 8) cells from pool3 on.
    `pool1` .. `pool5` are the paper's taps.

    Args:
        num_classes: channels of the output.
        width: multiplier of all hidden channel counts.
        batch_norm: batch normalisation after every hidden convolution, which then has no bias.
    """

    head_at = "classifier"
    """Where the network can have several heads, side by side."""

    def __init__(self, num_classes: int, width: float = 1.0, batch_norm: bool = False) -> None:
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
        hidden = max(1, round(1024 * width))
        self.fc6 = nn.Sequential(*self._convolution(channels, hidden, 3, rate=12), nn.Dropout())
        self.fc7 = nn.Sequential(*self._convolution(hidden, hidden, 1), nn.Dropout())
        self.classifier = nn.Conv2d(hidden, num_classes, 1)
        self._initialise()

    def _convolution(self, inputs: int, out: int, kernel: int, rate: int = 1) -> list[nn.Module]:
        padding, bias = rate * (kernel // 2), not self.batch_norm
        conv = nn.Conv2d(inputs, out, kernel, padding=padding, dilation=rate, bias=bias)
        norm = [nn.BatchNorm2d(out)] if self.batch_norm else []
        return [conv, *norm, nn.ReLU(inplace=True)]

    def _initialise(self) -> None:
        """He et al. 2015 for hidden convolutions; the classifier as DeepLab, N(0, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8))."""
        for number in range(1, 6):
            x = self.get_submodule(f"conv{number}")(x)
            x = self.get_submodule(f"pool{number}")(x)
        return self.classifier(self.fc7(self.fc6(x)))
