"""What of batch norm moves under each policy, and AdaBN against an independent computation."""

from collections.abc import Iterator

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


def two_steps(net: nn.Module) -> None:
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(2, 3, 17, 25)).square().sum().backward()
        optimizer.step()


def in_norms(net: nn.Module) -> set[str]:
    names = {n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    return {k for k in net.state_dict() if k.rsplit(".", 1)[0] in names}


@pytest.mark.parametrize("policy", ["eval", "affine", "train"])
def test_each_policy_moves_what_it_says_and_nothing_else(net: nn.Module, policy: str) -> None:
    before, norms = snapshot(net), in_norms(net)
    train_mode(net, policy)
    two_steps(net)
    statistics = {k for k in norms if k.endswith(STATISTICS)}
    still = {"eval": norms, "affine": statistics, "train": set()}[policy]
    assert moved(net, before) == before.keys() - still


@pytest.mark.parametrize("policy", ["eval", "affine", "train"])
def test_dropout_trains_under_every_policy(net: nn.Module, policy: str) -> None:
    train_mode(net.eval(), policy)
    assert all(m.training for m in net.modules() if isinstance(m, nn.Dropout))


@pytest.mark.parametrize("policy", ["eval", "affine"])
def test_fixed_statistics_normalise_as_in_evaluation(net: nn.Module, policy: str) -> None:
    """Else the regression of a student onto itself would not be 0."""
    x = torch.randn(2, 3, 17, 25)
    wanted = net.eval().get_submodule("conv1")(x)
    train_mode(net, policy)
    assert torch.equal(net.get_submodule("conv1")(x), wanted)


def test_a_frozen_network_stays_as_it_is_after_train(net: nn.Module) -> None:
    frozen = freeze(net)
    assert frozen is net
    before = snapshot(net)
    assert net.train() is net and net.train(True) is net
    assert not any(m.training for m in net.modules())
    x = torch.randn(2, 3, 17, 25)
    first, second = net(x), net(x)
    assert torch.equal(first, second)  # dropout is off
    assert not first.requires_grad
    assert not moved(net, before)


def test_a_frozen_network_inside_another_is_not_trained_by_it(net: nn.Module) -> None:
    pair = nn.ModuleList([freeze(net), nn.BatchNorm2d(3)])
    pair.train()
    assert not any(m.training for m in net.modules()) and pair[1].training


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


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per channel of (B, C, H, W): mean and unbiased variance."""
    return x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)


def normalised(norm: nn.Module, x: np.ndarray) -> np.ndarray:
    """By the batch's own mean and biased variance, then scale and shift."""
    mean, var = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
    weight, bias = (
        p.detach().double().numpy()[:, None, None]
        for p in (norm.get_parameter("weight"), norm.get_parameter("bias"))
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def test_adabn_takes_the_statistics_of_the_new_domain_and_forgets_the_old(small: Small) -> None:
    batches = images()
    adapt_statistics(small, batches)
    weight = small.mix.weight.detach().double().numpy()[:, :, 0, 0]
    assert small.mix.bias is not None
    bias = small.mix.bias.detach().double().numpy()[:, None, None]
    found_first, found_second = [], []
    for batch in batches:
        x = batch.double().numpy()
        found_first.append(statistics(x))
        mixed = np.einsum("oc,bchw->bohw", weight, normalised(small.first, x)) + bias
        found_second.append(statistics(mixed))
    for norm, found in ((small.first, found_first), (small.second, found_second)):
        mean, var = (np.mean([f[i] for f in found], axis=0) for i in (0, 1))
        # float32 against double.
        assert np.allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        assert np.allclose(norm.running_var, var, rtol=1e-4)
    pixels = torch.cat(batches).double().numpy()
    assert np.allclose(small.first.running_mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_adabn_changes_statistics_and_nothing_else(small: Small) -> None:
    before = snapshot(small)
    modes = {m: m.training for m in small.modules()}
    momenta = [norm.momentum for norm in batch_norms(small)]
    adapt_statistics(small, images())
    assert moved(small, before) == {f"{n}.{s}" for n in ("first", "second") for s in STATISTICS}
    assert {m: m.training for m in small.modules()} == modes
    assert [norm.momentum for norm in batch_norms(small)] == momenta == [0.3, 0.1]


def test_adabn_does_not_depend_on_the_order_or_on_a_second_time(small: Small) -> None:
    adapt_statistics(small, images())
    once = snapshot(small)
    adapt_statistics(small, images())
    assert not moved(small, once)
    adapt_statistics(small, reversed(images()))
    for name, value in small.state_dict().items():
        assert torch.allclose(value, once[name], rtol=1e-5, atol=1e-6)  # order of a float32 sum


def test_adabn_reads_each_batch_once_without_a_graph(small: Small) -> None:
    seen = []
    small.second.register_forward_hook(lambda m, i, o: seen.append(o.requires_grad))

    def stream() -> Iterator[Tensor]:
        yield from images()

    adapt_statistics(small, stream())
    assert seen == [False] * 3


def test_adabn_without_batch_norm_is_refused() -> None:
    with pytest.raises(InputError, match="no batch normalisation"):
        adapt_statistics(DeepLabVGG16(2, width=1 / 16), [])
