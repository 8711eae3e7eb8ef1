"""scripts/fisher.py: the right images, equal bytes, never two configurations in one file."""

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from adapt.analysis.fisher import fisher
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.errors import InputError
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import load_model
from adapt.penalties.fisher import fisher_of, load_fisher
from adapt.settings.commands import FisherConfig
from adapt.settings.groups import DataConfig, NetworkConfig


def config(world: Path, out: Path, **changes: object) -> FisherConfig:
    made = FisherConfig(run=str(world / "teacher"), out=str(out), device="cpu")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_it_is_that_of_the_old_training_images_whole(world: Path, tmp_path: Path) -> None:
    """The run was trained on random 32 x 40 crops, mirrored; here images are as they are."""
    found = load_fisher(fisher(config(world, tmp_path / "f.safetensors", draws=2, seed=4)))
    model = load_model(world / "teacher")
    images = [
        (path.stem, as_input(tensor(read_image(path))[None], model.network))
        for path in sorted((world / "d1/train").iterdir())
    ]
    wanted = fisher_of(model.net, images, "sum", draws=2, seed=4)
    assert found.values.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.allclose(found.values[name], value, rtol=1e-4, atol=1e-7), name
    about = {"model": model.digest, "data": "camvid", "split": "train", "images": 6, "draws": 2,
             "seed": 4, "normalisation": "sum", "precision": "fp32"}  # fmt: skip
    assert {key: found.made[key] for key in about} == about
    assert found.made["versions"]["torch"] == version("torch")


def test_a_weights_file_or_a_paired_run_gives_the_same(world: Path, tmp_path: Path) -> None:
    changes = {
        "run": "",
        "start": str(world / "teacher/model.safetensors"),
        "network": NetworkConfig(width=1 / 32, batch_norm=True),
        "data": DataConfig(name="camvid", root=str(world / "d1")),
    }
    pairs = {"data": DataConfig(target=str(world / "d2"))}  # the old image of each counts
    files = [
        fisher(config(world, tmp_path / f"{n}.safetensors", images=2, **given))
        for n, given in enumerate(({}, pairs, changes))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    a, b = load_fisher(files[0]), load_fisher(files[2])
    assert all(torch.equal(a.values[name], b.values[name]) for name in a.values)
    assert {k for k in a.made if a.made[k] != b.made[k]} == {"source"}


def test_a_finished_file_is_recognised_and_another_configuration_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.safetensors"
    fisher(config(world, out, images=2))
    before, printed = out.read_bytes(), capsys.readouterr().out
    assert "Fisher information of" in printed and "2 images of camvid train" in printed
    moved = tmp_path / "moved"
    shutil.copytree(world / "teacher", moved)
    assert fisher(config(world, out, images=2, run=str(moved))) == out, "the same bytes elsewhere"
    assert "finished already" in capsys.readouterr().out
    for changes, key in (
        ({"images": 3}, "images: 2 -> 3"),
        ({"images": 2, "seed": 7}, "seed: 0 -> 7"),
        ({"images": 2, "normalisation": "mean"}, "normalisation: 'sum' -> 'mean'"),
        ({"images": 2, "split": "val"}, "split: 'train' -> 'val'"),
        ({"images": 2, "data": DataConfig(resize=[20, 28])}, "resize: "),
        ({"images": 2, "data": DataConfig(bands=[3, 2, 1])}, "reading: "),
    ):
        with pytest.raises(InputError, match=key):
            fisher(config(world, out, **changes))
    assert out.read_bytes() == before
    other = shutil.copy(world / "teacher/model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not a Fisher file"):
        fisher(config(world, Path(other)))
    assert Path(other).read_bytes() == (world / "teacher/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "f.pt"}, "out is 'f.pt'; give a file that ends with .safetensors"),
        ({"run": ""}, "give run=DIR, or start=FILE"),
        ({"start": "coco"}, "give run=DIR, or start=FILE"),
        ({"run": "", "start": "imagenet"}, "start=imagenet has no trained output"),
        ({"normalisation": "pixel"}, "Choices: sum, mean"),
        ({"draws": 0}, "draws is 0; it must be at least 1"),
        ({"run": "runs/techer"}, "no such run folder: runs/techer"),
        ({"network": NetworkConfig("fcn8s_vgg16")}, "'deeplab_vgg16' -> 'fcn8s_vgg16'"),
        ({"split": "tset"}, "tset"),
    ],
)
def test_wrong_input_is_named_and_nothing_written(
    world: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fisher(config(world, **{"out": tmp_path / "f.safetensors"} | changes))
    assert not list(tmp_path.iterdir())
