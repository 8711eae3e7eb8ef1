"""The facts of DeepLab-LargeFOV on VGG-16 (Chen et al. 2015)."""

import math

import pytest
import torch
from torch import nn

from adapt.networks.deeplab_vgg16 import DeepLabV2VGG16, DeepLabVGG16
from adapt.networks.taps import forward


def test_parameter_counts_are_vgg16s_and_the_papers() -> None:
    """VGG-16 has 14,714,688 in its convolutions (Simonyan & Zisserman); LargeFOV has 20.5 M."""
    with torch.device("meta"):
        net = DeepLabVGG16(21)
    counts = {
        name: sum(p.numel() for p in child.parameters()) for name, child in net.named_children()
    }
    assert sum(n for name, n in counts.items() if name.startswith("conv")) == 14_714_688
    assert counts["fc6"] == 3 * 3 * 512 * 1024 + 1024
    assert counts["fc7"] == 1024 * 1024 + 1024
    assert counts["classifier"] == 1024 * 21 + 21
    assert sum(p.numel() for p in net.parameters()) == 20_505_429
    with torch.device("meta"):
        normed = DeepLabVGG16(21, batch_norm=True)  # a scale and a shift for every hidden bias
    more = sum(p.numel() for p in normed.parameters()) - 20_505_429
    assert more == 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 1024


def reach(net: nn.Module, tap: str) -> int:
    """Side of the square of input pixels that one cell of the tap depends on: where its gradient
    gets to, with weights above 0 and pools that are averages, so that no path is lost."""
    for name, child in list(net.named_children()):
        if isinstance(child, nn.MaxPool2d):
            pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
            setattr(net, name, pool)
    net = net.eval().double()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e-3 if parameter.ndim == 4 else 0)
    x = torch.ones(1, 3, 601, 9, dtype=torch.double, requires_grad=True)
    maps = forward(net, x, [tap])[tap]
    maps[0, :, maps.shape[2] // 2].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].sum(dim=1).nonzero().flatten()
    return int(touched[-1] - touched[0]) + 1


def receptive_field(steps: list[tuple[int, int, int]]) -> int:
    """Of a chain of (kernel, stride, dilation): 1 + sum (kernel - 1) dilation (stride so far)."""
    field, jump = 1, 1
    for kernel, stride, dilation in steps:
        field += (kernel - 1) * dilation * jump
        jump *= stride
    return field


def test_fields_of_view_follow_from_the_papers_dilations_and_strides() -> None:
    """conv5 is dilated by 2 and fc6 by 12, and pool4 and pool5 have stride 1."""
    c, p2, p1 = (3, 1, 1), (3, 2, 1), (3, 1, 1)
    to_pool4 = [c, c, p2, c, c, p2, c, c, c, p2, c, c, c, p1]
    to_pool5 = [*to_pool4, *[(3, 1, 2)] * 3, p1]
    assert reach(DeepLabVGG16(2, width=1 / 64), "pool4") == receptive_field(to_pool4)
    assert reach(DeepLabVGG16(2, width=1 / 64), "pool5") == receptive_field(to_pool5)
    fc6 = receptive_field([*to_pool5, (3, 1, 12)])
    assert reach(DeepLabVGG16(2, width=1 / 64), "fc6") == fc6


def test_pool5a_widens_fc6s_view_by_a_cell_either_way_and_leaves_the_tap_as_it_is() -> None:
    """The cells of pool5, whose stride is 8, become the means of 3x3 of them, zeros beyond."""
    plain, pooled = (DeepLabVGG16(2, width=1 / 64, pool5a=pool5a) for pool5a in (False, True))
    pooled.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        maps = forward(plain.eval(), x, ["pool5"])["pool5"]
        assert torch.equal(maps, forward(pooled.eval(), x, ["pool5"])["pool5"])
        kernel = torch.full((maps.shape[1], 1, 3, 3), 1 / 9)
        mean = nn.functional.conv2d(maps, kernel, padding=1, groups=maps.shape[1])
        torch.testing.assert_close(pooled(x), plain.classify(mean))
    assert reach(pooled, "fc6") == reach(plain, "fc6") + 2 * 8


def test_aspp_sums_four_networks_of_other_dilations() -> None:
    """20,505,429 of LargeFOV for 21 classes, and fc6, fc7 and the classifier three times more."""
    with torch.device("meta"):
        count = sum(p.numel() for p in DeepLabV2VGG16(21).parameters())
    fc6, fc7, classifier = 9 * 512 * 1024 + 1024, 1024**2 + 1024, 1025 * 21
    assert count == 20_505_429 + 3 * (fc6 + fc7 + classifier)
    net, x = DeepLabV2VGG16(3, width=1 / 64).eval(), torch.randn(1, 3, 40, 48)
    total = torch.zeros(1, 3, 5, 6)
    with torch.no_grad():
        for branch, rate in enumerate((6, 12, 18, 24)):
            one = DeepLabVGG16(3, width=1 / 64).eval()
            one.fc6[0].dilation = one.fc6[0].padding = (rate, rate)
            shared = {k: v for k, v in net.state_dict().items() if k.startswith("conv")}
            own = {
                f"{layer}{rest}": net.state_dict()[f"{layer}.{branch}{rest}"]
                for layer, inner in (("fc6", ".0"), ("fc7", ".0"), ("classifier", ""))
                for rest in (f"{inner}.weight", f"{inner}.bias")
            }
            one.load_state_dict(shared | own)
            total += one(x)
        torch.testing.assert_close(net(x), total)


def test_weights_start_as_he_and_deeplab_say() -> None:
    torch.manual_seed(0)
    net = DeepLabVGG16(21, width=0.5)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is not None and not module.bias.any()
        if isinstance(module, nn.Conv2d) and module not in (net.classifier, net.conv1[0]):
            wanted = math.sqrt(2 / (module.in_channels * math.prod(module.kernel_size)))
            # At least 9,216 draws each: a standard deviation is good to 1 %, here five of those.
            assert module.weight.std().item() == pytest.approx(wanted, rel=0.05)
    assert net.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
