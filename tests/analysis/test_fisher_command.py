"""scripts/fisher.py: the right images, restartable, never two configurations in one file."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from adapt.analysis.fisher import fisher
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.errors import InputError, Stopped
from adapt.networks.saved import load_model
from adapt.networks.taps import normalise
from adapt.penalties.fisher import fisher_of, load_fisher
from adapt.settings.commands import FisherConfig
from adapt.settings.groups import DataConfig, NetworkConfig

ROOT = Path(__file__).resolve().parents[2]


def config(world: Path, out: Path, **changes: object) -> FisherConfig:
    made = FisherConfig(run=str(world / "teacher"), out=str(out), device="cpu")
    return replace(made, **changes)  # type: ignore[arg-type]


def command(world: Path, out: Path, *overrides: str) -> list[str]:
    script = [sys.executable, str(ROOT / "scripts" / "fisher.py")]
    return [*script, f"run={world / 'teacher'}", f"out={out}", "device=cpu", *overrides]


def test_it_is_that_of_the_old_training_images_whole(world: Path, tmp_path: Path) -> None:
    """The run was trained on random 32 x 40 crops, mirrored; here images are as they are."""
    found = load_fisher(fisher(config(world, tmp_path / "f.safetensors", draws=2, seed=4)))
    model = load_model(world / "teacher")
    mean, std = model.network.mean, model.network.std
    images = [
        (path.stem, normalise(tensor(read_image(path))[None], mean, std))
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


def test_of_a_pair_it_is_the_old_image(world: Path, tmp_path: Path) -> None:
    fisher(config(world, tmp_path / "a.safetensors"))
    data = DataConfig(target=str(world / "d2"))
    fisher(config(world, tmp_path / "b.safetensors", data=data))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_weights_file_with_its_network_is_as_good_as_a_run(world: Path, tmp_path: Path) -> None:
    fisher(config(world, tmp_path / "run.safetensors", images=2))
    changes = {
        "run": "",
        "start": str(world / "teacher/model.safetensors"),
        "network": NetworkConfig(width=1 / 32, batch_norm=True),
        "data": DataConfig(name="camvid", root=str(world / "d1")),
    }
    fisher(config(world, tmp_path / "file.safetensors", images=2, **changes))
    a, b = (load_fisher(tmp_path / f"{name}.safetensors") for name in ("run", "file"))
    assert all(torch.equal(a.values[name], b.values[name]) for name in a.values)
    assert {k for k in a.made if a.made[k] != b.made[k]} == {"source"}


@pytest.mark.system
def test_killed_at_any_time_it_goes_on_to_the_same_bytes(world: Path, tmp_path: Path) -> None:
    cut, straight = (tmp_path / f"{name}.safetensors" for name in ("cut", "straight"))
    options = ["draws=40", "checkpoint_every=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process, other = (
        subprocess.Popen(command(world, out, *options), env=environment) for out in (cut, straight)
    )
    unfinished = tmp_path / "cut.partial.safetensors"
    while not unfinished.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL, "it was still running"
    with pytest.raises(InputError, match=r"unfinished, \d of 6 images"):
        load_fisher(unfinished)
    again = subprocess.run(
        command(world, cut, *options), env=environment, capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 0 and other.wait(60) == 0, again.stderr
    assert "going on with" in again.stdout
    assert again.stderr == "", "no bars and no warnings where nobody watches"
    assert cut.read_bytes() == straight.read_bytes()
    assert sorted(tmp_path.iterdir()) == [cut, straight]


def test_a_signal_ends_it_with_everything_saved(world: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "cut.safetensors", []

    def interrupt(count: int) -> None:
        seen.append(count)
        if count == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match="goes on behind 4 images") as stop:
        fisher(config(world, out), interrupt)
    assert stop.value.status == 128 + signal.SIGTERM
    saved = (tmp_path / "cut.partial.safetensors").read_bytes()
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        fisher(config(world, out, seed=1))
    assert (tmp_path / "cut.partial.safetensors").read_bytes() == saved
    fisher(config(world, out), interrupt)
    assert seen == [1, 2, 3, 4, 5, 6]
    fisher(config(world, tmp_path / "straight.safetensors"))
    assert out.read_bytes() == (tmp_path / "straight.safetensors").read_bytes()


def test_a_finished_file_is_recognised_and_another_configuration_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.safetensors"
    fisher(config(world, out, images=2))
    before = out.read_bytes()
    capsys.readouterr()
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
    ):
        with pytest.raises(InputError, match=key):
            fisher(config(world, out, **changes))
    assert out.read_bytes() == before


def test_another_kind_of_file_is_never_replaced(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    shutil.copy(world / "teacher/model.safetensors", out)
    before = out.read_bytes()
    with pytest.raises(InputError, match="not a Fisher file"):
        fisher(config(world, out))
    assert out.read_bytes() == before


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


def test_a_broken_image_is_named(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "d1", tmp_path / "d1")
    broken = tmp_path / "d1/train/train_003.png"
    content = np.frombuffer(broken.read_bytes(), np.uint8)
    broken.write_bytes(content[: len(content) // 2].tobytes())
    data = DataConfig(root=str(tmp_path / "d1"))
    with pytest.raises(InputError, match="train_003"):
        fisher(config(world, tmp_path / "f.safetensors", data=data))
    assert not (tmp_path / "f.safetensors").exists()
