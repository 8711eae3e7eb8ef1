"""A network continued from one of its layers: another map takes the place of the layer's own."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.batchnorm import eval_mode
from adapt.networks.layers import ELEMENT, NEAR, Layer, check, main_path
from adapt.networks.maps import blank
from adapt.networks.taps import LOGITS, forward, logits_of, resolve, upsample


def run_from(net: nn.Module, tap: str, maps: Tensor, image: Tensor) -> Tensor:
    """T_{>l}(F): the logits of a network in which a layer's output is replaced.

    Gradients reach `maps`. Where the layer is no cut (`obstacle`), the logits depend on the image
    as well.

    Args:
        net: any module.
        tap: the layer l, by name or alias; its output is a map.
        maps: F, (B, C, h, w); another size is brought to that of the layer's own output.
        image: normalised, (1, C, H, W). The layers up to l see it alone, since what they compute
            is replaced.
    """

    def replaced(_: nn.Module, inputs: object, own: Tensor) -> Tensor:
        if maps.shape[2:] == own.shape[2:]:
            return maps
        return upsample(maps, (own.shape[2], own.shape[3]))

    with net.get_submodule(resolve(net, tap)).register_forward_hook(replaced):
        return logits_of(net(image.clone()))


@torch.no_grad()
def obstacle(net: nn.Module, layer: Layer, size: tuple[int, int]) -> str:
    """Why a network cannot be continued from a layer alone; empty = the layer is a cut, which
    separates the output from the image.

    It is tried on noise: with the same map in the layer's place the logits must be the very same
    whether the layers before it see one image or another. A skip connection that passes the layer
    by makes them differ.

    Args:
        net: any module.
        layer: one that can be tapped, as `trace` met it.
        size: (H, W) of the image.
    """
    if layer.type == ELEMENT or layer.shape != (1, *layer.map):
        return "its output is not one map (B, C, h, w), which could be replaced"
    like, noise = blank(net, size), torch.Generator().manual_seed(0)
    images = torch.randn(2, *like.shape[1:], generator=noise).to(like)
    with eval_mode(net):
        maps = forward(net, images[:1], [layer.name])[layer.name]
        one, other = (run_from(net, layer.name, maps, image[None]) for image in images)
    return "" if torch.equal(one, other) else "the output depends on what passes it by, too"


def cuts_of(net: nn.Module, layers: Sequence[Layer], size: tuple[int, int]) -> list[Layer]:
    """The layers of a network's main path, as `trace` met them, from which it can be continued."""
    return [layer for layer in main_path(layers) if not obstacle(net, layer, size)]


def check_cuts(
    net: nn.Module, layers: Sequence[Layer], taps: Iterable[str], size: tuple[int, int], what: str
) -> None:
    """Every tap must be the name or alias of a layer from which the network can be continued.

    Raises:
        InputError: as `check`, or a layer that is no cut; with the reason, and layers that are.
    """
    taps = list(taps)
    check(layers, [*taps, LOGITS], what)
    for tap in taps:
        layer = next(x for x in layers if tap in (x.name, *x.aliases))
        if reason := obstacle(net, layer, size):
            names = [(*x.aliases, x.name)[0] for x in cuts_of(net, layers, size)]
            raise InputError(
                f"{what}: the network cannot be continued from {tap} alone: {reason}. It can be "
                f"from {', '.join(names[-NEAR:]) or 'no layer of its main path'}"
            )
