"""EfficientNet-lite0 against timm's, and its weights under the names of their package."""

from pathlib import Path

import pytest
import torch

from adapt.networks import build_network
from adapt.networks.efficientnet_lite import FCNEfficientNetLite0
from adapt.networks.pretrained import pretrained
from adapt.settings.groups import NetworkConfig


def drawn() -> FCNEfficientNetLite0:
    """With batch norms that are not the identity."""
    torch.manual_seed(0)
    net = FCNEfficientNetLite0(3).eval()
    for name, tensor in net.backbone.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return net


def test_its_maps_are_those_of_timm() -> None:
    """At odd sizes too, where TensorFlow pads one side more."""
    timm = pytest.importorskip("timm", reason="timm is in the extra `foreign`")
    net = drawn()
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(2, 3, 4))
    names = theirs.state_dict()  # in the order of the forward pass, as ours are
    theirs.load_state_dict(dict(zip(names, net.backbone.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 97, 130)
    for own, wanted in zip(net.backbone(x), theirs.eval()(x), strict=True):
        torch.testing.assert_close(own, wanted)


def test_the_head_adds_scores_from_the_coarsest_map_to_the_finest() -> None:
    net = drawn()
    for score in net.classifier.scores:
        torch.nn.init.normal_(score.weight)
    fine, middle, coarse = (
        score(x)
        for score, x in zip(
            net.classifier.scores, net.backbone(torch.ones(1, 3, 64, 96)), strict=True
        )
    )
    up = torch.nn.Upsample(scale_factor=2, mode="bilinear")
    torch.testing.assert_close(net(torch.ones(1, 3, 64, 96)), fine + up(middle + up(coarse)))


def test_a_file_of_the_package_fills_the_backbone(tmp_path: Path) -> None:
    file, net = tmp_path / "lite0.pth", drawn()
    named = {
        ".".join(f"_{part}" if not part.isdigit() and i < len(parts) - 1 else part
                 for i, part in enumerate(parts)): v
        for parts, v in ((k.split("."), v) for k, v in net.backbone.state_dict().items())
    }  # fmt: skip
    assert "_blocks.0._depthwise_conv.weight" in named
    torch.save(named | {"_conv_head.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)}, file)
    config = NetworkConfig("fcn8s_efficientnet_lite0")
    fresh = build_network(config, 3)
    found, _ = pretrained(f"backbone:{file}", config, fresh)
    wanted = {f"backbone.{k}": v for k, v in net.backbone.state_dict().items()}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)
