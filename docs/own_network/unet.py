"""A small U-Net (Ronneberger, Fischer, Brox 2015) that knows nothing of this project."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def double(inputs: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Images (B, 3, H, W) -> logits (B, num_classes, H, W); H and W are multiples of 16."""

    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *sizes], sizes, strict=False))
        self.pool = nn.ModuleList(nn.MaxPool2d(2) for _ in range(4))
        ups = [(b, a) for a, b in pairwise(sizes)][::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for b, a in ups)
        self.merge = nn.ModuleList(double(2 * a, a) for _, a in ups)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, pool in zip(self.down, self.pool, strict=False):
            x = level(x)
            skips.append(x)
            x = pool(x)
        x = self.down[-1](x)
        for up, merge, skip in zip(self.up, self.merge, skips[::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return self.head(x)


def unet() -> nn.Module:
    """CamVid's eleven classes."""
    return UNet(11)
