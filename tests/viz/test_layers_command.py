"""What scripts/layers.py prints and draws: its table, its similarities, and their sources."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image
from torch import nn
from torchvision.models.segmentation import fcn_resnet50

from adapt.errors import InputError
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.layers import main_path, trace
from adapt.settings.groups import NetworkConfig
from adapt.settings.viz import LayersConfig
from viz.layers.command import layers, listed, short, stride_of, table_of
from viz.layers.similarity import AFTER, INSIDE, INTO, kinds, principal

SIZE = (32, 48)


@pytest.fixture(scope="module")
def fcn() -> nn.Module:
    return fcn_resnet50(weights=None, weights_backbone=None, num_classes=5).eval()


def test_stride_is_known_in_spite_of_rounding() -> None:
    found = {x.name: x for x in trace(DeepLabVGG16(5, width=1 / 32), (321, 33))}
    assert [stride_of(found[f"pool{i}"]) for i in range(1, 6)] == ["2", "4", "8", "8", "8"]
    flat = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert stride_of(trace(flat, SIZE)[2]) == "-"
    flat = nn.Sequential(nn.Conv2d(3, 5, 1, stride=(2, 4)))
    assert stride_of(trace(flat, SIZE)[0]) == "2x4"


def test_table_is_aligned_and_holds_what_was_asked(fcn: nn.Module) -> None:
    found = trace(fcn, SIZE)
    auto = {"backbone.layer1.0": 0.25, "classifier.2": 0.75}
    lines = table_of(listed(found, 2, auto), auto).splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert "backbone.layer4" in names and "backbone.layer4.0" not in names
    marked = [line.split()[0] for line in lines if "%  0.25 " in line or "%  0.75 " in line]
    assert marked == list(auto), "whatever their depth"
    assert lines[0].startswith("layer ") and len({line.index("  ") > 0 for line in lines}) == 1
    starts = {line.rindex(" % ") for line in lines[1:]}
    assert len(starts) == 1
    assert len(table_of(listed(found, 0), {}).splitlines()) == len(found) + 1
    numbers = {0: "0", 999: "999", 1234: "1.23 k", 123_456: "123 k", 9_999_999: "10.00 M"}
    assert {number: short(number) for number in numbers} == numbers


def test_principal_component_and_its_sign() -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(60) / 7).reshape(6, 10)
    for channels in (5, 90):  # fewer and more than cells
        feature_map = np.multiply.outer(rng.normal(0, 1, channels), 4 * wave)
        feature_map += rng.normal(0, 0.01, feature_map.shape)
        for like in (wave, -wave):
            found = principal(torch.from_numpy(feature_map)[None], np.kron(like, np.ones((3, 3))))
            assert np.corrcoef(found.ravel(), like.ravel())[0, 1] > 0.99
            assert found.min() == 0 and found.max() == 1


def test_steps_lie_inside_a_stage_into_a_pooling_or_after_it(fcn: nn.Module) -> None:
    def steps(net: nn.Module) -> tuple[list[str], list[str]]:
        path = main_path(trace(net, SIZE))
        return [x.name for x in path], kinds(path)

    _, found = steps(DeepLabVGG16(5, width=1 / 32, batch_norm=True))
    assert found[:4] == [INSIDE, INTO, AFTER, INSIDE] and found.count(INTO) == 5
    names, found = steps(fcn)
    assert [names[i + 1] for i, kind in enumerate(found) if kind == INTO] == [
        "backbone.maxpool", "backbone.layer2.0",
    ]  # fmt: skip


def test_command_writes_table_and_figure(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    found = layers(LayersConfig(run=str(world / "teacher"), out=str(out), images=2, device="cpu"))
    printed = capsys.readouterr().out
    assert "pool5" in printed and "32x40 pixels" in printed and "into a pooling" in printed
    assert "±" in printed and "2 images)" in printed
    stored = json.loads((out / "layers.json").read_text())
    assert [x["name"] for x in stored] == [x.name for x in found]
    with (out / "layers.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(r["macs"]) for r in rows] == [x.macs for x in found]
    numbers = json.loads((out / "similarity.json").read_text())
    assert len(numbers["images"]) == 2 and len(numbers["steps"]) == len(numbers["layers"]) - 1
    inside = [s["mean"] for s in numbers["steps"] if s["kind"] == INSIDE]
    assert numbers["kinds"][INSIDE]["mean"] == pytest.approx(np.mean(inside))
    picture = np.array(Image.open(out / "similarity.png"))
    assert picture.shape[1] > 1000 and picture.std() > 20


def test_command_without_a_run_or_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = NetworkConfig(width=1 / 32)
    out = tmp_path / "out"
    layers(LayersConfig(network=small, classes=3, size=[32, 40], out=str(out)))
    assert sorted(p.name for p in out.iterdir()) == ["layers.csv", "layers.json"]
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(photo)
    layers(
        LayersConfig(
            network=small, size=[32, 40], out=str(out), image=str(photo), taps=["pool1", "conv2"],
            device="cpu",
        )
    )  # fmt: skip
    assert json.loads((out / "similarity.json").read_text())["layers"] == ["pool1", "conv2"]
    of_one = capsys.readouterr().out.partition("of successive maps")[2]
    assert "(1 steps, 1 images)" in of_one and "±" not in of_one  # one image has no spread
    alone = LayersConfig(network=small, out=str(tmp_path / "alone"), image=str(photo), device="cpu")
    layers(replace(alone, taps=["pool1"]))
    assert (
        "no figure" in capsys.readouterr().out and not (tmp_path / "alone/similarity.png").exists()
    )


def test_wrong_settings_write_nothing(world: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    small = {"network": NetworkConfig(width=1 / 32), "size": [32, 40], "out": out}
    (tmp_path / "empty").mkdir()
    wrong: list[tuple[dict, str]] = [
        ({"image": str(tmp_path / "no.png")}, r"no\.png"),
        ({"image": str(tmp_path / "empty")}, "no file that ends with"),
        ({"image": "x.png", "out": ""}, "needs out=DIR"),
        ({"taps": ["pool9"]}, "Did you mean 'pool5'"),
        ({"taps": ["conv1.0", "pool1"]}, "overwritten in conv1.1"),
        (
            {"run": str(world / "teacher"), "network": NetworkConfig(width=0.5)},
            "width: 0.03125 -> 0.5",
        ),
        ({"run": str(tmp_path)}, "not a run folder"),
    ]
    for changes, message in wrong:
        with pytest.raises(InputError, match=message):
            layers(LayersConfig(**small | changes))
    with pytest.raises(InputError, match="size"):
        LayersConfig(size=[32])
    assert not (tmp_path / "out").exists()


@pytest.mark.system
def test_script_lists_a_network_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, classes, 1))\n"
    )
    settings = ("network.factory=mine:net", "+network.aliases={deep: '1'}", "classes=7")
    done = run("layers.py", *settings, "size=[20,30]", "depth=1", cwd=tmp_path)
    lines = [line.split() for line in done.stdout.splitlines()[2:7]]
    assert [line[0] for line in lines] == ["layer", "0", "1", "2", "(network)"]
    assert lines[2][1:4] == ["deep", "ReLU", "4x18x28"] and lines[3][2] == "7x18x28"
    assert "\ntaps=auto would take {1: 1}\n" in done.stdout
    assert done.stderr == "" and list(tmp_path.glob("*.json")) == []
