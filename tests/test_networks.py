"""The contract that every network keeps, and the facts of DeepLab-LargeFOV."""

from pathlib import Path

import pytest
import torch
from torch import nn

from adapt.config import NetworkConfig
from adapt.errors import InputError
from adapt.models import load_model, save_model
from adapt.networks import NETWORKS, build_network
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.taps import LOGITS, forward, normalise

TAPS = {"deeplab_vgg16": ("pool1", "pool2", "pool3", "pool4", "pool5")}
CASES = [(name, norm) for name in NETWORKS for norm in (False, True)]


def make(name: str, norm: bool) -> nn.Module:
    torch.manual_seed(0)
    net = build_network(NetworkConfig(name, width=1 / 32, batch_norm=norm), classes=5)
    with torch.no_grad():  # statistics other than 0 and 1
        net.train()(torch.randn(2, 3, 33, 47))
    return net.eval()


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.parametrize("size", [(33, 47), (40, 64), (9, 100)])
def test_truncation_at_every_tap_equals_the_full_pass(
    name: str, norm: bool, size: tuple[int, int]
) -> None:
    net, x = make(name, norm), torch.randn(2, 3, *size)
    with torch.no_grad():
        full = forward(net, x, [*TAPS[name], LOGITS])
        assert torch.equal(full[LOGITS], net(x))
        for tap in TAPS[name]:
            assert torch.equal(forward(net, x, [tap])[tap], full[tap])


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_nothing_behind_the_tap_runs_moves_or_gets_a_gradient(name: str, norm: bool) -> None:
    net = make(name, norm).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    tap = TAPS[name][2]
    ran: list[str] = []
    for label, module in net.named_modules():
        module.register_forward_pre_hook(lambda m, i, label=label: ran.append(label))
    forward(net, torch.randn(2, 3, 33, 47), [tap])[tap].sum().backward()
    order = [label for label, _ in net.named_modules()]
    behind = set(order[order.index(tap) + 1 :])
    assert not behind & set(ran)
    for key, value in net.state_dict().items():
        if key.rsplit(".", 1)[0] in behind:
            assert torch.equal(value, before[key]), key
    for key, parameter in net.named_parameters():
        assert (parameter.grad is None) == (key.rsplit(".", 1)[0] in behind), key


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_saved_network_is_the_same_network(name: str, norm: bool, tmp_path: Path) -> None:
    net = make(name, norm)
    config = NetworkConfig(name, width=1 / 32, batch_norm=norm)
    save_model(tmp_path, net, config, tuple("abcde"))
    loaded = load_model(tmp_path)
    x = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        assert torch.equal(loaded.net.eval()(x), net(x))
    assert (loaded.network, loaded.classes) == (config, tuple("abcde"))


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (321, 9)])
def test_deeplab_cells_are_an_eighth_rounded_up(size: tuple[int, int]) -> None:
    net, x = make("deeplab_vgg16", True), torch.randn(1, 3, *size)
    with torch.no_grad():
        maps = forward(net, x, [*TAPS["deeplab_vgg16"], LOGITS])
    for tap, stride in zip((*TAPS["deeplab_vgg16"], LOGITS), (2, 4, 8, 8, 8, 8), strict=True):
        assert tuple(maps[tap].shape[-2:]) == tuple(-(-n // stride) for n in size)


def test_deeplab_has_the_published_number_of_parameters() -> None:
    """VGG-16's 13 convolutions (14,714,688), fc6 3x3x512x1024, fc7 1024x1024, classifier."""
    expected = 14_714_688 + (9 * 512 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 21 + 21)
    assert sum(p.numel() for p in DeepLabVGG16(21).parameters()) == expected


def test_deeplab_field_of_view() -> None:
    """fc6 sees 3x3 cells 12 apart, conv5 is dilated by 2, pool4 and pool5 keep the stride."""
    net = DeepLabVGG16(21, width=1 / 32)
    assert net.fc6[0].dilation == (12, 12)
    assert {m.dilation for m in net.conv5 if isinstance(m, nn.Conv2d)} == {(2, 2)}
    assert [net.get_submodule(f"pool{i}").stride for i in range(1, 6)] == [2, 2, 2, 1, 1]


def test_he_initialisation_keeps_the_variance() -> None:
    torch.manual_seed(0)
    net = DeepLabVGG16(21)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and name != "classifier":
            fan_in = module.weight[0].numel()
            measured = float(module.weight.detach().var()) * fan_in / 2
            assert measured == pytest.approx(1, rel=0.1)  # sampling error of 1,728 draws


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.conv(x)))


def test_overwritten_tap_is_refused_and_no_hook_stays() -> None:
    net = InPlace()
    with pytest.raises(InputError, match="'conv' is overwritten in place"):
        forward(net, torch.randn(1, 3, 8, 8), ["conv", "head"])
    assert not any(m._forward_hooks for m in net.modules())
    forward(net, torch.randn(1, 3, 8, 8), ["relu", "head"])


def test_wrong_taps_are_named_with_the_choices() -> None:
    net = InPlace()
    with pytest.raises(InputError, match=r"'cnov'.*Did you mean 'conv'.*relu"):
        forward(net, torch.randn(1, 3, 8, 8), ["cnov"])
    with pytest.raises(InputError, match="never reaches unused"):
        forward(net, torch.randn(1, 3, 8, 8), ["unused"])
    with pytest.raises(InputError, match="Did you mean 'deeplab_vgg16'"):
        build_network(NetworkConfig("deeplab_vgg"), 3)


def test_normalise_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalise(images, (0.5, 0.1, 0.0), (0.5, 0.2, 4.0)).flatten()
    assert torch.allclose(found, torch.tensor([-1.0, 0.5, 0.25]))
    assert images.flatten().tolist() == [0, 51, 255]
