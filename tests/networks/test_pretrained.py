"""ImageNet and COCO weights of torchvision's enums, from files that the tests make themselves."""

import functools
import hashlib
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models
from torchvision.models import segmentation

from adapt.errors import InputError
from adapt.networks import NETWORKS, build_network
from adapt.networks.pretrained import deeplab, enum_of, fcn, is_pretrained, pretrained
from adapt.networks.saved import load_complete
from adapt.networks.sunet import SUNetClassifier
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig
from adapt.settings.mapping import filled
from adapt.settings.training import TrainConfig

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


def place(weights: Weights, source: str, config: NetworkConfig, cache: Path,
          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Weights as the file that the enum's URL names, its hash as that of the content."""
    draft = cache / "draft.pth"
    torch.save(weights, draft)
    name = f"{config.name}-{hashlib.sha256(draft.read_bytes()).hexdigest()[:8]}.pth"
    url = f"https://example.org/models/{name}"
    monkeypatch.setattr(enum_of(source, config).value, "url", url)
    draft.rename(cache / name)


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
        ("deeplabv2_vgg16", False, "imagenet", "VGG16_Weights.IMAGENET1K_V1"),
        ("fcn8s_vgg16", True, "imagenet", "VGG16_BN_Weights.IMAGENET1K_V1"),
        ("pspnet_resnet101", False, "imagenet", "ResNet101_Weights.IMAGENET1K_V1"),
        ("resnet18", False, "imagenet", "ResNet18_Weights.IMAGENET1K_V1"),
        ("fcn32s_learnt_vgg16", False, "imagenet", "VGG16_Weights.IMAGENET1K_V1"),
        ("fcn32s_alexnet", False, "imagenet", "AlexNet_Weights.IMAGENET1K_V1"),
        ("fcn_resnet50", False, "coco", "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"),
        ("lraspp_mobilenet_v3_large", False, "imagenet",
         "MobileNet_V3_Large_Weights.IMAGENET1K_V1"),
        ("deeplabv3_resnet50", False, "ResNet50_Weights.IMAGENET1K_V2",
         "ResNet50_Weights.IMAGENET1K_V2"),
    ],
)  # fmt: skip
def test_each_source_means_one_of_torchvisions_enums(
    name: str, batch_norm: bool, source: str, enum: str
) -> None:
    assert str(enum_of(source, NetworkConfig(name=name, batch_norm=batch_norm))) == enum


def test_nearly_every_network_has_an_imagenet_start_and_few_have_one_of_coco() -> None:
    without = {"sunet64", "fcn8s_efficientnet_lite0"}
    for name in NETWORKS.keys() - without:
        assert "IMAGENET1K_V1" in str(enum_of("imagenet", NetworkConfig(name=name)))
    for name in without:
        with pytest.raises(InputError, match=rf"{name} has no imagenet weights in torchvision"):
            enum_of("imagenet", NetworkConfig(name=name))
    for name in ("deeplab_vgg16", "pspnet_resnet50"):
        words = rf"{name} has no coco weights.*start=FILE.*start=none"
        with pytest.raises(InputError, match=words):
            enum_of("coco", NetworkConfig(name=name))


def test_what_counts_as_pretrained_and_the_former_name_of_a_backbone() -> None:
    assert not any(map(is_pretrained, ("runs/imagenet", "none", "", "a.pth", "x_Weights")))
    named = ("imagenet", "coco", "VGG16_Weights.IMAGENET1K_FEATURES", "backbone:a.pth")
    assert all(map(is_pretrained, named))
    assert TrainConfig(start="body:a.pth").start == "backbone:a.pth"
    assert filled({"start": "body:a.pth"}, {"steps": 1}) == {"start": "backbone:a.pth", "steps": 1}


def test_without_a_connection_the_file_and_its_place_are_named(cache: Path) -> None:
    config = NetworkConfig(name="pspnet_resnet50")
    net = build_network(config, 3)
    with pytest.raises(InputError) as refused:
        pretrained("imagenet", config, net)
    assert "no route to host" in str(refused.value)
    assert models.ResNet50_Weights.IMAGENET1K_V1.url in str(refused.value)
    assert str(cache / "resnet50-0676ba61.pth") in str(refused.value)
    assert not list(cache.iterdir()), "nothing half-written"
    (cache / "resnet50-0676ba61.pth").write_bytes(b"half a download")
    with pytest.raises(InputError, match=r"resnet50-0676ba61.pth: damaged.*says 0676ba61"):
        pretrained("imagenet", config, net)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_deeplab_computes_vggs_maps_up_to_pool3(batch_norm: bool) -> None:
    """With the pools of VGG made 3x3 as DeepLab's are; after pool3 the strides differ."""
    weights = random_vgg(batch_norm)
    net = build_network(NetworkConfig(batch_norm=batch_norm), 4)
    net.load_state_dict(net.state_dict() | deeplab(weights, net))
    layers = (models.vgg16_bn if batch_norm else models.vgg16)(init_weights=False).features.eval()
    kept = {k.removeprefix("features."): v for k, v in weights.items() if "features" in k}
    layers.load_state_dict(kept, strict=False)
    pools = [i for i, m in enumerate(layers) if isinstance(m, torch.nn.MaxPool2d)]
    for i in pools:
        layers[i] = torch.nn.MaxPool2d(3, stride=2, padding=1)
    x = torch.randn(1, 3, 24, 32)
    with torch.no_grad():
        wanted = layers[: pools[2] + 1](x)
        maps = forward(net.eval(), x, ["pool3"])["pool3"]
    # The same sums in another order: a bias moved into the mean of batch norm.
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_deeplabs_fc6_and_fc7_are_vggs_subsampled() -> None:
    weights, net = random_vgg(), build_network(NetworkConfig(), 4)
    found = deeplab(weights, net)
    fc6, fc7 = weights["classifier.0.weight"], weights["classifier.3.weight"]
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        out, into, row, column, other = (
            int(torch.randint(n, (1,), generator=rng)) for n in (1024, 512, 3, 3, 1024)
        )
        in_vgg = into * 49 + (3 * row) * 7 + 3 * column
        assert found["fc6.0.weight"][out, into, row, column] == fc6[4 * out, in_vgg]
        assert found["fc7.0.weight"][out, other, 0, 0] == fc7[4 * out, 4 * other]
        assert found["fc6.0.bias"][out] == weights["classifier.0.bias"][4 * out]
    assert net.state_dict().keys() - found.keys() == {"classifier.weight", "classifier.bias"}
    with torch.device("meta"):
        v2 = build_network(NetworkConfig("deeplabv2_vgg16"), 4)
    four = deeplab(weights, v2)
    assert {k for k in v2.state_dict() if "classifier" not in k} == four.keys()
    for branch, layer in itertools.product(range(4), ("fc6", "fc7")):
        for kind in ("weight", "bias"):
            assert torch.equal(four[f"{layer}.{branch}.0.{kind}"], found[f"{layer}.0.{kind}"])


def test_fcns_layers_are_vggs_as_convolutions() -> None:
    """On an image of 224x224 the middle cell of fc7 sees all of pool5, as VGG's fc7 does."""
    weights, net = random_vgg(), build_network(NetworkConfig(name="fcn32s_vgg16"), 4)
    net.load_state_dict(net.state_dict() | fcn(weights))
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
def test_a_classifiers_layers_become_the_backbone(
    name: str, classifier: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(name=name)
    stored = getattr(models, classifier)(weights=None).state_dict()
    place(stored, "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    found, digest = pretrained("imagenet", config, net)
    own = [k for k in net.state_dict() if k.startswith("backbone.")]
    assert len(digest) == 64 and set(own) == {k for k in found if k in own or "batches" not in k}
    for key in (own[0], own[-6]):
        bare = key.removeprefix("backbone.")
        assert torch.equal(found[key], stored.get(bare, stored.get(f"features.{bare}")))
    if name == "pspnet_resnet50":  # all of its tensors would fit into ResNet-101
        deeper = NetworkConfig(name="pspnet_resnet101")
        place(stored, "imagenet", deeper, cache, monkeypatch)
        with pytest.raises(InputError, match=r"does not fit pspnet_resnet101: backbone\.layer3"):
            pretrained("imagenet", deeper, build_network(deeper, 3))


def test_fcn32s_computes_alexnets_maps_and_its_fully_connected_layers(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A middle cell of pool5, of which ours is the one 31 pixels further, because torchvision pads
    less; and of fc7 the cell that sees 6 x 6 of them."""
    config, reference = NetworkConfig(name="fcn32s_alexnet"), models.alexnet().eval()
    place(reference.state_dict(), "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    net.load_state_dict(net.state_dict() | pretrained("imagenet", config, net)[0])
    x, maps = torch.randn(1, 3, 256, 256), torch.randn(1, 256, 6, 6)
    with torch.no_grad():
        cell = forward(net.eval(), x, ["pool5"])["pool5"][..., 4, 4]
        wanted = reference.features(torch.nn.functional.pad(x, (31, 0, 31, 0)))[..., 4, 4]
        torch.testing.assert_close(cell, wanted)
        fc7 = net.backbone.fc7(net.backbone.fc6(net.backbone.features[-1](maps)))
        wanted = reference.classifier[:6](maps.flatten(1))
        torch.testing.assert_close(fc7[..., 2, 2], wanted)


def test_fcn32s_computes_resnet18s_maps(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, reference = NetworkConfig(name="fcn32s_resnet18"), models.resnet18().eval()
    place(reference.state_dict(), "imagenet", config, cache, monkeypatch)
    net = build_network(config, 4)
    net.load_state_dict(net.state_dict() | pretrained("imagenet", config, net)[0])
    seen: list[Tensor] = []
    reference.layer4.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        reference(x := torch.randn(1, 3, 40, 70))
        assert torch.equal(forward(net.eval(), x, ["pool5"])["pool5"], seen[0])


def test_sunet_starts_from_its_classifiers_file(tmp_path: Path) -> None:
    """Of whole images, which network.factory makes for a pre-training."""
    config, factory = NetworkConfig(name="sunet64", width=0.125), SUNetClassifier(7, 0.125)
    torch.save(factory.state_dict(), tmp_path / "imagenet.pth")
    net = build_network(config, 4)
    found, _ = pretrained(f"backbone:{tmp_path}/imagenet.pth", config, net)
    net.load_state_dict(net.state_dict() | found)
    with torch.no_grad():
        x = torch.randn(2, 3, 33, 70)
        maps = forward(net.eval(), x, ["pool5"])["pool5"]
        assert torch.equal(factory.eval().fc(maps.mean(dim=(2, 3))), factory(x))


def test_coco_weights_fit_but_for_a_head_of_other_classes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(name="lraspp_mobilenet_v3_large")
    source = segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    auxiliary = {"aux_classifier.4.weight": torch.ones(21, 3, 1, 1)}  # of training only
    place(source.state_dict() | auxiliary, "coco", config, cache, monkeypatch)
    heads = {f"classifier.{kind}_classifier.{what}" for kind in ("low", "high")
             for what in ("weight", "bias")}  # fmt: skip
    net, other = (build_network(config, classes) for classes in (21, 5))
    assert other.state_dict().keys() - pretrained("coco", config, other)[0].keys() == heads
    net.load_state_dict(pretrained("coco", config, net)[0])
    x = torch.randn(1, 3, 17, 25)
    with torch.no_grad():
        wanted = source.eval()(x)["out"]
        assert torch.equal(forward(net.eval(), x, [LOGITS])[LOGITS], wanted)
    classes = load_complete("coco", config, (), "teacher", (17, 25)).classes  # the data has none
    assert len(classes) == 21 and classes[1] == "aeroplane"
