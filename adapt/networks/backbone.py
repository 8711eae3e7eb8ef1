"""What of a network does not depend on how many classes it tells apart."""

import torch
from torch import Tensor, nn

from adapt.errors import listing
from adapt.networks import build_network
from adapt.settings.groups import NetworkConfig

COUNTER = "num_batches_tracked"
"""A buffer of batch norm that older files lack and that nothing here depends on."""
AUXILIARY = "aux_classifier."
"""The head that torchvision's segmentation networks have for training only."""


def head_of(config: NetworkConfig) -> set[str]:
    """Names of the tensors whose shapes depend on the number of classes."""
    place = "cpu" if config.factory else "meta"  # a user's own code may need values
    with torch.device(place):
        two, three = (build_network(config, classes).state_dict() for classes in (2, 3))
    return {k for k, v in two.items() if k not in three or three[k].shape != v.shape}


def has_backbone(weights: dict[str, Tensor], config: NetworkConfig, net: nn.Module) -> bool:
    """Do the weights name every tensor of the network's backbone?"""
    needed = {k for k in net.state_dict() if not k.endswith(COUNTER)} - head_of(config)
    return needed <= weights.keys()


def backbone_of(
    weights: dict[str, Tensor], config: NetworkConfig, net: nn.Module
) -> dict[str, Tensor]:
    """Weights by the network's own names, without those of the head.

    Raises:
        ValueError: a tensor that is missing, too many, or of another shape; or a network without a
            layer that depends on the number of classes.
    """
    own, head = net.state_dict(), head_of(config)
    found = {k: v for k, v in weights.items() if k not in head and not k.startswith(AUXILIARY)}
    wrong = [k for k, v in found.items() if k not in own or own[k].shape != v.shape]
    wrong += [k for k in own if k not in found and k not in head and not k.endswith(COUNTER)]
    if not head:
        wrong = ["no layer depends on the number of classes"]
    if wrong:
        raise ValueError(listing(wrong))
    return found
