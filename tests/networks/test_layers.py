"""A network's layers, held against closed forms and the taps themselves."""

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.machine import runtime
from adapt.networks import build_network
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.layers import ELEMENT, Layer, check, main_path, trace
from adapt.networks.maps import as_map
from adapt.networks.taps import LOGITS, aliases, forward
from adapt.settings.groups import NetworkConfig

SIZE = (32, 48)


class Odd(nn.Module):
    """Everything that a tap cannot stand on, and what it can."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.shared = nn.ReLU()
        self.lost = nn.Conv2d(4, 4, 1)
        self.part = nn.Conv2d(4, 4, 1)
        self.tokens = nn.Flatten(2)
        self.pair = nn.LSTM(4, 4, batch_first=True)
        self.unused = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 5, 1)
        self.aliases = {"deep": "norm"}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.shared(self.stem(x))
        x = torch.relu_(self.lost(x)) + 1  # gone before another module runs
        y = self.part(x)
        y[:, :1].mul_(2)  # through a view
        z = self.tokens(self.shared(y))
        z, _ = self.pair(z.transpose(1, 2))
        y = self.norm(y + z.transpose(1, 2).reshape(y.shape))
        return {"out": self.head(y)}


def built(name: str, **settings: Any) -> nn.Module:
    return build_network(NetworkConfig(name, **settings), 5)


NETS: dict[str, Callable[[], nn.Module]] = {
    "deeplab_bn": lambda: built("deeplab_vgg16", width=1 / 32, batch_norm=True),
    "fcn8s_bn": lambda: built("fcn8s_vgg16", width=1 / 32, batch_norm=True),
    "deeplabv2": lambda: built("deeplabv2_resnet101"),
    "pspnet": lambda: built("pspnet_resnet50"),
    "lraspp": lambda: built("lraspp_mobilenet_v3_large"),
    "fcn": lambda: built("fcn_resnet50"),
    "odd": Odd,
}


@pytest.fixture(scope="module", params=list(NETS))
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, list[Layer]]:
    torch.manual_seed(0)
    net = NETS[request.param]().eval()
    return net, trace(net, SIZE)


def named(found: list[Layer]) -> dict[str, Layer]:
    return {x.name: x for x in found}


def test_parameters_add_up(case: tuple[nn.Module, list[Layer]]) -> None:
    net, found = case
    total = sum(p.numel() for p in net.parameters())
    modules = {x.name for x in found if x.type != ELEMENT}
    assert modules == {name for name, _ in net.named_modules()}
    assert sum(x.parameters for x in found if x.leaf) == total
    last = named(found)[""]
    assert (last.parameters, last.parameters_until) == (total, total)


def test_multiply_accumulates_are_the_closed_form(case: tuple[nn.Module, list[Layer]]) -> None:
    """k_h k_w C_in / groups C_out H_out W_out of every convolution, and nothing else."""
    net, found = case
    modules, expected = dict(net.named_modules()), {}
    for layer in found:
        conv = modules.get(layer.name)
        if isinstance(conv, nn.Conv2d) and layer.calls:
            per_cell = math.prod(conv.kernel_size) * conv.in_channels // conv.groups
            expected[layer.name] = per_cell * math.prod(layer.shape)
            assert layer.macs == expected[layer.name], layer.name
    plain = not any(isinstance(m, nn.LSTM | nn.ConvTranspose2d) for m in modules.values())
    done = 0
    for layer in found:  # in the order of computing
        done += expected.get(layer.name, 0)
        inside = [macs for name, macs in expected.items() if name.startswith(f"{layer.name}.")]
        if plain and layer.calls:
            assert layer.macs_until == done
            assert layer.leaf or not layer.name or layer.macs == sum(inside)
    last = named(found)[""]
    assert last.share == last.share_until == 1
    shares = [x.share_until for x in found if x.calls]
    assert shares == sorted(shares)
    assert sum(x.share for x in found if x.leaf) == pytest.approx(1)


def test_shapes_and_obstacles_are_those_of_the_taps(case: tuple[nn.Module, list[Layer]]) -> None:
    """`check` lets through just the layers whose map `forward` hands out unharmed."""
    net, found = case
    calls: dict[str, list[object]] = {name: [] for name, _ in net.named_modules() if name}
    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: calls[name].append(o.clone() if isinstance(o, Tensor) else o)
        )
        for name in calls
    ]
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net(image)
        for handle in handles:
            handle.remove()
        for layer in [x for x in found if x.name in calls][:: max(1, len(found) // 20)]:
            seen = calls[layer.name]
            assert layer.calls == len(seen)
            alone, together = allowed(found, [layer.name]), allowed(found, [layer.name, LOGITS])
            one = len(seen) == 1 and isinstance(seen[0], Tensor) and seen[0].ndim in (3, 4)
            assert alone == one, layer.name
            if not one:
                continue
            tapped = as_map(seen[0], net.get_submodule(layer.name), SIZE)
            assert torch.equal(forward(net, image, [layer.name])[layer.name], tapped)
            assert tuple(seen[0].shape) == layer.shape and tuple(tapped.shape[1:]) == layer.map
            try:
                whole = forward(net, image, [layer.name, LOGITS])[layer.name]
                unharmed = torch.equal(whole, tapped)
            except InputError as error:
                assert "overwritten" in str(error)
                unharmed = False
            assert together == unharmed == (not layer.obstacle), layer.name
        taps = [layer.name for layer in found if layer.aliases]
        maps = forward(net, image, [*aliases(net), *taps])
    assert all(torch.equal(maps[tap], calls[tap][0]) for tap in taps)
    assert all(torch.equal(maps[a], maps[name]) for a, name in aliases(net).items())


def allowed(found: list[Layer], taps: list[str]) -> bool:
    try:
        check(found, taps)
    except InputError:
        return False
    return True


def test_odd_network_is_described() -> None:
    found = trace(Odd(), SIZE)
    reasons = {name: layer.obstacle for name, layer in named(found).items()}
    assert reasons == {
        "stem": "", "shared": "called 2 times", "lost": "overwritten in (network)",
        "part": "overwritten in (network)", "tokens": "", "pair": "returns tuple", "pair.0": "",
        "pair.1.0": "", "pair.1.1": "", "norm": "", "head": "", "unused": "never called", "": "",
    }  # fmt: skip
    assert named(found)["pair.0"].map == (4, 16, 24)
    assert named(found)["stem"].stride == (2, 2) and named(found)["norm"].aliases == ("deep",)
    assert named(found)[""].shape == (1, 5, 16, 24)
    assert found[-1].name == "unused", "what never runs comes last"


def test_tracing_leaves_no_trace() -> None:
    net = DeepLabVGG16(5, width=1 / 32, batch_norm=True).train()
    net.conv1.eval()
    modes = {name: module.training for name, module in net.named_modules()}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    trace(net, (16, 24))
    with pytest.raises(InputError, match="0x24"):
        trace(net, (0, 24))
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_network_that_compiles_is_met_again_with_the_guards_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the two passes only the second counts."""

    class Compiling(Odd):
        passes = 0

        def forward(self, x: Tensor) -> Tensor:
            monkeypatch.setitem(sys.modules, runtime.COMPILER, torch)
            self.passes += 1
            return super().forward(x)

    monkeypatch.setattr(runtime, "COMPILER", "a module that no other test imports")
    net = Compiling()
    expected = [layer.macs for layer in trace(Odd(), SIZE)]
    for passes in (2, 3):
        assert [layer.macs for layer in trace(net, SIZE)] == expected and net.passes == passes


def test_a_size_that_does_not_fit_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 9), nn.Conv2d(4, 5, 1))
    with pytest.raises(InputError, match=r"image of 7x40 \(H x W\)"):
        trace(net, (7, 40))
    assert not net[0]._forward_hooks
    with pytest.raises(InputError, match="must be logits"):
        trace(nn.Sequential(nn.Flatten(2)), SIZE)


def test_check_gives_reasons_and_choices() -> None:
    found = trace(Odd(), SIZE)
    check(found, ["stem", "deep", "norm", LOGITS])
    with pytest.raises(InputError, match=r"objective: shared cannot be tapped \(called 2 times\)"):
        check(found, ["shared"], "objective")
    with pytest.raises(InputError, match=r"Did you mean 'norm'.*deep, stem, .*norm, head"):
        check(found, ["nrom"])
    with pytest.raises(InputError, match="never called"):
        check(found, ["unused"])
    check(found, ["stem", "part"])  # the deepest: the pass stops before it is overwritten
    with pytest.raises(InputError, match=r"part .*overwritten.*stem, .*norm, head"):
        check(found, ["part", "deep"])


def test_main_path_has_each_map_once() -> None:
    def path(net: nn.Module) -> list[str]:
        return [x.name for x in main_path(trace(net, SIZE))]

    assert path(NETS["deeplab_bn"]()) == [
        "conv1.2", "conv1.5", "pool1", "conv2.2", "conv2.5", "pool2", "conv3.2", "conv3.5",
        "conv3.8", "pool3", "conv4.2", "conv4.5", "conv4.8", "pool4", "conv5.2", "conv5.5",
        "conv5.8", "pool5", "fc6.2", "fc7.2", "classifier",
    ]  # fmt: skip
    names = path(NETS["fcn"]())
    blocks = [
        f"backbone.layer{s}.{i}" for s, n in ((1, 3), (2, 4), (3, 6), (4, 3)) for i in range(n)
    ]
    assert names[:2] == ["backbone.relu", "backbone.maxpool"] and names[2:18] == blocks
    assert names[18:] == ["classifier.2", "classifier.4"]
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 1))
    assert path(nn.Sequential(nn.Sequential(inner))) == ["0.0.1", "0.0.2", "0.0.3"]
