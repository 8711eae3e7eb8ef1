"""Teachers and starts that are files, in every form that people have."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import adapting, refused, same, teaching, weights

from adapt.disk.files import read_json
from adapt.disk.runs import read_config
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.networks.saved import is_file, is_run, start_point_of
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.training.train import train

NETWORK = NetworkConfig(width=1 / 32, batch_norm=True)


def stored(folder: Path, form: str, world: Path) -> Path:
    """The world's teacher as somebody else may have kept it."""
    state = weights(world / "teacher")
    if form == "safetensors":
        save_file(state, folder / "w.safetensors")
        return folder / "w.safetensors"
    parallel = {f"module.{k}": v for k, v in state.items()}
    content = {
        "bare": state,
        "wrapped": {"state_dict": state, "epoch": 3},
        "parallel": {"model": parallel, "optimizer": {"lr": 0.1}},
    }[form]
    torch.save(content, folder / "w.pth")
    return folder / "w.pth"


@pytest.mark.parametrize("form", ["safetensors", "bare", "wrapped", "parallel"])
def test_a_training_of_no_steps_makes_a_run_of_a_file(
    form: str, world: Path, tmp_path: Path
) -> None:
    file = stored(tmp_path, form, world)
    run = train(teaching(world, run=str(tmp_path / "run"), start=str(file), steps=0))
    assert same(run, world / "teacher")


def test_a_file_teaches_as_the_run_that_it_came_from(world: Path, tmp_path: Path) -> None:
    """Also without class names, as in two folders of pairs: the outputs are counted."""
    file = stored(tmp_path, "safetensors", world)
    pairs = DataConfig(
        name="pairs", root=str(world / "d1/train"), target=str(world / "d2/train"), crop=[32, 40]
    )
    named = replace(pairs, classes=list(read_json(world / "teacher/model.json")["classes"]))
    by_run = train(adapting(world, tmp_path / "by_run", steps=3, data=named))
    by_file = train(
        adapting(world, tmp_path / "by_file", steps=3, data=pairs, network=NETWORK,
                 teacher=str(file))
    )  # fmt: skip
    assert same(by_run, by_file)
    assert read_json(by_file / "model.json")["classes"] == [f"class {i}" for i in range(11)]
    assert start_point_of(read_config(by_file)) == str(file)
    data = DataConfig(target=str(world / "d2/train"))
    scores = evaluate(EvaluateConfig(run=str(by_file), split="train", data=data, device="cpu"))
    found = read_json(scores)
    assert found["truth"] is None and 0 < found["agreement"]["miou"] <= 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; give a state_dict"),
        ({}, "holds a dict; give a state_dict"),
        ({"a": torch.zeros(1), "lr": 0.1}, "no tensors under lr"),
        ({"conv9.weight": torch.zeros(1)}, r"missing: .*not in the network: conv9\.weight"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    content: object, message: str, world: Path, tmp_path: Path
) -> None:
    file = tmp_path / "w.pth"
    torch.save(content, file)
    refused(teaching(world, run=str(tmp_path / "run"), start=str(file), steps=0), message)


def test_a_slip_of_the_pen_is_noticed(world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such run folder: imagnet\. Did you mean 'imagenet'"):
        train(teaching(world, run=str(tmp_path / "run"), start="imagnet"))


def test_the_kind_of_a_source_shows_in_its_name(tmp_path: Path) -> None:
    assert is_file("a/b.pth") and is_file("w.safetensors") and not is_file("runs/teacher")
    (tmp_path / "v1.pt").mkdir()
    assert is_run(str(tmp_path / "v1.pt")), "a run folder may be called so"
    assert not any(map(is_run, ("", "none", "imagenet", "x.pth", "VGG16_Weights.DEFAULT")))
    record = {"teacher": "", "start": "imagenet"}
    assert start_point_of(record) == "" and start_point_of(record | {"start": "w.pth"}) == "w.pth"


def test_evaluating_a_bare_file_says_how_to_make_it_a_run(world: Path, tmp_path: Path) -> None:
    file = stored(tmp_path, "bare", world)
    with pytest.raises(InputError, match=rf"start={file} steps=0"):
        evaluate(EvaluateConfig(teacher=str(file), domain="d1"))
