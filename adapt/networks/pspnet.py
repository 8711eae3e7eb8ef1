"""Pyramid scene parsing network (Zhao, Shi, Qi, Wang, Jia, CVPR 2017)."""

import torch
from torch import Tensor, nn

BINS = (1, 2, 3, 6)
"""Cells a side of the pyramid's pooled maps (section 3.2)."""


class PyramidPooling(nn.Module):
    """Maps pooled to each of BINS, reduced, upsampled and laid beside the input: (B, 2C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        out = channels // len(BINS)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bins),
                nn.Conv2d(channels, out, 1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
            )
            for bins in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        pooled = [
            nn.functional.interpolate(level(x), size, mode="bilinear", align_corners=False)
            for level in self.levels
        ]
        return torch.cat([x, *pooled], dim=1)


class PSPNet(nn.Module):
    """Pyramid pooling on a ResNet of output stride 8.

    The backbone is torchvision's (one 7x7 convolution as stem where the authors' has three 3x3).

    Args:
        num_classes: channels of the output.
        depth: 50 or 101 layers of the backbone.
        auxiliary: classify the maps of the fourth of the five stages as well (section 3.3).
    """

    head_at = "classifier"
    """Where the network can have several heads, side by side."""

    def __init__(self, num_classes: int, depth: int = 50, auxiliary: bool = False) -> None:
        from torchvision.models import get_model
        from torchvision.models._utils import IntermediateLayerGetter

        super().__init__()
        dilated = [False, True, True]
        layers = get_model(f"resnet{depth}", weights=None, replace_stride_with_dilation=dilated)
        taken = {"layer3": "aux", "layer4": "out"} if auxiliary else {"layer4": "out"}
        self.backbone = IntermediateLayerGetter(layers, taken)
        self.pyramid = PyramidPooling(2048)
        self.classifier = classifier(4096, 512, num_classes)
        self.aux_classifier = classifier(1024, 256, num_classes) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8)); with
        the auxiliary head `out` and `aux` of that size, as torchvision's networks return them."""
        maps = self.backbone(x)
        logits = self.classifier(self.pyramid(maps["out"]))
        if self.aux_classifier is None:
            return logits
        return {"out": logits, "aux": self.aux_classifier(maps["aux"])}


def classifier(channels: int, hidden: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.1),
        nn.Conv2d(hidden, num_classes, 1),
    )
