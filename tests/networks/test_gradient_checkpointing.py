"""Gradient checkpointing: the same training, with less kept between the passes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import adapting, curve, refused, same, teaching
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks.gradient_checkpointing import blocks, recomputed
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig
from adapt.training.train import train


@pytest.mark.parametrize("kind", ["supervised", "pool5", "averaged"])
def test_losses_and_weights_are_the_same_bit_for_bit(
    world: Path, tmp_path: Path, kind: str
) -> None:

    def configured(run: Path, **changes: object):
        if kind == "supervised":
            return replace(teaching(world, **changes), run=str(run), bn="train")
        return adapting(world, run, bn="train", ema=0.9 * (kind == "averaged"), **changes)

    train(configured(tmp_path / "without"))
    train(configured(tmp_path / "with", gradient_checkpointing=True))
    assert same(tmp_path / "without", tmp_path / "with")
    losses = [[r["loss"] for r in curve(tmp_path / run)] for run in ("without", "with")]
    assert losses[0] == losses[1] and len(losses[0]) > 1


def kept(net: nn.Module, taps: Sequence[str], again: Sequence[nn.Module]) -> tuple[int, Tensor]:
    """Bytes that a forward pass keeps for the backward pass, blocks' inputs aside; and the gradient
    of the first weight."""
    found = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal found
        found += tensor.nbytes
        return tensor

    torch.manual_seed(0)
    net.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), recomputed(again):
        maps = forward(net, torch.randn(2, 3, 33, 40), taps)
    sum(m.square().mean() for m in maps.values()).backward()
    gradient = next(net.parameters()).grad
    assert gradient is not None
    return found, gradient.clone()


@pytest.mark.parametrize("name", ["deeplab_vgg16", "lraspp_mobilenet_v3_large"])
def test_less_is_kept_and_the_gradient_is_the_same(name: str) -> None:
    width = 0.25 if name == "deeplab_vgg16" else 1.0
    net = build_network(NetworkConfig(name=name, width=width), 5)
    net.train()
    whole, wanted = kept(net, [LOGITS], [])
    less, found = kept(net, [LOGITS], blocks(net, [LOGITS]))
    assert less < 0.5 * whole
    assert torch.equal(found, wanted)


def test_blocks_are_stages_and_bottlenecks() -> None:
    for name, kind, count in (("deeplab_vgg16", nn.Sequential, 5), ("resnet101", Bottleneck, 33)):
        with torch.device("meta"):
            net = build_network(NetworkConfig(name=name), 5)
        assert [type(block) for block in blocks(net, [LOGITS])] == [kind] * count
    with torch.device("meta"), pytest.raises(InputError, match="FCNVGG16 has no module of 2 to 6"):
        blocks(build_network(NetworkConfig(name="fcn8s_vgg16"), 5), ["pool5"])  # one long list


def test_a_block_with_a_tap_inside_is_left_whole() -> None:
    net = build_network(NetworkConfig(width=1 / 32), 5)
    inside, beside = blocks(net, ["conv3.2"]), blocks(net, ["pool3"])
    assert set(beside) - set(inside) == {net.get_submodule("conv3")}
    assert torch.equal(kept(net, ["conv3.2"], inside)[1], kept(net, ["conv3.2"], [])[1])


def test_a_list_of_modules_is_no_block_and_its_members_are() -> None:
    net = nn.Module()
    pair = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)) for _ in range(2)]
    net.parts = nn.ModuleList(pair)
    assert blocks(net, []) == pair


def test_forwards_are_put_back_even_one_that_was_put_on_an_instance() -> None:
    net = build_network(NetworkConfig(width=1 / 32), 5)
    own = net.conv1.forward
    net.conv1.forward = own
    with recomputed(blocks(net, ["pool5"])):
        assert "forward" in vars(net.conv2)
    assert vars(net.conv1)["forward"] is own
    assert "forward" not in vars(net.conv2)


def test_a_network_without_blocks_is_refused_before_anything_is_written(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapt.networks.gradient_checkpointing.SIZES", range(20, 30))
    refused(
        adapting(world, tmp_path / "run", gradient_checkpointing=True),
        "gradient_checkpointing: DeepLabVGG16 has no module of",
    )
