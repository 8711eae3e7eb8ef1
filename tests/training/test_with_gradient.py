"""Which parameters the objective's gradient gets to, against a backward pass."""

import pytest
import torch
from torch import nn

from adapt.networks import build_network
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig
from adapt.training.freezing import with_gradient

SIZE = (49, 65)


def backward_reaches(net: nn.Module, taps: list[str]) -> set[str]:
    net.zero_grad(set_to_none=True)
    maps = forward(net.eval(), torch.randn(1, 3, *SIZE), taps)
    torch.stack([m.float().sum() for m in maps.values()]).sum().backward()
    return {name for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("deeplab_vgg16", ["pool3"]),
        ("deeplab_vgg16", ["pool1", "pool5"]),
        ("fcn16s_vgg16", [LOGITS]),
        ("fcn32s_resnet18", ["pool2"]),
        ("lraspp_mobilenet_v3_large", ["pool2", LOGITS]),
    ],
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
