"""Adapters: they start as nothing, they alone train, and a small file puts them on their base."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from commands import run
from safetensors.torch import load_file
from tiny import adapting, interrupted, refused, same, teaching, weights
from torch import nn

import adapt
from adapt.data import load
from adapt.disk.files import read_mapping, sha256
from adapt.disk.runs import read_data, read_summary
from adapt.disk.tensors import read_metadata
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, batches_of
from adapt.evaluation.ridge import insert_map, ridge_maps
from adapt.export import export
from adapt.machine.runtime import runtime
from adapt.networks import build_network
from adapt.networks.adapters import NAME, adapted, is_added, load_maps
from adapt.networks.factory import copied
from adapt.networks.saved import load_model
from adapt.networks.taps import logits_of
from adapt.settings.commands import ExportConfig, MergeConfig
from adapt.settings.groups import NetworkConfig, PenaltyConfig
from adapt.settings.training import TrainConfig
from adapt.training.adapters import places
from adapt.training.merge import merge
from adapt.training.train import train

PLACES = {"conv2": 3, "pool3": 0}
SIZE = (33, 49)
VGG = NetworkConfig(width=1 / 32, batch_norm=True)
MOBILENET = NetworkConfig("lraspp_mobilenet_v3_large")


def small() -> nn.Module:
    torch.manual_seed(3)
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    body = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(OrderedDict(stem=stem, body=body, head=nn.Conv2d(8, 5, 1)))


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: build_network(VGG, 3), PLACES | {"auto": 2}),
        (lambda: build_network(MOBILENET, 3), {"pool2": 4, "pool5": 2}),
        (small, {"stem.0": 2, "body": 0}),
    ],
    ids=["vgg", "mobilenet", "sequential"],
)
@pytest.mark.parametrize("half", [False, True])
def test_new_adapters_change_nothing_bit_for_bit(
    make: Callable[[], nn.Module], where: dict[str, int], half: bool
) -> None:
    """Neither the output, in bf16 too, nor the names of the other tensors."""
    net, images = make().eval(), torch.randn(2, 3, *SIZE)
    before = net.state_dict().keys()
    with torch.autocast("cpu", enabled=half), torch.no_grad():
        plain = logits_of(net(images))
        adapted(net, places(net, where, SIZE))
        assert torch.equal(logits_of(net(images)), plain)
    assert before < net.state_dict().keys()
    assert before == {k for k in net.state_dict() if not is_added(k)}


def test_an_affine_map_that_was_fitted_is_what_a_linear_adapter_computes() -> None:
    net, images = small().eval(), torch.randn(2, 3, 8, 10)
    weight, bias = torch.randn(8, 8), torch.randn(8)
    plain = net.body(net.stem(images))
    adapted(net, {"body.2": (8, 0)})
    load_maps(net, {"body.2": (weight, bias)})
    wanted = torch.einsum("ij,bjhw->bihw", weight, plain) + bias[:, None, None]
    assert torch.allclose(net.body(net.stem(images)), wanted, atol=1e-5)


def test_linear_adapters_start_where_they_undo_the_shift_in_closed_form(
    world: Path, tmp_path: Path
) -> None:
    """Each is fitted behind those before it; a stopped training goes on from what it had learnt."""
    how: dict[str, Any] = {"adapters": {"pool3": "ridge", "conv2": "ridge"}, "checkpoint_every": 1}
    start = train(adapting(world, tmp_path / "start", **how | {"steps": 0}))
    teacher, settings = load_model(world / "teacher"), read_data(start)
    reading = Reading(settings, teacher.network, 2, 0)
    data, machine = load(settings, "train"), runtime("cpu", "fp32")
    behind = copied(teacher.net)
    for layer in "conv2.5", "pool3":
        pairs = batches_of(machine, reading, data, "", "x1", "x2")
        weight, bias = ridge_maps(behind, [layer], pairs, teacher.net)[layer]
        insert_map(behind, layer, weight, bias)
        change, found = weight - torch.eye(len(weight)), weights(start)
        own = found[f"{layer}.{NAME}.up.weight"][..., 0, 0]
        assert torch.allclose(own, change, atol=1e-4) and change.any()
        assert torch.allclose(found[f"{layer}.{NAME}.up.bias"], bias, atol=1e-4)
    whole = train(adapting(world, tmp_path / "whole", **how))
    interrupted(adapting(world, tmp_path / "run", **how), 2)
    assert same(train(adapting(world, tmp_path / "run", **how)), whole) and not same(whole, start)
    refused(
        teaching(world, run=str(tmp_path / "x"), start=str(world / "teacher"), **how),
        "adapters.pool3 is ridge, which is fitted on pairs to a teacher",
    )


@pytest.fixture(scope="module")
def student(world: Path) -> Path:
    penalty = PenaltyConfig("l2_sp", 1e-2, 1e-2)
    return train(adapting(world, world / "added", adapters=PLACES, penalty=penalty, ema=0.5))


def test_only_adapters_train(world: Path, student: Path) -> None:
    """The base of the small file is the teacher's very file; to the penalty adapters are new."""
    teacher, found = weights(world / "teacher"), weights(student)
    assert {k for k in found if not is_added(k)} == teacher.keys()
    assert all(torch.equal(found[k], v) for k, v in teacher.items())
    added = load_file(student / "adapters.safetensors")
    assert added.keys() == found.keys() - teacher.keys()
    assert any(v.any() for k, v in added.items() if ".up." in k)
    base = read_metadata(student / "adapters.safetensors")["base"]
    assert base == sha256(world / "teacher/model.safetensors")
    split = read_summary(student)["parameters"]
    assert split["new"] == sum(v.numel() for v in added.values())
    assert split["to_zero"] == sum(v.numel() for k, v in added.items() if k.endswith("weight"))
    assert split["to_start"] == 0


def test_a_small_file_and_its_base_are_the_run(world: Path, student: Path, tmp_path: Path) -> None:
    """From which a training of the adapters goes on; on another base the file is refused."""
    file = str(student / "adapters.safetensors")
    again = train(adapting(world, tmp_path / "again", adapters=file, steps=0))
    assert same(again, student) and read_summary(again)["inputs"]["adapters"] == sha256(Path(file))
    on = train(adapting(world, tmp_path / "on", start=str(again), steps=1, batch=1))
    teacher = weights(world / "teacher")
    assert not same(on, again) and all(torch.equal(weights(on)[k], v) for k, v in teacher.items())
    other = train(teaching(world, run=str(tmp_path / "other"), steps=1))
    refused(
        adapting(world, tmp_path / "x", teacher=str(other), adapters=file, steps=0),
        "is for the network whose weights have the SHA-256 .*; those of the start have",
    )
    refused(adapting(world, tmp_path / "x", start=file), "has adapters only; fra train start=BASE")
    refused(adapting(world, tmp_path / "x", start=str(on), adapters={"conv1": 2}), "has some alrea")
    with pytest.raises(InputError, match="added has adapters, of which there is no mean"):
        merge(MergeConfig([str(student)], run=str(tmp_path / "x")))


def test_a_stopped_training_of_adapters_goes_on(world: Path, student: Path, tmp_path: Path) -> None:
    penalty = PenaltyConfig("l2_sp", 1e-2, 1e-2)
    how = {"adapters": PLACES, "penalty": penalty, "ema": 0.5, "checkpoint_every": 1}
    interrupted(adapting(world, tmp_path / "run", **how), 2)
    assert same(train(adapting(world, tmp_path / "run", **how)), student)


def test_an_export_has_the_adapters(student: Path, tmp_path: Path) -> None:
    """Parity with the run is its own test; ONNX and the module that needs nothing of this."""
    size = list(cv2.imread(str(next((student.parent / "d1/val").iterdir()))).shape[:2])
    export(ExportConfig(str(student), out=str(tmp_path / "out"), images=1, size=size))
    about = read_mapping(tmp_path / "out/config.json")["architecture"]
    assert list(about["adapters"].values()) == [[4, 3], [8, 0]]
    assert sha256(tmp_path / "out/model.safetensors") == load_model(student).digest


def test_a_network_of_ones_own_gets_adapters_from_python(tmp_path: Path) -> None:
    rng, net = np.random.default_rng(0), small()
    images = rng.integers(0, 256, (24, 24, 32, 3), dtype=np.uint8)
    how: dict[str, Any] = {"steps": 2, "batch": 4, "device": "cpu"}
    pairs = [(image, 255 - image // 2) for image in images]
    one = adapt.fit(net, pairs, run=tmp_path / "one", settings={"adapters": {"auto": 2}}, **how)
    state = one.student.state_dict()
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    assert {k.partition(".added")[0] for k in state if is_added(k)} == {"stem.2", "body.2"}
    again = adapt.load(tmp_path / "one", small).student.state_dict()
    assert all(torch.equal(again[k], v) for k, v in state.items())
    two = adapt.fit(one.student, pairs, run=tmp_path / "two", **how).student.state_dict()
    assert two.keys() == state.keys() and torch.equal(two["head.weight"], state["head.weight"])


class Skip(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bn": "affine"}, "bn=affine: with adapters all else is kept anyway; leave it out"),
        ({"freeze": "pool3"}, "freeze=pool3: with adapters all else is kept"),
        ({"adabn": True}, "adabn=true changes statistics that adapters would keep: make a run"),
        ({"adapters": {"conv2": -1}}, r"adapters\.conv2 is -1; it must be at least 0"),
        (
            {"adapters": {"conv2": 1.5}},
            r"conv2 is 1.5; its rank is a whole number, or ridge",
        ),
        ({"adapters": ["conv2"]}, r"adapters is \['conv2'\]; give {layer: rank, ...} \| {auto: "),
    ],
)
def test_settings_that_contradict_adapters_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainConfig(**{"adapters": PLACES} | changes)
    assert TrainConfig(adapters=PLACES).bn == "eval"


def test_layers_that_cannot_have_one_are_named(world: Path, tmp_path: Path) -> None:
    refused(teaching(world, run=str(tmp_path / "x"), adapters=PLACES), "not for start=none: give")
    refused(
        adapting(world, tmp_path / "x", adapters={"conv9": 2}), "adapters: layer: 'conv9' is not"
    )
    net = nn.Sequential(Skip(nn.Conv2d(3, 3, 1)), nn.Conv2d(3, 2, 1))
    with pytest.raises(InputError, match=r"0 cannot have one .a Skip .* before or inside it"):
        places(net, {"0": 2}, SIZE)


@pytest.mark.system
def test_one_command_makes_a_small_file(world: Path) -> None:
    done = run(
        "adapt.py", "data.target=d2", "teacher=teacher", "adapters={auto: 2}", "steps=2", "batch=2",
        "device=cpu", "run=small", cwd=world,
    )  # fmt: skip
    assert "adapters after conv1." in done.stdout and "(bn=eval)" in done.stdout
    assert "agreement" in done.stdout or "no verdict" in done.stdout
    assert (world / "small/adapters.safetensors").stat().st_size < 20_000
