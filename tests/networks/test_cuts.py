"""A network continued from a layer, and which layers separate its output from the image."""

import pytest
import torch
from torch import nn

from adapt.errors import InputError
from adapt.networks.cuts import check_cuts, obstacle, run_from
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.fcn import FCNVGG16
from adapt.networks.layers import trace
from adapt.networks.taps import forward

SIZE = (17, 25)


class Skipped(nn.Module):
    """A U-Net of two levels, and a layer that only hands a list on."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.both, self.up, self.head = Both(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.down(x)
        deep, fine = self.both(self.deep(fine), fine)
        fused = torch.cat([self.up(deep)[..., : fine.shape[2], : fine.shape[3]], fine], 1)
        return self.head(fused)


class Both(nn.Module):
    def forward(self, *maps: torch.Tensor) -> list[torch.Tensor]:
        return list(maps)


def test_the_continued_network_is_its_later_layers() -> None:
    """The gradient reaches the map; another size is brought to the layer's own; hooks are gone."""
    net = DeepLabVGG16(5, width=1 / 16).eval().requires_grad_(False)
    image = torch.randn(1, 3, *SIZE)
    maps = torch.randn(2, 16, 3, 4, requires_grad=True)
    found = run_from(net, "pool3", maps, image)
    later = nn.Sequential(net.conv4, net.pool4, net.conv5, net.pool5, net.fc6, net.fc7)
    wanted = net.classifier(later(maps))
    assert torch.equal(found, wanted)
    (gradient,) = torch.autograd.grad(found.square().sum(), maps)
    assert torch.equal(gradient, torch.autograd.grad(wanted.square().sum(), maps)[0])
    small = maps[..., :2]
    resized = nn.functional.interpolate(small, (3, 4), mode="bilinear")
    assert torch.equal(run_from(net, "pool3", small, image), net.classifier(later(resized)))
    assert torch.equal(forward(net, image, ["logits"])["logits"], net(image))


@pytest.mark.parametrize(
    ("net", "cuts", "message"),
    [
        (DeepLabVGG16(3, width=1 / 16), {f"pool{n}": True for n in range(1, 6)}, ""),
        (FCNVGG16(3, 8, width=1 / 16), {f"pool{n}": n < 4 for n in range(1, 6)},
         "from pool4 alone: the output depends on what passes it by, too. It can be from pool1, .*"
         "pool3$"),
        (Skipped(), {"down": True, "deep": False, "both.0": False},
         "from deep alone: the output depends .* It can be from down, head$"),
    ],
    ids=["deeplab", "fcn8s", "unet"],
)  # fmt: skip
def test_a_cut_separates_the_output_from_the_image(
    net: nn.Module, cuts: dict[str, bool], message: str
) -> None:
    """Scores that start at 0 would hide a skip connection; training mode would hide a cut."""
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    layers = trace(net.train(), SIZE)
    named = {name: x for x in layers for name in (x.name, *x.aliases)}
    assert {tap: not obstacle(net, named[tap], SIZE) for tap in cuts} == cuts and net.training
    check_cuts(net, layers, [tap for tap, there in cuts.items() if there], SIZE, "taps")
    if message:
        with pytest.raises(InputError, match=f"taps: the network cannot be continued {message}"):
            check_cuts(net, layers, cuts, SIZE, "taps")
