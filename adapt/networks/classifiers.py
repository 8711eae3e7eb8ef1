"""torchvision's networks that label whole images: (B, 3, H, W) -> logits (B, C)."""

import torchvision
from torch import nn
from torchvision.models import get_model, list_models

AUXILIARY = ("googlenet", "inception_v3")
"""Left out: they have further classifiers inside, and weights for another normalisation."""
CLASSIFIERS = tuple(n for n in list_models(module=torchvision.models) if n not in AUXILIARY)
RESIDUAL = ("resnet", "resnext", "wide_resnet")


def classifier(name: str, classes: int) -> tuple[nn.Module, dict[str, str]]:
    """A freshly initialised network of CLASSIFIERS, and its aliases pool1 to pool5 where its
    resolution falls as VGG's and ResNet's do: the poolings, or the stem and the four stages."""
    net = get_model(name, weights=None, num_classes=classes)
    if name.startswith(RESIDUAL):
        return net, {"pool1": "maxpool"} | {f"pool{n + 1}": f"layer{n}" for n in range(1, 5)}
    if name.startswith("vgg"):
        poolings = [n for n, m in net.named_modules() if isinstance(m, nn.MaxPool2d)]
        return net, {f"pool{i}": layer for i, layer in enumerate(poolings, 1)}
    return net, {}
