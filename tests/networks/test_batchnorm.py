"""What of batch norm moves under each policy, and AdaBN against an independent computation."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.batchnorm import adapt_statistics, batch_norms, eval_mode, freeze, train_mode
from adapt.networks.deeplab_vgg16 import DeepLabVGG16

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def net() -> nn.Module:
    """Batch norm and dropout in two depths, with statistics that are not the initial ones."""
    torch.manual_seed(0)
    net = DeepLabVGG16(3, width=1 / 16, batch_norm=True)
    net.train()(torch.randn(2, 3, 17, 25))
    return net


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def moved(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}


@pytest.mark.parametrize("policy", ["eval", "affine", "train"])
def test_each_policy_moves_what_it_says_and_nothing_else(net: nn.Module, policy: str) -> None:
    """Dropout trains under each; fixed statistics normalise as in evaluation, or the regression of
    a student onto itself would not be 0."""
    names = {n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    norms = {k for k in net.state_dict() if k.rsplit(".", 1)[0] in names}
    before, x = snapshot(net), torch.randn(2, 3, 17, 25)
    wanted = net.eval().get_submodule("conv1")(x)
    train_mode(net, policy)
    assert all(m.training for m in net.modules() if isinstance(m, nn.Dropout))
    if policy != "train":
        assert torch.equal(net.get_submodule("conv1")(x), wanted)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(2, 3, 17, 25)).square().sum().backward()
        optimizer.step()
    statistics = {k for k in norms if k.endswith(STATISTICS)}
    still = {"eval": norms, "affine": statistics, "train": set()}[policy]
    assert moved(net, before) == before.keys() - still


def test_a_frozen_network_stays_as_it_is_after_train_its_own_or_its_owners(net: nn.Module) -> None:
    frozen, before = freeze(net), snapshot(net)
    pair = nn.ModuleList([frozen, nn.BatchNorm2d(3)])
    assert frozen is net and net.train() is net and pair.train()[1].training
    assert not any(m.training for m in net.modules())
    x = torch.randn(2, 3, 17, 25)
    first, second = net(x), net(x)
    assert torch.equal(first, second)  # dropout is off
    assert not first.requires_grad and not moved(net, before)


@pytest.mark.parametrize("fails", [False, True])
def test_eval_mode_gives_every_module_its_own_mode_back(net: nn.Module, fails: bool) -> None:
    train_mode(net, "affine")
    net.get_submodule("fc7").eval()
    modes = [m.training for m in net.modules()]
    assert len(set(modes)) == 2
    try:
        with eval_mode(net) as inside:
            assert inside is net and not any(m.training for m in net.modules())
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert [m.training for m in net.modules()] == modes


# AdaBN


class Small(nn.Module):
    """Norm, 1x1 convolution, dropout, norm: little enough to be computed in numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix = nn.BatchNorm2d(3, momentum=0.3), nn.Conv2d(3, 2, 1)
        self.drop, self.second = nn.Dropout(0.9), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.drop(self.mix(self.first(x))))


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    small = Small()
    for parameter in small.parameters():
        nn.init.normal_(parameter)
    for norm in batch_norms(small):
        norm.running_mean.fill_(7)
        norm.running_var.fill_(3)
        norm.num_batches_tracked.fill_(11)
    return small


def images() -> list[Tensor]:
    """Three batches of equal size, each with a mean and spread of its own."""
    rng = np.random.default_rng(0)
    return [
        torch.from_numpy(rng.normal(i, 1 + i, (4, 3, 5, 6)).astype(np.float32)) for i in range(3)
    ]


def test_adabn_takes_the_statistics_of_the_new_domain_and_changes_nothing_else(
    small: Small,
) -> None:
    before, modes = snapshot(small), [m.training for m in small.modules()]
    seen: list[bool] = []
    handle = small.second.register_forward_hook(lambda m, i, o: seen.append(o.requires_grad))
    adapt_statistics(small, iter(images()))
    handle.remove()
    assert seen == [False] * 3, "each batch once, without a graph"
    once = snapshot(small)
    adapt_statistics(small, images())
    assert not moved(small, once), "whatever statistics were there before"
    weight, bias, scale, shift = (
        p.detach().double().numpy().reshape(len(p), -1)
        for p in (small.mix.weight, small.mix.bias, small.first.weight, small.first.bias)
    )
    found: list[list[np.ndarray]] = []
    for batch in images():
        x = batch.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)  # channels, pixels
        normal = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        mixed = weight @ (normal * scale + shift) + bias
        found.append([x.mean(1), x.var(1, ddof=1), mixed.mean(1), mixed.var(1, ddof=1)])
    wanted = [np.mean(values, axis=0) for values in zip(*found, strict=True)]
    norms = (small.first, small.second)
    for value, expected in zip(
        (s for norm in norms for s in (norm.running_mean, norm.running_var)), wanted, strict=True
    ):
        assert np.allclose(value, expected, rtol=1e-4, atol=1e-5)  # float32 against double
    assert moved(small, before) == {f"{n}.{s}" for n in ("first", "second") for s in STATISTICS}
    assert [m.training for m in small.modules()] == modes
    assert [norm.momentum for norm in norms] == [0.3, 0.1]


def test_adabn_weighs_each_image_alike_also_in_a_last_smaller_batch() -> None:
    every = torch.cat(images())[:9]
    net = nn.Sequential(nn.BatchNorm2d(3))
    for size in (9, 8, 2):
        adapt_statistics(net, every.split(size))
        assert torch.allclose(net[0].running_mean, every.mean((0, 2, 3)), atol=1e-6)


def test_adabn_without_batch_norm_is_refused() -> None:
    with pytest.raises(InputError, match="no batch normalisation"):
        adapt_statistics(DeepLabVGG16(2, width=1 / 16), [])
