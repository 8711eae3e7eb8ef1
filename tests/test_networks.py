"""What every network promises to the rest, and the facts of DeepLab-LargeFOV."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapt.batchnorm import batch_norms
from adapt.config import NetworkConfig
from adapt.errors import InputError
from adapt.models import load_model, save_model
from adapt.networks import NETWORKS, build_network
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.taps import LOGITS, check_taps, forward, normalise, upsample

CLASSES = ("one", "two", "three", "four", "five")
SIZES = [(32, 48), (33, 41), (47, 70), (9, 65)]
POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")


def cells(n: int, stride: int) -> int:
    return math.ceil(n / stride)


@pytest.fixture(params=[(n, bn) for n in NETWORKS for bn in (False, True)], ids=str)
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    name, batch_norm = request.param
    return NetworkConfig(name=name, width=1 / 16, batch_norm=batch_norm)


@pytest.fixture
def net(config: NetworkConfig) -> nn.Module:
    torch.manual_seed(0)
    return build_network(config, len(CLASSES))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 33, 41, generator=torch.Generator().manual_seed(1))


def layers(net: nn.Module) -> list[str]:
    """The names of the stages, in the order in which they are computed."""
    return [name for name, _ in net.named_children()]


def full_pass(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Every stage's map from one whole pass, copied when it was made."""
    maps: dict[str, Tensor] = {}
    handles = [
        child.register_forward_hook(lambda m, i, o, name=name: maps.update({name: o.clone()}))
        for name, child in net.named_children()
    ]
    maps[LOGITS] = net(x).clone()
    for handle in handles:
        handle.remove()
    return maps


# The contract


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_logits_have_one_cell_for_8_pixels_rounded_up(
    net: nn.Module, size: tuple[int, int]
) -> None:
    with torch.no_grad():
        logits = net.eval()(torch.zeros(1, 3, *size))
    assert logits.shape == (1, len(CLASSES), cells(size[0], 8), cells(size[1], 8))


def test_every_tap_is_the_full_networks_map_bit_for_bit(net: nn.Module, x: Tensor) -> None:
    net.eval()
    with torch.no_grad():
        wanted = full_pass(net, x)
        for name in layers(net):
            assert torch.equal(forward(net, x, [name])[name], wanted[name]), name
        together = forward(net, x, [*layers(net), LOGITS])
    assert together.keys() == wanted.keys()
    assert all(torch.equal(together[name], wanted[name]) for name in wanted)


def test_nothing_behind_the_tap_runs(net: nn.Module, x: Tensor) -> None:
    ran: list[str] = []
    for name, child in net.named_children():
        child.register_forward_pre_hook(lambda m, i, name=name: ran.append(name))
    for number, name in enumerate(layers(net), 1):
        ran.clear()
        forward(net, x, [layers(net)[0], name])
        assert ran == layers(net)[:number]
    ran.clear()
    forward(net, x, [layers(net)[0], LOGITS])
    assert ran == layers(net)


def test_layers_behind_the_tap_get_no_gradient_and_keep_their_statistics(
    config: NetworkConfig, x: Tensor
) -> None:
    for name in (n for n in layers(build_network(config, 2)) if n.startswith("pool")):
        net = build_network(config, len(CLASSES)).train()
        place = layers(net).index(name)
        before = {k: v.clone() for k, v in net.state_dict().items()}
        forward(net, x, [name])[name].square().sum().backward()
        moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
        front = set(layers(net)[: place + 1])
        for parameter_name, parameter in net.named_parameters():
            inside = parameter_name.split(".")[0] in front
            assert (parameter.grad is not None) == inside, parameter_name
        statistics = {k for k in before if k.endswith(("running_mean", "num_batches_tracked"))}
        assert moved >= {k for k in statistics if k.split(".")[0] in front}
        assert {k.split(".")[0] for k in moved} <= front


def test_a_layer_that_a_later_one_overwrites_is_refused(net: nn.Module, x: Tensor) -> None:
    overwritten = [
        f"{stage}.{i - 1}"
        for stage, child in net.named_children()
        if isinstance(child, nn.Sequential)
        for i, layer in enumerate(child)
        if getattr(layer, "inplace", False)
    ]
    assert overwritten
    for name in overwritten:
        with pytest.raises(InputError, match=rf"'{name}' is overwritten in place"):
            forward(net, x, [name, LOGITS])


def test_unknown_taps_are_refused_with_the_choices(net: nn.Module, x: Tensor) -> None:
    last = layers(net)[-1]
    for refuses in (lambda: forward(net, x, [last[:-1]]), lambda: check_taps(net, [last[:-1]])):
        with pytest.raises(InputError) as refused:
            refuses()
        assert f"Did you mean {last!r}" in str(refused.value)
        assert ", ".join(layers(net)) in str(refused.value)
    check_taps(net, layers(net))


def test_forward_leaves_no_hooks(net: nn.Module, x: Tensor) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())

    forward(net, x, [layers(net)[1]])
    forward(net, x, [layers(net)[1], LOGITS])
    with pytest.raises(RuntimeError):
        forward(net, x[:, :2], [layers(net)[-1]])  # two channels
    assert hooks() == 0


def test_a_saved_network_is_loaded_bit_for_bit(
    net: nn.Module, config: NetworkConfig, x: Tensor, tmp_path: Path
) -> None:
    net.train()(x)  # so that batch norm has statistics of its own
    save_model(tmp_path, net, config, CLASSES)
    found = load_model(tmp_path)
    assert (found.network, found.classes) == (config, CLASSES)
    own, loaded = net.state_dict(), found.net.state_dict()
    assert own.keys() == loaded.keys() and all(torch.equal(own[k], loaded[k]) for k in own)
    with torch.no_grad():
        assert torch.equal(found.net.eval()(x), net.eval()(x))


def test_batch_norm_is_there_only_when_it_is_asked_for(
    net: nn.Module, config: NetworkConfig
) -> None:
    assert bool(batch_norms(net)) == config.batch_norm


def test_the_seed_decides_the_initial_weights(config: NetworkConfig) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_network(config, 2).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_an_unknown_network_names_the_choices() -> None:
    with pytest.raises(InputError, match=r"'deeplab' is not known.*deeplab_vgg16"):
        build_network(NetworkConfig(name="deeplab"), 2)


# Taps, where a network of two lines shows it better


class Branches(nn.Module):
    """Two branches of which one is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class AddInPlace(nn.Module):
    """A residual connection written with `+=`, as torchvision's ResNets have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 1), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        return self.last(y)


def test_a_layer_that_the_pass_never_reaches_is_refused() -> None:
    with pytest.raises(InputError, match="never reaches unused"):
        forward(Branches(), torch.zeros(1, 3, 4, 4), ["used", "unused"])


def test_in_place_addition_is_noticed_with_and_without_gradient() -> None:
    net, x = AddInPlace(), torch.ones(1, 3, 4, 4)
    for context in (torch.enable_grad(), torch.no_grad()):
        with context, pytest.raises(InputError, match="'conv' is overwritten"):
            forward(net, x, ["conv", "last"])
    assert torch.equal(forward(net, x, ["conv"])["conv"], net.conv(x))


def test_normalise_is_torchvisions_formula() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = normalise(images, mean, std)
    assert found.dtype == torch.float32
    for channel in range(3):
        wanted = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        # Two roundings to float32 of values below 3.
        assert torch.allclose(found[:, channel].double(), wanted, rtol=0, atol=1e-6)


def test_upsampling_keeps_pixel_centres_where_they_are() -> None:
    """A ramp over cells of 8 pixels stays the same ramp: cell i has its centre at 8 i + 3.5."""
    ramp = (8 * torch.arange(6.0) + 3.5).expand(1, 1, 3, 6)
    found = upsample(ramp, (24, 48))
    # Exact between the outermost centres; there is nothing to interpolate beyond them.
    assert torch.allclose(found[0, 0, 0, 4:44], torch.arange(4.0, 44.0), rtol=0, atol=1e-4)
    assert found.shape == (1, 1, 24, 48)


# DeepLab-LargeFOV (Chen et al. 2015)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pools_halve_three_times_and_then_keep_their_size(size: tuple[int, int]) -> None:
    net = DeepLabVGG16(3, width=1 / 16).eval()
    with torch.no_grad():
        maps = forward(net, torch.zeros(1, 3, *size), POOLS)
    for name, stride, channels in zip(POOLS, (2, 4, 8, 8, 8), (4, 8, 16, 32, 32), strict=True):
        assert maps[name].shape == (1, channels, cells(size[0], stride), cells(size[1], stride))


def test_parameter_counts_are_vgg16s_and_the_papers() -> None:
    """VGG-16 has 14,714,688 in its convolutions (Simonyan & Zisserman); LargeFOV has 20.5 M."""
    with torch.device("meta"):
        net = DeepLabVGG16(21)
    counts = {
        name: sum(p.numel() for p in child.parameters()) for name, child in net.named_children()
    }
    assert sum(n for name, n in counts.items() if name.startswith("conv")) == 14_714_688
    assert counts["fc6"] == 3 * 3 * 512 * 1024 + 1024
    assert counts["fc7"] == 1024 * 1024 + 1024
    assert counts["classifier"] == 1024 * 21 + 21
    assert sum(p.numel() for p in net.parameters()) == 20_505_429


def test_batch_norm_replaces_every_hidden_bias_by_scale_and_shift() -> None:
    with torch.device("meta"):
        plain, normed = DeepLabVGG16(21), DeepLabVGG16(21, batch_norm=True)
    channels = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 1024
    difference = sum(p.numel() for p in normed.parameters()) - 20_505_429
    assert difference == channels
    assert len(batch_norms(normed)) == 15 and not batch_norms(plain)


def reach(net: nn.Module, tap: str) -> int:
    """Side of the square of input pixels that one cell of the tap depends on.

    Measured: all weights positive and no bias, so no path through a convolution is lost; pools are
    averages for the occasion, because a maximum passes gradient to one of its inputs only.
    """
    for name, child in list(net.named_children()):
        if isinstance(child, nn.MaxPool2d):
            pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
            setattr(net, name, pool)
    net = net.eval().double()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e-3 if parameter.ndim == 4 else 0)
    x = torch.ones(1, 3, 601, 9, dtype=torch.double, requires_grad=True)
    maps = forward(net, x, [tap])[tap]
    maps[0, :, maps.shape[2] // 2].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].sum(dim=1).nonzero().flatten()
    return int(touched[-1] - touched[0]) + 1


def receptive_field(steps: list[tuple[int, int, int]]) -> int:
    """Of a chain of (kernel, stride, dilation): 1 + sum (kernel - 1) dilation (stride so far)."""
    field, jump = 1, 1
    for kernel, stride, dilation in steps:
        field += (kernel - 1) * dilation * jump
        jump *= stride
    return field


def test_fields_of_view_follow_from_the_papers_dilations_and_strides() -> None:
    """conv5 is dilated by 2 and fc6 by 12, and pool4 and pool5 have stride 1."""
    c, p2, p1 = (3, 1, 1), (3, 2, 1), (3, 1, 1)
    to_pool4 = [c, c, p2, c, c, p2, c, c, c, p2, c, c, c, p1]
    to_pool5 = [*to_pool4, *[(3, 1, 2)] * 3, p1]
    assert reach(DeepLabVGG16(2, width=1 / 64), "pool4") == receptive_field(to_pool4)
    assert reach(DeepLabVGG16(2, width=1 / 64), "pool5") == receptive_field(to_pool5)
    fc6 = receptive_field([*to_pool5, (3, 1, 12)])
    assert reach(DeepLabVGG16(2, width=1 / 64), "fc6") == fc6


def test_weights_start_as_he_and_deeplab_say() -> None:
    torch.manual_seed(0)
    net = DeepLabVGG16(21, width=0.5)
    for module in net.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module is not net.classifier
            and module.in_channels > 3
        ):
            wanted = math.sqrt(2 / (module.in_channels * math.prod(module.kernel_size)))
            # At least 9,216 draws each: a standard deviation is good to 1 %, here five of those.
            assert module.weight.std().item() == pytest.approx(wanted, rel=0.05)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            assert not module.bias.any()
    assert net.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
