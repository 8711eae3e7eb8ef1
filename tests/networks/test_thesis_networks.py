"""The facts of the thesis's networks: FCN-32s (Long et al. 2015) and Stacked U-Nets (Shah 2018)."""

import pytest
import torch
from torch import nn

from adapt.networks import build_network
from adapt.networks.fcn import Upsampling
from adapt.networks.sunet import SUNetClassifier
from adapt.objective.terms import cross_entropy
from adapt.settings.groups import NetworkConfig


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_parameter_counts_are_the_papers() -> None:
    """ImageNet's networks without their last layers, 4,097,000 of AlexNet's 61,100,840 and 513,000
    of ResNet-18's 11,689,512; SUNet-64's are those of its public ImageNet network."""
    with torch.device("meta"):
        alexnet, resnet, vgg, sunet = (
            build_network(NetworkConfig(name), 21)
            for name in ("fcn32s_alexnet", "fcn32s_resnet18", "fcn32s_learnt_vgg16", "sunet64")
        )
        assert count(alexnet.backbone) == 57_003_840
        assert count(resnet.backbone) == 11_176_512
        assert count(vgg.features) == 14_714_688
        assert count(resnet.upsampling) == count(vgg.upsampling) == 64 * 64 * 21 * 21
        assert count(SUNetClassifier(1000)) == 6_910_248
        assert (count(sunet.backbone), count(sunet)) == (5_885_248, 12_976_981)


@pytest.mark.parametrize("factor", [2, 32])
def test_upsampling_is_bilinear_at_first(factor: int) -> None:
    """Half-pixel centres; but for the borders, beyond which maps are 0."""
    maps = torch.randn(1, 3, 4, 5)
    wanted = nn.functional.interpolate(maps, scale_factor=factor, mode="bilinear")
    inner = slice(factor // 2, -(factor // 2))
    found = Upsampling(3, factor)(maps)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found[..., inner, inner], wanted[..., inner, inner])


@pytest.mark.parametrize("name", ["fcn32s_learnt_vgg16", "fcn32s_alexnet", "fcn32s_resnet18"])
def test_scores_start_at_zero_and_learn_in_the_first_step(name: str) -> None:
    net = build_network(NetworkConfig(name, width=1 if "resnet" in name else 1 / 16), 3)
    logits = net.eval()(torch.randn(2, 3, 40, 50))
    assert logits.shape == (2, 3, 40, 50) and not logits.any()
    cross_entropy(logits, torch.randint(3, (2, 40, 50))).backward()
    assert net.score.weight.grad.any()
