"""Networks with several heads: built-in ones side by side, a factory's mapping, their starts."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks.factory import permit
from adapt.networks.layers import auto_taps, trace
from adapt.networks.pretrained import pretrained
from adapt.networks.taps import forward, of_task, tap_of
from adapt.settings.groups import NetworkConfig

COUNTS = {"parts": 3, "whole": 5}
TINY = NetworkConfig(width=1 / 32, batch_norm=True)
SIZE = (24, 32)


class Mapped(nn.Module):
    """A body and a head for each entry of a mapping; or one head."""

    def __init__(self, classes: dict[str, int] | int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        several = isinstance(classes, dict)
        counts = classes if isinstance(classes, dict) else {"only": classes}
        self.out = nn.ModuleDict({k: nn.Conv2d(4, n, 1) for k, n in counts.items()})
        self.several = several

    def forward(self, x: Tensor) -> dict[str, Tensor] | Tensor:
        found = {k: head(self.body(x)) for k, head in self.out.items()}
        return found if self.several else found["only"]


def factory(classes: dict[str, int] | int) -> nn.Module:
    return Mapped(classes)


def without(classes: dict[str, int]) -> nn.Module:
    return nn.Conv2d(3, sum(classes.values()), 1)


OWN = NetworkConfig(factory="test_heads:factory")


def test_auto_taps_are_of_what_all_heads_share() -> None:
    """The last of them is that before the heads, as with one head."""
    several, one = (auto_taps(trace(build_network(TINY, n), SIZE)) for n in (COUNTS, 5))
    assert several == one and list(one)[-1].startswith("fc7")


def test_heads_side_by_side_are_networks_that_share_a_body() -> None:
    """Each head's logits are those of a network with one head and the same weights."""
    net, x = build_network(TINY, COUNTS).eval(), torch.randn(2, 3, *SIZE)
    for task, count in COUNTS.items():
        single = build_network(TINY, count).eval()
        own = {k.replace(f".{task}.", "."): v for k, v in net.state_dict().items()}
        single.load_state_dict({k: own[k] for k in single.state_dict()})
        with torch.no_grad():
            assert torch.equal(of_task(net, task)(x), single(x))
            assert torch.equal(forward(net, x, [tap_of(task)])[f"logits/{task}"], single(x))


def test_a_pass_of_both_heads_costs_the_body_once() -> None:
    alone = {k: trace(build_network(TINY, n), SIZE) for k, n in COUNTS.items()}
    layers = {x.name: x for x in trace(build_network(TINY, COUNTS), SIZE)}
    body = {k: sum(x.macs for x in own if x.name == "classifier") for k, own in alone.items()}
    first = next(x for x in alone["parts"] if not x.name)
    assert layers[""].macs == first.macs + body["whole"]
    assert layers["fc7"].calls == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(name="lraspp_mobilenet_v3_large"), "lraspp_mobilenet_v3_large has one head"),
        (NetworkConfig(name="deeplabv2_resnet101"), "deeplabv2_resnet101 has one head"),
        (NetworkConfig(void=True), "void is for a network with one head"),
        (NetworkConfig(factory="test_heads:without"), "mapping with the logits of each, parts"),
    ],
)
def test_a_network_with_one_head_is_refused(config: NetworkConfig, message: str) -> None:
    permit(config.factory)
    place = torch.device("cpu" if config.factory else "meta")
    with place, pytest.raises(InputError, match=message):
        trace(build_network(config, COUNTS), SIZE)


@pytest.mark.parametrize("config", [TINY, OWN], ids=["built-in", "factory"])
def test_a_start_of_one_head_gives_the_body(config: NetworkConfig, tmp_path: Path) -> None:
    """Whatever the number of its classes, whole, and nothing but it."""
    permit(config.factory)
    save_file(build_network(config, 3).state_dict(), tmp_path / "model.safetensors")
    net = build_network(config, COUNTS)
    found, _ = pretrained(f"backbone:{tmp_path}", config, net)
    heads = ("classifier.", "out.")
    assert found.keys() == {k for k in net.state_dict() if not k.startswith(heads)}
