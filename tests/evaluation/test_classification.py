"""One label an image through the one loop: crops, scores, starts, and what belongs to pixels."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import image_trees
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from tiny import refused, weights
from torch import nn
from torchvision import models
from torchvision.transforms import v2

from adapt.data import load
from adapt.data.images import read_image
from adapt.disk.files import read_json
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.evaluation import inference
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import Reading, classify, views
from adapt.evaluation.predict import predictions
from adapt.export import export
from adapt.machine.runtime import runtime
from adapt.networks import build_network
from adapt.networks.pretrained import COUNTER, enum_of, pretrained
from adapt.networks.saved import load_model
from adapt.objective.terms import cross_entropy
from adapt.settings.choices import CLASSIFIERS
from adapt.settings.commands import DistortConfig, EvaluateConfig, ExportConfig, PredictConfig
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    ShiftConfig,
)
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.settings.protocol import ProtocolConfig
from adapt.settings.training import TrainConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train

CPU = {"device": "cpu", "precision": "fp32"}
LIGHT = "shufflenet_v2_x0_5"
"""0.3 million weights, where resnet18 has 11."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 260 classes, more than a byte holds, one of three, and a trained network."""
    root = tmp_path_factory.mktemp("home")
    image_trees.folders(root / "few", train=4, val=3)
    image_trees.folders(root / "many", classes=260, train=1, val=1)
    train(teaching(root, steps=60))
    return root


def teaching(home: Path, **changes: object) -> TrainConfig:
    data = DataConfig(name="folders", root=str(home / "few"), resize=[40], crop=[32, 32])
    given = {"run": str(home / "run"), "data": data, "network": NetworkConfig(name=LIGHT)}
    return tiny.teaching(home, **{**given, "steps": 3, "batch": 6, **changes})


@pytest.mark.parametrize("shape", [(40, 56), (33, 32), (32, 32)])
def test_ten_crops_are_torchvisions(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = views(image, [32, 30], 10)
    theirs = v2.TenCrop((32, 30))(torch.from_numpy(image).permute(2, 0, 1))
    wanted = sorted(x.permute(1, 2, 0).numpy().tobytes() for x in theirs)
    assert sorted(np.ascontiguousarray(x).tobytes() for x in found) == wanted
    centre = v2.CenterCrop((32, 30))(torch.from_numpy(image).permute(2, 0, 1))
    assert np.array_equal(found[0], centre.permute(1, 2, 0).numpy())
    assert np.array_equal(views(image, [32, 30], 1)[0], found[0])
    assert np.array_equal(views(image, [], 1)[0], image)


def test_the_supervised_term_is_the_mean_over_images() -> None:
    """Also of class 255, which is void among pixels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 260, generator=generator, dtype=torch.float64)
    labels = torch.tensor([255, 0, 259, 7])
    chance = logits.exp() / logits.exp().sum(1, keepdim=True)
    wanted = -torch.stack([chance[i, y].log() for i, y in enumerate(labels)]).mean()
    torch.testing.assert_close(cross_entropy(logits, labels).double(), wanted, rtol=1e-6, atol=0)


def independent(home: Path, count: int) -> dict[str, np.ndarray]:
    """Class probabilities of every validation image, computed by hand."""
    net = load_model(home / "run").net.eval()
    data = load(DataConfig(name="folders", root=str(home / "few")), "val")
    mean, std = (np.array(getattr(NetworkConfig(), k)) for k in ("mean", "std"))
    found = {}
    for sample in data.samples:
        image = read_image(sample.x1)
        height, width = image.shape[:2]
        size = (round(width * 40 / min(height, width)), round(height * 40 / min(height, width)))
        if (width, height) != size:
            shrinks = size[0] * size[1] < height * width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cv2.resize(image, size, interpolation=how)
        parts = views(image, [32, 32], count)
        x = np.stack([(p / 255 - mean) / std for p in parts]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            chance = net(torch.from_numpy(x.copy()).float()).softmax(1).mean(0)
        found[sample.name] = chance.numpy()
    return found


@pytest.mark.parametrize("count", [1, 10])
def test_scores_equal_an_independent_count(count: int, home: Path, tmp_path: Path) -> None:
    protocol = ProtocolConfig(crops=count)
    path = evaluate(EvaluateConfig(run=str(home / "run"), protocol=protocol, batch=4, **CPU))
    found = read_json(path)
    wanted = independent(home, count)
    data = load(DataConfig(name="folders", root=str(home / "few")), "val")
    hits = {s.name: int(wanted[s.name].argmax()) == s.label for s in data.samples}
    assert found["truth"]["top1"] == pytest.approx(100 * np.mean(list(hits.values())))
    each = [np.mean([v for n, v in hits.items() if n.startswith(c)]) for c in found["classes"]]
    assert found["truth"]["accuracy"] == pytest.approx([100 * v for v in each])
    assert found["truth"]["class_accuracy"] == pytest.approx(100 * np.mean(each))
    assert found["truth"]["top1"] > 60, "colours are learnt in 60 steps"
    assert path.name.endswith("_val.json" if count == 1 else "_val_crops10.json")
    given = PredictConfig(run=str(home / "run"), out=str(tmp_path / "p"), protocol=protocol, **CPU)
    out = predictions(given)
    for part in ("1/2", "0/2", "all/2"):
        again = predictions(replace(given, out=str(tmp_path / "parts"), part=part))
    table = (out / "predictions.csv").read_bytes()
    assert (again / "predictions.csv").read_bytes() == table
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert [r["name"] for r in rows] == [s.name for s in data.samples]
    for row in rows:
        chance = wanted[row["name"]]
        assert found["classes"].index(row["class"]) == chance.argmax()
        assert float(row["probability"]) == pytest.approx(chance.max(), abs=1e-3)


def test_processes_take_turns_at_batches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine images in batches of two: five batches, three and two; the same labels in order."""
    model, machine = load_model(home / "run"), runtime("cpu", "fp32")
    config = teaching(home).data
    reading = Reading(config, model.network, batch=2, workers=0)
    given = (machine, model.net, reading, load(config, "val"), "x1")
    alone, shares = classify(*given), []
    monkeypatch.setattr(inference, "world", lambda: 2)
    for turn in (0, 1):
        monkeypatch.setattr(inference, "rank", lambda turn=turn: turn)
        monkeypatch.setattr(inference, "all_gather", lambda own: shares.append(own) or shares)
        together = classify(*given)
    assert [len(share) for share in shares] == [3, 2]
    for one, two in zip(alone, together, strict=True):
        assert len(one) == 9 and np.array_equal(one, two)


def test_more_classes_than_a_byte_holds(home: Path, tmp_path: Path) -> None:
    data = DataConfig(name="folders", root=str(home / "many"), resize=[32, 32])
    run = train(teaching(home, run=str(tmp_path / "run"), data=data, steps=1, eval_every=1))
    validated = [r["evaluation"] for r in read_metrics(run) if "evaluation" in r]
    assert set(validated[0]) == {"top1", "class_accuracy"}
    tensors = load_model(run).net.state_dict()
    tensors["fc.weight"].zero_()
    tensors["fc.bias"].zero_()[258] = 1.0  # all images are of the last class but one
    start = tmp_path / "constant.safetensors"
    save_file(tensors, start)
    made = teaching(home, run=str(tmp_path / "made"), data=data, steps=0, start=str(start))
    found = read_json(evaluate(EvaluateConfig(run=str(train(made)), **CPU)))
    assert found["truth"]["top1"] == pytest.approx(100 / 260)
    assert [i for i, v in enumerate(found["truth"]["accuracy"]) if v] == [258]


def test_a_files_body_starts_another_data_sets_network(home: Path, tmp_path: Path) -> None:
    """What a Places checkpoint is to MIT Indoor 67: l2_sp holds the body, the last layer is new."""
    file = home / "run" / "model.safetensors"
    data = DataConfig(name="folders", root=str(home / "many"), resize=[32, 32])
    config = teaching(home, run=str(tmp_path / "run"), data=data, start=f"backbone:{file}", steps=0)
    body, made = weights(home / "run"), weights(train(config))
    assert made["fc.weight"].shape == (260, 1024)
    assert all(torch.equal(made[k], v) for k, v in body.items() if not k.startswith("fc."))
    held = PenaltyConfig("l2_sp", 1e3, 0.0)
    moved = [
        train(
            replace(config, run=str(tmp_path / p.name), steps=4, bn="eval", penalty=p,
                    schedule=ScheduleConfig(lr=1e-3, momentum=0.0))
        )
        for p in (held, PenaltyConfig("none"))
    ]  # fmt: skip
    first = "stage2.0.branch2.0.weight"
    far = [(weights(r)[first] - body[first]).norm() for r in moved]
    assert 0 < far[0] < 0.7 * far[1]
    with pytest.raises(InputError, match=r"3 outputs; the data has 260 .*start=backbone:.*all but"):
        train(replace(config, run=str(tmp_path / "x"), start=str(file)))
    other = replace(config, run=str(tmp_path / "x"), network=NetworkConfig(name="resnet18"))
    refused(other, r"does not fit resnet18: bn1\.bias")


def test_a_body_may_lie_in_a_segmentation_network(tmp_path: Path) -> None:
    """A classifier's file as the backbone; and a file of the network itself, but for its head."""
    places = models.resnet50(weights=None, num_classes=365)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in places.state_dict().items()}},
        tmp_path / "p.pth.tar",
    )
    config = NetworkConfig(name="pspnet_resnet50")
    net = build_network(config, 4)
    found, _ = pretrained(f"backbone:{tmp_path / 'p.pth.tar'}", config, net)
    assert torch.equal(found["backbone.layer4.2.conv3.weight"], places.layer4[2].conv3.weight)
    values = [k for k in found if not k.endswith(COUNTER)]
    assert not any(k.startswith(("pyramid", "classifier")) for k in values)
    coco = build_network(config, 21)
    save_file(coco.state_dict(), tmp_path / "coco.safetensors")
    for classes in (4, 21):  # the head is new even where its shape is the same
        net = build_network(config, classes)
        found, _ = pretrained(f"backbone:{tmp_path / 'coco.safetensors'}", config, net)
        assert net.state_dict().keys() - found.keys() == {
            "classifier.4.weight",
            "classifier.4.bias",
        }
        assert torch.equal(found["pyramid.levels.0.1.weight"], coco.pyramid.levels[0][1].weight)


def test_every_pool_alias_is_a_layer_and_imagenet_means_the_classifiers_own_weights() -> None:
    assert len(CLASSIFIERS) > 70
    for name in ("vgg16_bn", "convnext_tiny", "vit_b_16"):
        assert str(enum_of("imagenet", NetworkConfig(name=name))).endswith("IMAGENET1K_V1")
    for name, halvings in (("resnet101", 5), ("vgg11", 5), ("squeezenet1_1", 0)):
        net = build_network(NetworkConfig(name=name), 3)
        assert len(net.aliases) == halvings  # type: ignore[arg-type]
        assert all(isinstance(net.get_submodule(v), nn.Module) for v in net.aliases.values())  # type: ignore[union-attr]


def test_pairs_adapt_a_classifier_and_the_agreement_is_of_labels(
    home: Path, tmp_path: Path
) -> None:
    """The method is one loop: the same regression, with the labels' agreement at its end."""
    data = DataConfig(name="folders", root=str(home / "few"))
    shift = ShiftConfig("photocopy", {"mask_radius": 5.0})
    make_distorted(DistortConfig(data=data, shift=shift, out=str(tmp_path / "d2"), workers=1))
    config = teaching(
        home, run=str(tmp_path / "run"), teacher=str(home / "run"), domain="d2",
        data=DataConfig(target=str(tmp_path / "d2")), network=NetworkConfig(), bn="affine",
        penalty=PenaltyConfig("none"), schedule=ScheduleConfig(lr=0.01), steps=1,
        objective=ObjectiveConfig("stage2", regression=RegressionConfig(1.0, {"stage2": 1.0})),
    )  # fmt: skip
    run = train(config)
    found = read_json(evaluate(EvaluateConfig(run=str(run), **CPU)))
    assert found["images"] == 9 and found["domain"] == "d2"
    new = DataConfig(target=str(tmp_path / "d2"))
    teacher = EvaluateConfig(teacher=str(home / "run"), data=new, domain="d2", **CPU)
    before = read_json(evaluate(teacher))
    said = []
    for domain in ("d1", "d2"):
        out = str(tmp_path / f"labels {domain}")
        made = PredictConfig(run=str(home / "run"), domain=domain, out=out, data=new, **CPU)
        table = (predictions(made) / "predictions.csv").read_text()
        said.append([row["class"] for row in csv.DictReader(table.splitlines())])
    agreeing = np.mean([a == b for a, b in zip(*said, strict=True)])
    assert before["agreement"]["top1"] == pytest.approx(100 * agreeing)
    kd = replace(config, run=str(tmp_path / "x"), objective=ObjectiveConfig("kd", kd=KDConfig(1.0)))
    with pytest.raises(InputError, match="objective: kd is for one label a pixel only"):
        train(kd)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": NetworkConfig(width=1 / 32)}, "a pixel, but the data set folders one"),
        ({"data": {"crop": []}}, r"data\.resize=\[40\] needs data\.crop"),
        ({"data": {"resize": [], "crop": []}}, "images of all sizes need"),
        ({"network": NetworkConfig(name=LIGHT, width=0.5)}, "fixed architecture"),
    ],
)
def test_what_does_not_go_together_is_said_first(
    changes: dict, message: str, home: Path, tmp_path: Path
) -> None:
    config = teaching(home, run=str(tmp_path / "run"))
    if "data" in changes:
        changes = {"data": replace(config.data, **changes["data"])}
    refused(replace(config, **changes), message)


def test_what_is_for_pixels_says_so(home: Path, world: Path, tmp_path: Path) -> None:
    run, teacher = str(home / "run"), str(world / "teacher")
    for settings, words in (
        ({"run": run, "protocol": ProtocolConfig(window=[8, 8])}, r"is for segmentation; .*crops"),
        ({"run": run, "protocol": ProtocolConfig(flip=True)}, r"is for segmentation; .*crops=10"),
        ({"run": run, "loss": True}, "loss=true needs one label a pixel"),
        ({"run": run, "data": DataConfig(crop=[64, 64])}, r"kind000/v1: data\.crop .*, larger"),
        ({"teacher": teacher, "protocol": ProtocolConfig(crops=10)}, "is for classification"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate(EvaluateConfig(**settings, **CPU))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one label an image; this is for one a pixel"):
        export(ExportConfig(run=run, out=str(tmp_path / "out")))
    with pytest.raises(InputError, match=r"protocol\.crops is 5"):
        ProtocolConfig(crops=5)
    data = DataConfig(name="camvid", root=str(world / "d1"), crop=[32, 40])
    with pytest.raises(InputError, match="an image, but the data set camvid one label a pixel"):
        train(teaching(world, run=str(tmp_path / "run"), data=data))
