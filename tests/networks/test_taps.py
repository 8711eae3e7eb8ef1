"""Taps on networks of two lines, and what stands beside them in adapt.networks.taps."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.taps import LOGITS, forward, logits_of, upsample


class AddInPlace(nn.Module):
    """A residual connection written with `+=`, as torchvision's ResNets have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 1), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        return self.last(y)


def test_in_place_addition_is_noticed_with_and_without_gradient() -> None:
    net, x = AddInPlace(), torch.ones(1, 3, 4, 4)
    for context in (torch.enable_grad(), torch.no_grad()):
        with context, pytest.raises(InputError, match="'conv' is overwritten"):
            forward(net, x, ["conv", "last"])
    assert torch.equal(forward(net, x, ["conv"])["conv"], net.conv(x))


def test_upsampling_keeps_pixel_centres_where_they_are() -> None:
    """A ramp over cells of 8 pixels stays the same ramp: cell i has its centre at 8 i + 3.5."""
    ramp = (8 * torch.arange(6.0) + 3.5).expand(1, 1, 3, 6)
    found = upsample(ramp, (24, 48))
    # Exact between the outermost centres; there is nothing to interpolate beyond them.
    assert torch.allclose(found[0, 0, 0, 4:44], torch.arange(4.0, 44.0), rtol=0, atol=1e-4)
    assert found.shape == (1, 1, 24, 48)


class Odd(nn.Module):
    """Its output is wrapped, one layer returns a pair, and one is never used."""

    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv, self.unused, self.wrap = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), wrap
        self.pair = nn.MaxPool2d(1, return_indices=True)

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.conv(self.pair(x)[0]))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: z, lambda z: {"aux": z + 1, "out": z}, lambda z: {"mask": z},
        lambda z: {"loss": z.sum(), "logits": z}, lambda z: SimpleNamespace(logits=z),
        lambda z: (z, z + 1), lambda z: [z], lambda z: {"out": [z, z + 1]},
    ],
)  # fmt: skip
def test_logits_are_found_in_every_kind_of_output(wrap: Callable[[Tensor], object]) -> None:
    net, x = Odd(wrap), torch.ones(1, 3, 4, 5)
    maps = forward(net, x, ["conv", LOGITS])
    assert torch.equal(maps[LOGITS], net.conv(x)) and torch.equal(maps["conv"], maps[LOGITS])


@pytest.mark.parametrize(
    ("output", "words"),
    [((), "tuple"), ({"logits": torch.zeros(1)}, "dict of logits"), (None, "NoneType"),
     ({"masks": torch.zeros(1, 2, 3, 4), "classes": torch.zeros(1, 3)}, "dict of masks, classes"),
     (torch.zeros(2, 3, 4), r"tensor \(2, 3, 4\)")],
)  # fmt: skip
def test_other_outputs_are_refused_by_what_they_are(output: object, words: str) -> None:
    with pytest.raises(InputError, match=words + ".*must be logits"):
        logits_of(output)


def test_layers_that_cannot_be_tapped_are_refused() -> None:
    net, x = Odd(lambda z: z), torch.zeros(1, 3, 4, 4)
    with pytest.raises(InputError, match="never reaches unused"):
        forward(net, x, ["conv", "unused"])
    with pytest.raises(InputError, match="'pair' returns no tensor"):
        forward(net, x, ["pair"])
    with pytest.raises(RuntimeError):
        forward(net, x[:, :2], ["conv"])  # two channels
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
