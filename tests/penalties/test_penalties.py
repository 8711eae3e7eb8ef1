"""L2 and L2-SP against autograd, and which parameters they touch."""

from collections.abc import Callable
from math import isclose

import pytest
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.batchnorm import train_mode
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import forward
from adapt.penalties import PENALTIES, Penalty, penalised, split_shared
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.training.schedules import make_optimizer

Start = dict[str, Tensor]


def network(seed: int, classes: int = 5) -> nn.Module:
    """Convolutions with and without bias, batch and layer norm, and a head of its own."""
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, 4, 3))
    net.add_module("norm", nn.BatchNorm2d(4))
    net.add_module("deep", nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.GroupNorm(2, 4)))
    net.add_module("head", nn.Conv2d(4, classes, 1))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net


def start_of(net: nn.Module) -> Start:
    return {k: v.clone() for k, v in net.state_dict().items()}


def loss(net: nn.Module, seed: int = 0) -> Tensor:
    x = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(seed))
    return net(x).square().mean()


def slow_omega(net: nn.Module, start: Start, config: PenaltyConfig) -> Tensor:
    """Equations 1 and 2 of Li et al. 2018, by autograd and parameter after parameter."""
    total = torch.zeros((), dtype=torch.double)
    for name, w in net.named_parameters():
        is_weight = name in ("conv.weight", "deep.0.weight", "head.weight")
        if config.kinds == "weights" and not is_weight:
            continue
        is_shared = name in start and start[name].shape == w.shape
        strength = config.alpha if is_shared else config.beta
        origin = start[name] if is_shared and config.name == "l2_sp" else torch.zeros_like(w)
        total = total + strength / 2 * (w.double() - origin.double()).square().sum()
    return total


@pytest.mark.parametrize("kinds", ["weights", "all"])
@pytest.mark.parametrize("name", ["l2", "l2_sp"])
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_autograds(name: str, kinds: str, seed: int) -> None:
    """The start has a head for 3 classes, so that the net's head for 5 is new."""
    net, start = network(seed), start_of(network(seed + 10, classes=3))
    config = PenaltyConfig(name, alpha=0.3, beta=0.07, kinds=kinds)
    penalty = Penalty(net, start, config)
    loss(net).backward()
    before = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    omega = slow_omega(net, start, config)
    parameters = dict(net.named_parameters())
    wanted = torch.autograd.grad(omega, list(parameters.values()), allow_unused=True)
    penalty.add_gradient()
    assert isclose(penalty.value(), omega.item(), rel_tol=1e-5)  # float32 against double
    for (n, p), gradient in zip(parameters.items(), wanted, strict=True):
        added = torch.zeros_like(p) if gradient is None else gradient
        assert p.grad is not None
        assert torch.allclose(p.grad, before[n] + added, rtol=1e-5, atol=1e-6), n  # float32
        if gradient is None:
            assert torch.equal(p.grad, before[n])


def test_l2_sp_is_nothing_at_the_start() -> None:
    net = network(0)
    penalty = Penalty(net, start_of(net), PenaltyConfig("l2_sp", 0.5, 0.5, "all"))
    loss(net).backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    penalty.add_gradient()
    assert penalty.value() == 0
    after = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_l2_sp_to_zeros_is_l2() -> None:
    found = []
    for name in ("l2", "l2_sp"):
        net = network(0)
        zeros = {k: torch.zeros_like(v) for k, v in net.state_dict().items()}
        penalty = Penalty(net, zeros, PenaltyConfig(name, 0.5, 0.5))
        loss(net).backward()
        penalty.add_gradient()
        found.append((penalty.value(), [p.grad for p in net.parameters()]))
    assert found[0][0] == found[1][0]
    pairs = zip(found[0][1], found[1][1], strict=True)
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def test_l2_is_the_optimisers_weight_decay_of_the_same_number() -> None:
    """So alpha can be compared with published weight decays."""
    found = []
    for decay in (0.0, 0.01):
        net = network(0)
        config = PenaltyConfig("none" if decay else "l2", 0.01, 0.01, "all")
        penalty = Penalty(net, None, config)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
        for _ in range(3):
            optimizer.zero_grad()
            loss(net).backward()
            penalty.add_gradient()
            optimizer.step()
        found.append([p.detach().clone() for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)  # the same sum in another order


@pytest.mark.parametrize("aliased", ["net", "start"])
def test_the_start_is_owned_and_never_aliased(aliased: str) -> None:
    """Neither training nor whoever holds the start's tensors can move what the weights go to."""
    net = network(0)
    start = dict(net.state_dict()) if aliased == "net" else start_of(net)
    origin = start_of(net)
    penalty = Penalty(net, start, PenaltyConfig("l2_sp", 1.0, 1.0, "all"))
    with torch.no_grad():
        for tensor in start.values():
            tensor.add_(1)
        for parameter in net.parameters():
            parameter.copy_(torch.full_like(parameter, 0.25))
    loss(net).backward()
    wanted = sum((0.25 - origin[n]).square().sum().item() / 2 for n, _ in net.named_parameters())
    assert penalty.value() == pytest.approx(wanted, rel=1e-5)  # float32


def test_a_start_in_half_precision_is_kept_in_fp32() -> None:
    net = network(0)
    half = {k: v.to(torch.float16) for k, v in net.state_dict().items() if v.is_floating_point()}
    penalty = Penalty(net, half, PenaltyConfig("l2_sp", 1.0, 1.0))
    assert all(
        e.start_point is not None and e.start_point.dtype == torch.float32 for e in penalty.entries
    )


def step(net: nn.Module, penalty: Penalty, objective: Callable[[], Tensor]) -> None:
    config = ScheduleConfig(lr=0.1, momentum=0.9)
    optimizer = make_optimizer(net, penalty.shared, config)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        objective().backward()
        penalty.add_gradient()
        optimizer.step()


@pytest.mark.parametrize("name", ["l2", "l2_sp"])
def test_parameters_that_the_objective_never_reaches_are_left_alone(name: str) -> None:
    """A head behind the deepest tap must not shrink because nobody trains it."""
    torch.manual_seed(0)
    net = DeepLabVGG16(3, width=1 / 16)
    elsewhere = {k: v + 1 for k, v in net.state_dict().items()}
    penalty = Penalty(net, elsewhere, PenaltyConfig(name, 0.1, 0.1, "all"))
    before = start_of(net)
    x = torch.randn(1, 3, 17, 25)
    step(net, penalty, lambda: forward(net, x, ["pool3"])["pool3"].mean())
    same = {n for n, p in net.named_parameters() if torch.equal(p, before[n])}
    behind = ("conv4", "conv5", "fc6", "fc7", "classifier")
    assert same == {n for n, _ in net.named_parameters() if n.startswith(behind)}
    front = [n for n, _ in net.named_parameters() if not n.startswith(behind)]
    origin = elsewhere if name == "l2_sp" else {n: torch.zeros(()) for n in front}
    parameters = dict(net.named_parameters())
    wanted = sum((parameters[n] - origin[n]).square().sum().item() * 0.05 for n in front)
    assert penalty.value() == pytest.approx(wanted, rel=1e-5)  # float32


def test_frozen_parameters_are_left_alone() -> None:
    net = network(0)
    train_mode(net, "eval")
    penalty = Penalty(net, None, PenaltyConfig("l2", 0.1, 0.1, "all"))
    before = start_of(net)
    step(net, penalty, lambda: loss(net))
    same = {n for n in before if torch.equal(net.state_dict()[n], before[n])}
    assert same == {k for k in before if k.startswith("norm.")}


def test_buffers_are_never_penalised() -> None:
    net = network(0)
    penalty = Penalty(net, None, PenaltyConfig("l2", 1.0, 1.0, "all"))
    assert {id(e.parameter) for e in penalty.entries} == {id(p) for p in net.parameters()}


def test_no_penalty_is_nothing() -> None:
    net = network(0)
    penalty = Penalty(net, start_of(net), PenaltyConfig("none", 1.0, 1.0))
    loss(net).backward()
    before = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    penalty.add_gradient()
    assert penalty.entries == [] and penalty.value() == 0
    after = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_shared_means_the_same_name_and_shape() -> None:
    net = network(0)
    start = start_of(network(1, classes=3))
    start["deep.0.weight"] = start["deep.0.weight"].reshape(1, 4, 4, 1)
    del start["norm.bias"]
    start["elsewhere"] = torch.zeros(3)
    shared, new = split_shared(net, start)
    assert new == {"head.weight", "head.bias", "deep.0.weight", "norm.bias"}
    assert shared == {n for n, _ in net.named_parameters()} - new
    assert split_shared(net, None) == (set(), shared | new)


def test_kinds_are_all_or_all_but_biases_and_norms() -> None:
    net = network(0)
    assert penalised(net, "all") == {n for n, _ in net.named_parameters()}
    assert penalised(net, "weights") == {"conv.weight", "deep.0.weight", "head.weight"}


def test_weights_of_a_batch_norm_deeplab_are_its_16_convolutions() -> None:
    net = DeepLabVGG16(3, width=1 / 16, batch_norm=True)
    convolutions = {f"{n}.weight" for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    assert len(convolutions) == 16
    assert penalised(net, "weights") == convolutions


@pytest.mark.parametrize("name", ["l2", "l2_sp"])
def test_weight_decay_beside_a_penalty_is_refused(name: str) -> None:
    net = network(0)
    penalty = Penalty(net, start_of(net), PenaltyConfig(name, 0.1, 0.1))
    with pytest.raises(InputError, match=rf"weight_decay=0\.0005 and penalty={name}"):
        penalty.refuse_decay(5e-4)
    penalty.refuse_decay(0.0)
    Penalty(net, start_of(net), PenaltyConfig("none")).refuse_decay(5e-4)
    Penalty(net, start_of(net), PenaltyConfig(name, 0.0, 0.0)).refuse_decay(5e-4)


def test_l2_sp_without_a_start_is_refused() -> None:
    with pytest.raises(InputError, match="l2_sp: there is no start"):
        Penalty(network(0), None, PenaltyConfig("l2_sp", 0.1, 0.1))


def test_an_unknown_penalty_names_the_choices() -> None:
    with pytest.raises(InputError, match=f"Did you mean 'l2_sp'.*{', '.join(PENALTIES)}"):
        Penalty(network(0), {}, PenaltyConfig("l2sp"))
