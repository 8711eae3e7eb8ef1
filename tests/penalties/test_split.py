"""Which parameters are shared, new, or left out, and for what reason."""

import pytest
import torch
from torch import Tensor, nn

from adapt.networks import build_network
from adapt.penalties import Penalty, penalised, split_shared
from adapt.settings.groups import NetworkConfig, PenaltyConfig


class Unused(nn.Module):
    """An auxiliary head that leads nowhere, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.side = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.head, self.spare = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)


def test_shared_means_the_same_name_and_shape() -> None:
    net = Unused()
    start: dict[str, Tensor] = {k: v.clone() for k, v in net.state_dict().items()}
    start["head.weight"] = start["head.weight"].reshape(1, 4, 2, 1)
    del start["side.bias"]
    start["elsewhere"] = torch.zeros(3)
    shared, new = split_shared(net, start)
    assert new == {"head.weight", "side.bias"}
    assert shared == {n for n, _ in net.named_parameters()} - new
    assert split_shared(net, None) == (set(), shared | new)


def test_the_split_names_a_reason_for_every_tensor_that_is_left_out() -> None:
    net = Unused()
    net.head.weight.requires_grad_(False)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    start["side.weight"] = torch.zeros(9, 4, 1, 1)
    start["fc.weight"] = torch.zeros(3, 3)
    within = {"body.weight", "body.bias", "head.bias"}  # of the objective's gradient
    split = Penalty(net, start, PenaltyConfig("l2_sp", 0.1, 0.1), trained=within).split
    assert (split.parameters, split.new) == (sum(p.numel() for p in net.parameters()), 8)
    assert (split.to_start, split.to_zero) == (net.body.weight.numel(), 0)
    assert split.left_out == {
        "in the start but not in the network": ["fc.weight"],
        "of another shape in the start, hence new": ["side.weight"],
        "frozen": ["head.weight"],
        "not of the kinds 'weights'": ["body.bias", "head.bias"],
        "never reached by the objective": [
            "side.weight",
            "side.bias",
            "spare.weight",
            "spare.bias",
        ],
    }
    text = "\n".join(split.lines())
    assert "8 new (" in text and "frozen: 1 (head.weight)" in text
    assert Penalty(net, start, PenaltyConfig("none"), trained=within).split.left_out == {}


def test_what_is_frozen_or_of_strength_0_is_no_part_of_the_penalty() -> None:
    """Also where nobody says what the objective reaches."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    start = {k: v.clone() for k, v in net.state_dict().items()}
    split = Penalty(net, {"0.weight": start["0.weight"]}, PenaltyConfig("l1_sp", 0.1, 0.0)).split
    assert split.left_out == {"of strength 0": ["1.weight"]}
    assert (split.shared, split.new, split.to_start, split.to_zero) == (12, 8, 12, 0)
    net[0].requires_grad_(False)
    penalty = Penalty(net, start, PenaltyConfig("l2_sp", 0.1))
    assert [e.name for e in penalty.entries] == ["1.weight"]
    assert (penalty.split.to_start, penalty.split.left_out) == (8, {"frozen": ["0.weight"]})


def test_conv_is_the_weights_of_convolutions_linear_layers_and_attention() -> None:
    net = nn.ModuleDict(
        {
            "conv": nn.Conv1d(3, 4, 1), "up": nn.ConvTranspose2d(4, 2, 2), "fc": nn.Linear(3, 3),
            "norm": nn.RMSNorm(4), "attention": nn.MultiheadAttention(4, 2),
            "embedding": nn.Embedding(5, 4), "batch": nn.BatchNorm2d(3),
        }
    )  # fmt: skip
    conv = {"conv.weight", "up.weight", "fc.weight", "attention.out_proj.weight"}
    conv |= {"attention.in_proj_weight"}
    assert penalised(net, "conv") == conv
    assert penalised(net, "weights") == conv | {"embedding.weight"}
    assert penalised(nn.BatchNorm2d(3), "weights") == set(), "a network may be one layer"


def test_fisher_information_is_scaled_by_its_mean_over_what_is_pulled() -> None:
    """Not over what the objective never reaches, of which there need not be any."""
    net = Unused()
    start = {k: v.clone() for k, v in net.state_dict().items()}
    fisher = {
        "body.weight": torch.rand_like(net.body.weight),
        "side.weight": torch.ones(2, 4, 1, 1),
    }
    config = PenaltyConfig("l2_sp_fisher", 0.1)
    (entry,) = Penalty(net, start, config, fisher, trained={"body.weight"}).to_start
    assert entry.fisher is not None and abs(float(entry.fisher.mean()) - 1) < 1e-6


def new_percent(name: str, **settings: float) -> float:
    """For Cityscapes' 19 classes, from the body of a classification network."""
    with torch.device("meta"):
        net = build_network(NetworkConfig(name, **settings), 19)
    body = ("features.", "fc6.", "fc7.", "backbone.")
    start = {k: v for k, v in net.state_dict().items() if k.startswith(body)}
    return Penalty(net, start, PenaltyConfig()).split.new_share


def test_the_share_of_new_parameters_is_the_papers() -> None:
    """Li et al. 2018 (FCN, ResNet-101, DeepLab) and 2019, section IV-C 4: FCN < 0.1 %, PSPNet
    37.5 %, with its auxiliary head."""
    assert 0.05 < new_percent("fcn8s_vgg16") < 0.1
    assert 0.05 < new_percent("dilated_resnet101") < 0.15
    assert new_percent("deeplabv2_resnet101") == pytest.approx(3.4, abs=0.25)
    assert round(new_percent("pspnet_resnet101", auxiliary=0.4), 2) == 37.45
