"""ImageNet and COCO weights of torchvision's enums, from files that the tests make themselves."""

import functools
import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models
from torchvision.models import segmentation

from adapt.errors import InputError
from adapt.networks import NETWORKS, build_network
from adapt.networks.pretrained import enum_of, is_pretrained, pretrained
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig

Weights = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch cache, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def place(
    weights: Weights,
    source: str,
    config: NetworkConfig,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Weights as the file that the enum's URL names, its hash as that of the content."""
    enum = enum_of(source, config)
    draft = cache / "draft.pth"
    torch.save(weights, draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    name = f"{config.name}-{digest[:8]}.pth"
    monkeypatch.setattr(enum.value, "url", f"https://example.org/models/{name}")
    return draft.rename(cache / name)


@functools.lru_cache(maxsize=1)
def random_vgg(batch_norm: bool = False) -> Weights:
    """Weights of VGG-16's shapes, half a gigabyte of them: made once, not to be changed."""
    torch.manual_seed(0)
    net = (models.vgg16_bn if batch_norm else models.vgg16)(init_weights=False)
    weights = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    for key, value in weights.items():
        if "running_" in key or (value.ndim == 1 and "features" in key):
            weights[key] = torch.rand_like(value) + 0.5
    return weights


@pytest.mark.parametrize(
    ("name", "batch_norm", "source", "enum"),
    [
        ("deeplab_vgg16", False, "imagenet", "VGG16_Weights.IMAGENET1K_V1"),
        ("fcn8s_vgg16", True, "imagenet", "VGG16_BN_Weights.IMAGENET1K_V1"),
        ("pspnet_resnet101", False, "imagenet", "ResNet101_Weights.IMAGENET1K_V1"),
        ("fcn_resnet50", False, "coco", "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"),
        (
            "lraspp_mobilenet_v3_large", False, "imagenet",
            "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        ),
        (
            "deeplabv3_resnet50", False, "ResNet50_Weights.IMAGENET1K_V2",
            "ResNet50_Weights.IMAGENET1K_V2",
        ),
    ],
)  # fmt: skip
def test_each_source_means_one_of_torchvisions_enums(
    name: str, batch_norm: bool, source: str, enum: str
) -> None:
    assert str(enum_of(source, NetworkConfig(name=name, batch_norm=batch_norm))) == enum


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_an_imagenet_start(name: str) -> None:
    assert "IMAGENET1K_V1" in str(enum_of("imagenet", NetworkConfig(name=name)))


def test_runs_and_files_are_no_pretrained_weights() -> None:
    assert not any(map(is_pretrained, ("runs/imagenet", "none", "", "a.pth", "x_Weights")))
    assert all(map(is_pretrained, ("imagenet", "coco", "VGG16_Weights.IMAGENET1K_FEATURES")))


def test_without_a_connection_the_file_and_its_place_are_named(cache: Path) -> None:
    config = NetworkConfig(name="pspnet_resnet50")
    with pytest.raises(InputError) as refused:
        pretrained("imagenet", config, build_network(config, 3))
    assert "no route to host" in str(refused.value)
    assert models.ResNet50_Weights.IMAGENET1K_V1.url in str(refused.value)
    assert str(cache / "resnet50-0676ba61.pth") in str(refused.value)
    assert not list(cache.iterdir()), "nothing half-written"


def test_a_damaged_file_is_refused(cache: Path) -> None:
    config = NetworkConfig(name="pspnet_resnet50")
    (cache / "resnet50-0676ba61.pth").write_bytes(b"half a download")
    with pytest.raises(InputError, match=r"resnet50-0676ba61.pth: damaged.*says 0676ba61"):
        pretrained("imagenet", config, build_network(config, 3))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_deeplab_computes_vggs_maps_up_to_pool3(
    batch_norm: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the pools of VGG made 3x3 as DeepLab's are; behind pool3 the strides differ."""
    config = NetworkConfig(batch_norm=batch_norm)
    weights = random_vgg(batch_norm)
    place(weights, "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    found, digest = pretrained("imagenet", config, net)
    assert len(digest) == 64
    net.load_state_dict(net.state_dict() | found)
    reference = (models.vgg16_bn if batch_norm else models.vgg16)(init_weights=False)
    reference.load_state_dict(weights, strict=False)
    layers = reference.features.eval()
    pools = [i for i, m in enumerate(layers) if isinstance(m, torch.nn.MaxPool2d)]
    for i in pools:
        layers[i] = torch.nn.MaxPool2d(3, stride=2, padding=1)
    x = torch.randn(1, 3, 24, 32)
    with torch.no_grad():
        wanted = layers[: pools[2] + 1](x)
        maps = forward(net.eval(), x, ["pool3"])["pool3"]
    # The same sums in another order: a bias moved into the mean of batch norm.
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_deeplabs_fc6_and_fc7_are_vggs_subsampled(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig()
    weights = random_vgg()
    place(weights, "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    found, _ = pretrained("imagenet", config, net)
    fc6, fc7 = weights["classifier.0.weight"], weights["classifier.3.weight"]
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        out, into, row, column = (
            int(torch.randint(n, (1,), generator=rng)) for n in (1024, 512, 3, 3)
        )
        place_in_vgg = into * 49 + (3 * row) * 7 + 3 * column
        assert found["fc6.0.weight"][out, into, row, column] == fc6[4 * out, place_in_vgg]
        other = int(torch.randint(1024, (1,), generator=rng))
        assert found["fc7.0.weight"][out, other, 0, 0] == fc7[4 * out, 4 * other]
        assert found["fc6.0.bias"][out] == weights["classifier.0.bias"][4 * out]
    assert net.state_dict().keys() - found.keys() == {"classifier.weight", "classifier.bias"}


def test_fcns_layers_are_vggs_as_convolutions(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an image of 224x224 the middle cell of fc7 sees all of pool5, as VGG's fc7 does."""
    config = NetworkConfig(name="fcn32s_vgg16")
    weights = random_vgg()
    place(weights, "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    found, _ = pretrained("imagenet", config, net)
    net.load_state_dict(net.state_dict() | found)
    reference = models.vgg16(init_weights=False)
    reference.load_state_dict(weights)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = reference.eval().classifier[:5](reference.features(x).flatten(1))
        cell = forward(net.eval(), x, ["fc7"])["fc7"][:, :, 3, 3]
    torch.testing.assert_close(cell, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("pspnet_resnet50", "resnet50"), ("lraspp_mobilenet_v3_large", "mobilenet_v3_large")],
)
def test_a_classifiers_body_becomes_the_backbone(
    name: str, classifier: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(name=name)
    source = getattr(models, classifier)(weights=None)
    place(source.state_dict(), "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    found, _ = pretrained("imagenet", config, net)
    body = [k for k in net.state_dict() if k.startswith("backbone.")]
    assert set(body) == {k for k in found if "num_batches" not in k or k in body}
    first, last = body[0], body[-6]
    for key in (first, last):
        bare = key.removeprefix("backbone.")
        stored = source.state_dict()
        assert torch.equal(found[key], stored.get(bare, stored.get(f"features.{bare}")))


def test_weights_of_another_depth_are_refused_not_half_loaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ResNet-50's tensors all fit into ResNet-101, which would keep 51 random layers."""
    config = NetworkConfig(name="pspnet_resnet101")
    place(models.resnet50(weights=None).state_dict(), "imagenet", config, cache, monkeypatch)
    with pytest.raises(InputError, match=r"does not fit pspnet_resnet101: backbone\.layer3"):
        pretrained("imagenet", config, build_network(config, 3))


def test_a_narrow_network_refuses_full_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(width=0.25)
    place(random_vgg(), "imagenet", config, cache, monkeypatch)
    with pytest.raises(InputError, match="does not fit deeplab_vgg16"):
        pretrained("imagenet", config, build_network(config, 3))


@pytest.mark.parametrize(
    ("classes", "new"), [(21, set()), (5, {"classifier.4.weight", "classifier.4.bias"})]
)
def test_coco_weights_fit_but_for_a_head_of_other_classes(
    classes: int, new: set[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(name="fcn_resnet50")
    source = segmentation.fcn_resnet50(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )
    place(source.state_dict(), "coco", config, cache, monkeypatch)
    net = build_network(config, classes)
    found, _ = pretrained("coco", config, net)
    assert net.state_dict().keys() - found.keys() == new
    if not new:
        net.load_state_dict(found)
        x = torch.randn(1, 3, 17, 25)
        with torch.no_grad():
            wanted = source.eval()(x)["out"]
            assert torch.equal(forward(net.eval(), x, [LOGITS])[LOGITS], wanted)


@pytest.mark.parametrize("name", ["deeplab_vgg16", "pspnet_resnet50"])
def test_networks_without_coco_weights_name_the_other_starts(name: str) -> None:
    config = NetworkConfig(name=name, width=1 / 16 if "vgg" in name else 1)
    with pytest.raises(InputError, match=rf"{name} has no coco weights.*start=FILE.*start=none"):
        pretrained("coco", config, build_network(config, 2))
