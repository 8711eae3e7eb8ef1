"""DeepLab v2 on ResNet and the dilated ResNet below it (Chen, Papandreou, Kokkinos, Murphy and
Yuille, TPAMI 2018; He et al. 2016). Without their CRF and without fused input scales."""

from torch import Tensor, nn

RATES = (6, 12, 18, 24)
"""Dilations of the parallel classifiers, "ASPP-L" (section 3.2)."""
CHANNELS = 2048


def dilated_backbone(depth: int) -> nn.Module:
    """torchvision's ResNet of 50 or 101 layers, its last two stages dilated: output stride 8."""
    from torchvision.models import get_model
    from torchvision.models._utils import IntermediateLayerGetter

    dilated = [False, True, True]
    layers = get_model(f"resnet{depth}", weights=None, replace_stride_with_dilation=dilated)
    return IntermediateLayerGetter(layers, {"layer4": "out"})


def start_small(layers: nn.Module) -> None:
    """Normal weights of deviation 0.01 and no bias, as the authors' new layers have."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class DilatedResNet(nn.Module):
    """A ResNet without its global pooling: a linear classifier on every cell of the last stage.

    Args:
        num_classes: channels of the output.
        depth: 50 or 101 layers of the backbone.
    """

    head_at = "classifier"
    """Where the network can have several heads, side by side."""

    def __init__(self, num_classes: int, depth: int = 101) -> None:
        super().__init__()
        self.backbone = dilated_backbone(depth)
        self.classifier = self.new_classifier(num_classes)
        start_small(self.classifier)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return nn.Conv2d(CHANNELS, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8))."""
        return self.classifier(self.backbone(x)["out"])


class DeepLabV2(DilatedResNet):
    """The sum of four 3x3 classifiers of other dilations on the same ResNet."""

    head_at = ""

    def new_classifier(self, num_classes: int) -> nn.Module:
        return nn.ModuleList(
            nn.Conv2d(CHANNELS, num_classes, 3, padding=rate, dilation=rate) for rate in RATES
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8))."""
        x = self.backbone(x)["out"]
        first, *others = (branch(x) for branch in self.classifier.children())
        return sum(others, start=first)
