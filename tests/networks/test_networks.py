"""One contract that every network passes: taps, odd sizes, files, truncation, batch norm."""

import math
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import NETWORKS, build_network
from adapt.networks.batchnorm import batch_norms, eval_mode, train_mode
from adapt.networks.factory import permit
from adapt.networks.layers import check, trace
from adapt.networks.saved import load_model, save_model
from adapt.networks.taps import LOGITS, aliases, check_taps, forward, logits_of, resolve
from adapt.settings.groups import NetworkConfig

CLASSES = ("one", "two", "three", "four", "five")
SIZES = [(32, 48), (33, 41), (47, 70), (9, 65)]
POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")
STRIDE = {
    "fcn32s_vgg16": 32,
    "fcn16s_vgg16": 16,
    "fcn8s_vgg16": 8,
    "deeplab_vgg16": 8,
} | dict.fromkeys(
    ("pspnet_resnet50", "pspnet_resnet101", "deeplabv2_resnet101", "dilated_resnet101"), 8
)
"""Pixels a cell of the output; torchvision's networks upsample to the image themselves."""


class Residual(nn.Module):
    """A stand-in for a user's own network: a strided stem, `+=`, in-place ReLU, an output dict."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        y = self.body(x)
        y += x
        return {"out": self.head(self.act(y))}


OWN = f"{__name__}:Residual"
permit(OWN)


def configurations() -> Iterator[NetworkConfig]:
    for name in NETWORKS:
        if name.endswith("_vgg16"):
            yield from (NetworkConfig(name=name, width=1 / 16, batch_norm=b) for b in (False, True))
        else:
            yield NetworkConfig(name=name)
    yield NetworkConfig(factory=OWN, aliases={"pool1": "stem", "pool5": "act"})


def label(config: NetworkConfig) -> str:
    return config.name + ("_bn" if config.batch_norm else "")


def built(config: NetworkConfig, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(config, len(CLASSES))


@pytest.fixture(scope="module", params=configurations(), ids=label)
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    return request.param


@pytest.fixture(scope="module")
def fresh(config: NetworkConfig) -> nn.Module:
    """What all tests of a network copy: its weights are drawn once."""
    return built(config, seed=0)


@pytest.fixture
def net(fresh: nn.Module) -> nn.Module:
    return deepcopy(fresh)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 33, 41, generator=torch.Generator().manual_seed(1))


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


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_logits_have_the_stated_size_at_odd_sizes(
    net: nn.Module, config: NetworkConfig, size: tuple[int, int]
) -> None:
    with torch.no_grad():
        logits = forward(net.eval(), torch.zeros(1, 3, *size), [LOGITS])[LOGITS]
    stride = STRIDE.get(config.name, 2 if config.factory else 1)
    assert logits.shape == (1, len(CLASSES), *(math.ceil(n / stride) for n in size))


def test_pool1_to_pool5_name_layers_of_falling_resolution(net: nn.Module, x: Tensor) -> None:
    wanted = [pool for pool in POOLS if pool in aliases(net) or hasattr(net, pool)]
    assert wanted == list(POOLS) or "act" in aliases(net).values()
    check_taps(net, wanted)
    with torch.no_grad():
        maps = forward(net.eval(), x, wanted)
    sizes = [maps[name].shape[2] for name in wanted]
    assert sizes == sorted(sizes, reverse=True) and maps[wanted[-1]].shape[2] < x.shape[2]


def test_truncation_at_every_tap_gives_the_full_networks_map(net: nn.Module, x: Tensor) -> None:
    net.eval()
    with torch.no_grad():
        x = x[:1, :, :17, :25]
        full, runs = whole_pass(net, x)
        once = [name for name in full if runs[name] == 1]
        if len(once) > 250:  # a 101-layer body: blocks and their first convolution
            once = [n for n in once if n.count(".") < 3 or n.endswith("conv1")]
        for name in once:
            assert torch.equal(forward(net, x, [name])[name], full[name]), name
        taps = [*dict.fromkeys(aliases(net) or POOLS), LOGITS]
        together = forward(net, x, taps)
    assert len(once) > 4
    for name in taps:
        layer = name if name == LOGITS else resolve(net, name)
        assert torch.equal(together[name], full[layer]), name


def test_a_tapped_map_that_a_later_layer_overwrites_is_refused_not_returned(
    net: nn.Module, x: Tensor
) -> None:
    """Either the map is what the layer returned, or there is an error that names it."""
    net.eval()
    refused = []
    with torch.no_grad():
        x = x[:1, :, :17, :25]
        full, runs = whole_pass(net, x)
        every = [name for name in full if runs[name] == 1]
        for name in every[:: max(1, len(every) // 40)]:
            try:
                found = forward(net, x, [name, LOGITS])[name]
            except InputError as error:
                assert f"{name!r} is overwritten in place" in str(error)
                refused.append(name)
            else:
                assert torch.equal(found, full[name]), name
        for name in refused:  # a pass that ends there has not overwritten it yet
            assert torch.equal(forward(net, x, [name])[name], full[name]), name
    assert refused, "every one of these networks has in-place layers"


def test_a_layer_that_runs_several_times_is_refused(net: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        _, runs = whole_pass(net.eval(), x)
    layers = trace(net, (33, 41))
    check(layers, ["pool1", LOGITS], "taps")
    for name in [name for name, count in runs.items() if count > 1][:2]:
        with pytest.raises(InputError, match=rf"{name} .*\(called {runs[name]} times\)"):
            check(layers, ["pool1", name], "taps")


def test_layers_behind_the_tap_get_no_gradient_and_keep_their_statistics(
    net: nn.Module, x: Tensor
) -> None:
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    tap = "pool3" if "pool3" in aliases(net) or hasattr(net, "pool3") else "pool1"
    forward(net, x, [tap])[tap].square().sum().backward()
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    reached = {k for k, p in net.named_parameters() if p.grad is not None}
    order = [k for k, _ in net.named_parameters()]
    assert reached and order[0] in reached and order[-1] not in reached
    assert {k.rpartition(".")[0] for k in moved} <= {k.rpartition(".")[0] for k in reached}
    if any(k.endswith("running_mean") for k in before):
        assert moved or tap == "pool1"


@pytest.mark.parametrize("policy", ["eval", "affine", "train"])
def test_batch_norm_policies(net: nn.Module, x: Tensor, policy: str) -> None:
    train_mode(net, policy)
    norms = batch_norms(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    logits_of(net(x)).square().sum().backward()
    moved = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert bool(moved) == (policy == "train" and bool(norms))
    trained = {p.grad is not None for norm in norms for p in norm.parameters()}
    assert trained <= {policy != "eval"}
    others = [p for n, p in net.named_parameters() if "conv" in n or "features" in n]
    assert all(p.grad is not None for p in others if p.ndim == 4)


def test_unknown_taps_are_refused_with_the_choices(net: nn.Module, x: Tensor) -> None:
    for refuses in (lambda: forward(net, x, ["pol5"]), lambda: check_taps(net, ["pol5"])):
        with pytest.raises(InputError, match=r"'pol5' is not known. Did you mean 'pool5'"):
            refuses()


def test_forward_leaves_no_hooks(net: nn.Module, x: Tensor) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())

    forward(net.eval(), x, ["pool1"])
    forward(net, x, ["pool1", LOGITS])
    with pytest.raises(RuntimeError):
        forward(net, x[:, :2], ["pool5"])  # two channels
    assert hooks() == 0


def test_a_saved_network_is_loaded_bit_for_bit(
    net: nn.Module, config: NetworkConfig, x: Tensor, tmp_path: Path
) -> None:
    net.train()(x)  # so that batch norm has statistics of its own
    save_model(tmp_path, net, config, CLASSES)
    found = load_model(tmp_path)
    assert (found.network, found.classes) == (config, CLASSES)
    assert aliases(found.net) == aliases(net)
    own, loaded = net.state_dict(), found.net.state_dict()
    assert own.keys() == loaded.keys() and all(torch.equal(own[k], loaded[k]) for k in own)
    with torch.no_grad(), eval_mode(net), eval_mode(found.net):
        assert torch.equal(logits_of(found.net(x)), logits_of(net(x)))


def test_batch_norm_is_there_only_when_it_is_asked_for() -> None:
    for name in (n for n in NETWORKS if n.endswith("_vgg16")):
        for asked in (False, True):
            made = build_network(NetworkConfig(name=name, width=1 / 16, batch_norm=asked), 2)
            assert bool(batch_norms(made)) == asked


def test_the_seed_decides_the_initial_weights(fresh: nn.Module, config: NetworkConfig) -> None:
    first, again, other = (
        next(net.parameters()) for net in (fresh, built(config, seed=0), built(config, seed=1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_unknown_network_names_the_choices() -> None:
    with pytest.raises(InputError, match=r"'deeplab' is not known.*deeplab_vgg16"):
        build_network(NetworkConfig(name="deeplab"), 2)


def test_width_of_a_fixed_architecture_is_refused() -> None:
    with pytest.raises(InputError, match=r"network.width .* fcn_resnet50 has a fixed architecture"):
        build_network(NetworkConfig(name="fcn_resnet50", width=0.5), 2)


def test_an_alias_must_name_a_layer() -> None:
    with pytest.raises(InputError, match=r"network.aliases.pool9: layer: 'conv9' is not known"):
        build_network(NetworkConfig(width=1 / 16, aliases={"pool9": "conv9"}), 2)
