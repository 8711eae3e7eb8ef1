"""One contract that every network passes: taps, odd sizes, files, truncation."""

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import NETWORKS, build_network
from adapt.networks.batchnorm import batch_norms, eval_mode
from adapt.networks.factory import permit
from adapt.networks.layers import check, trace
from adapt.networks.saved import load_model, save_model
from adapt.networks.taps import LOGITS, aliases, forward, logits_of, resolve
from adapt.settings import choices
from adapt.settings.groups import NetworkConfig

CLASSES = ("one", "two", "three", "four", "five")
SIZES = [(32, 48), (33, 41), (47, 70), (9, 65)]
POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")
UPSAMPLED = ("deeplabv3", "fcn_", "lraspp")
"""torchvision's networks bring their logits to the image's size themselves."""


class Residual(nn.Module):
    """A stand-in for a user's own network: a strided stem, `+=`, in-place ReLU, an output dict."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        y = self.branch(x)
        y += x
        return {"out": self.head(self.act(y))}


OWN = f"{__name__}:Residual"
permit(OWN)


def configuration(name: str) -> NetworkConfig:
    """Small where that is possible; a VGG-16 with batch norm is called NAME_bn."""
    if name == "own":
        return NetworkConfig(factory=OWN, aliases={"pool1": "stem", "pool5": "act"})
    bare = name.removesuffix("_bn")
    width = 1 / 16 if bare.endswith("_vgg16") else 1
    return NetworkConfig(name=bare, width=width, batch_norm=bare != name)


def test_settings_name_torchvisions_classifiers() -> None:
    every = torchvision.models.list_models(module=torchvision.models)
    assert tuple(n for n in every if n not in ("googlenet", "inception_v3")) == choices.CLASSIFIERS


@pytest.mark.system
def test_torchvision_is_not_imported_before_a_network_needs_it() -> None:
    code = (
        "import sys, adapt.networks.saved as saved\n"
        "saved.build_network(saved.NetworkConfig(name='fcn8s_vgg16', width=0.1), 2)\n"
        "assert 'torchvision' not in sys.modules and 'scipy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_have_the_stated_sizes_and_pools_fall_in_resolution(name: str) -> None:
    with torch.device("meta"):
        net = build_network(configuration(name), len(CLASSES)).eval()
        assert all(resolve(net, pool) for pool in POOLS)
        for size in SIZES:
            maps = forward(net, torch.zeros(1, 3, *size), [*POOLS, LOGITS])
            stride = {"fcn32s_vgg16": 32, "fcn16s_vgg16": 16}.get(name, 8)
            stride = 1 if name.startswith(UPSAMPLED) else stride
            assert maps[LOGITS].shape == (1, len(CLASSES), *(math.ceil(n / stride) for n in size))
            sides = [maps[pool].shape[2] for pool in POOLS]
            assert sides == sorted(sides, reverse=True) and sides[-1] < size[0]


@pytest.fixture(
    scope="module",
    params=["deeplab_vgg16", "deeplab_vgg16_bn", "fcn8s_vgg16_bn", "deeplabv2_resnet101",
            "pspnet_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large", "own"],
)  # fmt: skip
def net(request: pytest.FixtureRequest) -> nn.Module:
    """One of each kind, with weights; every test leaves them as they are."""
    torch.manual_seed(0)
    return build_network(configuration(request.param), len(CLASSES))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 17, 25, generator=torch.Generator().manual_seed(1))


def whole_pass(net: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], Counter[str]]:
    """Every layer's map from one pass, copied when it was made, and how often each layer ran."""
    maps: dict[str, Tensor] = {}
    runs: Counter[str] = Counter()

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            runs[name] += 1
            if isinstance(output, Tensor):
                maps[name] = output.detach().clone()

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in net.named_modules() if n]
    maps[LOGITS] = logits_of(net(x)).detach().clone()
    for handle in handles:
        handle.remove()
    return maps, runs


def test_a_tap_is_the_full_networks_map_or_is_refused(net: nn.Module, x: Tensor) -> None:
    """A pass that stops at a layer has its map; one that runs on has it too, or says that a later
    layer overwrites it. Of deep networks evenly spaced layers, and all aliases."""
    net.eval()
    refused = 0
    with torch.no_grad():
        full, runs = whole_pass(net, x[:1])
        every = [name for name in full if runs[name] == 1]
        assert len(every) > 4
        for name in every[:: max(1, len(every) // 20)]:
            assert torch.equal(forward(net, x[:1], [name])[name], full[name]), name
            try:
                found = forward(net, x[:1], [name, LOGITS])[name]
            except InputError as error:
                assert f"{name!r} is overwritten in place" in str(error)
                refused += 1
            else:
                assert torch.equal(found, full[name]), name
        taps = [*(aliases(net) or POOLS), LOGITS]
        together = forward(net, x[:1], taps)
    for name in taps:
        assert torch.equal(together[name], full[name if name == LOGITS else resolve(net, name)])
    assert refused or not any(getattr(module, "inplace", False) for module in net.modules())


def test_a_layer_that_runs_several_times_is_refused(net: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        _, runs = whole_pass(net.eval(), x[:1])
    layers = trace(net, (17, 25))
    check(layers, ["pool1", LOGITS], "taps")
    for name in [name for name, count in runs.items() if count > 1][:2]:
        with pytest.raises(InputError, match=rf"{name} .*\(called {runs[name]} times\)"):
            check(layers, ["pool1", name], "taps")


def test_layers_after_the_tap_get_no_gradient_and_keep_their_statistics(
    net: nn.Module, x: Tensor
) -> None:
    net.train()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    tap = "pool3" if "pool3" in aliases(net) or hasattr(net, "pool3") else "pool1"
    forward(net, x, [tap])[tap].square().sum().backward()
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, state[k])}
    trained = {k for k, p in net.named_parameters() if p.grad is not None}
    order = [k for k, _ in net.named_parameters()]
    assert order[0] in trained and order[-1] not in trained
    assert {k.rpartition(".")[0] for k in moved} <= {k.rpartition(".")[0] for k in trained}
    assert moved or tap == "pool1" or not batch_norms(net)
    net.load_state_dict(state)
    net.zero_grad()


def test_unknown_taps_name_the_choices_and_no_hook_is_left(net: nn.Module, x: Tensor) -> None:
    for refuses in (lambda: forward(net, x, ["pol5"]), lambda: resolve(net, "pol5")):
        with pytest.raises(InputError, match=r"'pol5' is not known. Did you mean 'pool5'"):
            refuses()
    forward(net.eval(), x, ["pool1"])
    with pytest.raises(RuntimeError):
        forward(net, x[:, :2], ["pool5"])  # two channels
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("name", ["deeplab_vgg16_bn", "lraspp_mobilenet_v3_large", "own"])
def test_a_saved_network_is_loaded_bit_for_bit(name: str, x: Tensor, tmp_path: Path) -> None:
    config = configuration(name)
    net = build_network(config, len(CLASSES)).train()
    net(x)  # so that batch norm has statistics of its own
    save_model(tmp_path, net, config, CLASSES)
    found = load_model(tmp_path)
    assert (found.network, found.classes) == (config, CLASSES)
    assert aliases(found.net) == aliases(net)
    own, loaded = net.state_dict(), found.net.state_dict()
    assert own.keys() == loaded.keys() and all(torch.equal(own[k], loaded[k]) for k in own)
    with torch.no_grad(), eval_mode(net), eval_mode(found.net):
        assert torch.equal(logits_of(found.net(x)), logits_of(net(x)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(name="fcn_resnet50", width=0.5), "width .* fcn_resnet50 has a fixed arch"),
        (NetworkConfig(width=1 / 16, aliases={"pool9": "conv9"}),
         r"network.aliases.pool9: layer: 'conv9' is not known"),
        (NetworkConfig(arguments={"width": 3}), "network.arguments is for network.factory only"),
    ],
)  # fmt: skip
def test_wrong_networks_are_refused(config: NetworkConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network(config, 2)
