"""Which parameters are shared, new, or left out; what the objective reaches."""

import pytest
import torch
from torch import nn

from adapt.networks import build_network
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import LOGITS, forward
from adapt.penalties import Penalty, penalised
from adapt.settings.groups import NetworkConfig, PenaltyConfig
from adapt.training.freezing import with_gradient

SIZE = (49, 65)


def backward_reaches(net: nn.Module, taps: list[str]) -> set[str]:
    """By a backward pass: who has a gradient afterwards."""
    net.zero_grad(set_to_none=True)
    maps = forward(net.eval(), torch.randn(1, 3, *SIZE), taps)
    torch.stack([m.float().sum() for m in maps.values()]).sum().backward()
    return {name for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("taps", [["pool3"], ["pool1", "pool5"], [LOGITS], ["pool2", LOGITS]])
@pytest.mark.parametrize(
    "name", ["deeplab_vgg16", "fcn16s_vgg16", "pspnet_resnet50", "lraspp_mobilenet_v3_large"]
)
def test_reached_is_what_a_backward_pass_reaches(name: str, taps: list[str]) -> None:
    torch.manual_seed(0)
    width = 1 / 16 if name.endswith("vgg16") else 1.0
    net = build_network(NetworkConfig(name, width=width), 5)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    found = with_gradient(net.train(), taps, SIZE)
    assert net.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert found == backward_reaches(net, taps)


class Unused(nn.Module):
    """An auxiliary head that runs and leads nowhere, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.side = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.head, self.spare = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        body = self.body(x).relu_()
        return {"out": self.head(body), "aux": self.side(body)}


def test_what_leads_nowhere_is_not_reached() -> None:
    net = Unused()
    assert with_gradient(net, [LOGITS], SIZE) == {
        "body.weight", "body.bias", "head.weight", "head.bias"
    }  # fmt: skip
    net.body.requires_grad_(False)
    assert with_gradient(net, [LOGITS], SIZE) == {"head.weight", "head.bias"}


def test_the_split_names_a_reason_for_every_tensor_that_is_left_out() -> None:
    net = Unused()
    net.head.weight.requires_grad_(False)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    start["side.weight"] = torch.zeros(9, 4, 1, 1)
    start["fc.weight"] = torch.zeros(3, 3)
    within = with_gradient(net, [LOGITS], SIZE)
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


def test_what_is_frozen_is_no_part_of_the_penalty() -> None:
    """Also where nobody says what the objective reaches."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    start = {k: v.clone() for k, v in net.state_dict().items()}
    net[0].requires_grad_(False)
    penalty = Penalty(net, start, PenaltyConfig("l2_sp", 0.1))
    assert [e.name for e in penalty.entries] == ["1.weight"]
    assert (penalty.split.to_start, penalty.split.left_out) == (8, {"frozen": ["0.weight"]})


def test_a_strength_of_zero_is_a_reason() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    start = {"0.weight": net[0].weight.detach().clone()}
    split = Penalty(net, start, PenaltyConfig("l1_sp", 0.1, 0.0)).split
    assert split.left_out == {"of strength 0": ["1.weight"]}
    assert (split.shared, split.new, split.to_start, split.to_zero) == (12, 8, 12, 0)


def test_conv_is_the_weights_of_convolutions_and_linear_layers() -> None:
    net = nn.ModuleDict(
        {
            "conv": nn.Conv1d(3, 4, 1), "up": nn.ConvTranspose2d(4, 2, 2), "fc": nn.Linear(3, 3),
            "norm": nn.RMSNorm(4), "attention": nn.MultiheadAttention(4, 2),
            "embedding": nn.Embedding(5, 4), "batch": nn.BatchNorm2d(3),
        }
    )  # fmt: skip
    conv = {"conv.weight", "up.weight", "fc.weight", "attention.out_proj.weight"}
    assert penalised(net, "conv") == conv
    others = {"attention.in_proj_weight", "embedding.weight"}
    assert penalised(net, "weights") - {"attention.in_proj_bias"} == conv | others
    assert penalised(nn.BatchNorm2d(3), "weights") == set(), "a network may be one layer"


def new_percent(name: str, more: int = 0) -> float:
    """For Cityscapes' 19 classes, from the body of a classification network; `more` of new ones."""
    with torch.device("meta"):
        net = build_network(NetworkConfig(name), 19)
    body = ("features.", "fc6.", "fc7.", "backbone.")
    start = {k: v for k, v in net.state_dict().items() if k.startswith(body)}
    split = Penalty(net, start, PenaltyConfig()).split
    return 100 * (split.new + more) / (split.parameters + more)


def test_the_share_of_new_parameters_is_the_papers() -> None:
    """Li et al. 2019, section IV-C 4: FCN < 0.1 %, PSPNet 37.5 %, whose auxiliary head (3x3 to 256
    channels with batch norm, 1x1 to the classes) ours lacks."""
    assert 0.05 < new_percent("fcn8s_vgg16") < 0.1
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 19 + 19
    assert round(new_percent("pspnet_resnet101", auxiliary), 1) == 37.5


def test_the_origin_is_laid_out_as_its_parameter() -> None:
    """Or fused operations fall back to one for each tensor, and read across memory."""
    net = DeepLabVGG16(3, width=1 / 16).to(memory_format=torch.channels_last)
    start = {k: v.contiguous() for k, v in net.state_dict().items()}
    penalty = Penalty(net, start, PenaltyConfig("l2_sp", 1.0, 1.0))
    for entry in penalty.entries:
        assert (
            entry.start_point is not None and entry.start_point.stride() == entry.parameter.stride()
        )
        assert torch.equal(entry.start_point, entry.parameter)
        assert entry.start_point.data_ptr() != entry.parameter.data_ptr()
