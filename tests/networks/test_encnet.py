"""Context encoding against the sums of its paper, codeword by codeword (Zhang et al. 2018)."""

import torch

from adapt.networks import build_network
from adapt.networks.encnet import ContextEncoding, Encoding
from adapt.settings.groups import NetworkConfig


def test_encoding_is_equations_1_and_2() -> None:
    torch.manual_seed(0)
    layer, x = Encoding(5, 3), torch.randn(2, 5, 4, 6)
    found = layer(x)
    for image in range(2):
        wanted = torch.zeros(3, 5)
        for cell in x[image].flatten(1).T:
            apart = cell - layer.codewords  # (K, C)
            share = torch.exp(-layer.smoothing * apart.square().sum(1))
            wanted += (share / share.sum())[:, None] * apart
        torch.testing.assert_close(found[image], wanted)


def test_the_context_scales_channels_of_the_whole_image() -> None:
    """By one factor for each, between 1 and 2, where the map is above 0."""
    torch.manual_seed(0)
    layer, x = ContextEncoding(8, 4).eval(), torch.randn(2, 8, 5, 6)
    ratio = layer(x) / x
    positive = x > 0
    assert (layer(x)[~positive] == 0).all()
    for image in range(2):
        for channel in range(8):
            factors = ratio[image, channel][positive[image, channel]]
            torch.testing.assert_close(factors, factors[:1].expand_as(factors))
            assert 1 < factors[0] < 2


def test_new_parameters_are_the_papers_layers() -> None:
    with torch.device("meta"):
        net = build_network(NetworkConfig("encnet_resnet50"), 60)
    new = {k: v.numel() for k, v in net.named_parameters() if not k.startswith("backbone.")}
    reduce = 9 * 2048 * 512 + 2 * 512
    context = 512 * 512 + 2 * 512 + 32 * 512 + 32 + 2 * 32 + 512 * 512 + 512
    assert sum(new.values()) == reduce + context + 512 * 60 + 60
