"""A network that sees BGR in 0..255, as a file of another library says, through every command."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny import adapting, curve

from adapt.disk.runs import read_config
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.networks.saved import load_model
from adapt.settings.commands import EvaluateConfig, PredictConfig
from adapt.settings.groups import NetworkConfig
from adapt.training.train import train
from viz.inversion.style import invert_image

pytestmark = pytest.mark.system
RGB = NetworkConfig()
SEEN = "network sees BGR in 0..255, mean 103.53 116.28 123.67, std 57.375 57.12 58.395"


@pytest.fixture(scope="module")
def home(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `rgb` of two steps, and `bgr` of the same teacher with its first layer turned, whose
    file of preprocessing is gone."""
    place = tmp_path_factory.mktemp("bgr")
    weights = load_file(world / "teacher/model.safetensors")
    first = next(k for k, v in weights.items() if v.ndim == 4 and v.shape[1] == 3)
    save_file(weights | {first: weights[first].flip(1).contiguous()}, place / "bgr.safetensors")
    ends = {k: [255 * v for v in reversed(getattr(RGB, k))] for k in ("mean", "std")}
    stated = {"input_space": "BGR", "input_range": [0, 255], **ends}
    (place / "smp.json").write_text(json.dumps(stated))
    train(adapting(world, place / "rgb", steps=2))
    done = commands.run(
        "train.py", "objective=default", "domain=d2", f"teacher={place / 'bgr.safetensors'}",
        "network.width=0.03125", "network.batch_norm=true",
        "network.preprocessing=smp.json", "data=camvid", f"data.root={world / 'd1'}",
        f"data.target={world / 'd2'}", "data.crop=[32,40]", "taps={pool3: 1}", "steps=2", "batch=2",
        "penalty=l2_sp", "penalty.alpha=0.01", "penalty.beta=0.01", "schedule.lr=0.02",
        "log_every=1", "precision=fp32", "device=cpu", "run=bgr", cwd=place,
    )  # fmt: skip
    assert SEEN in done.stdout.splitlines()
    (place / "smp.json").unlink()
    return place


def test_it_trains_and_scores_as_its_twin_that_sees_rgb(home: Path) -> None:
    """Its convolutions add the same products in another order."""
    network = read_config(home / "bgr")["network"]
    assert (network["order"], network["range"], network["preprocessing"]) == ("bgr", 255, "")
    losses = [[step["loss"] for step in curve(home / run)] for run in ("rgb", "bgr")]
    assert np.allclose(losses[0], losses[1], rtol=1e-4) and losses[0][0] > 0
    paths = [evaluate(EvaluateConfig(run=str(home / run))) for run in ("rgb", "bgr")]
    a, b = (np.array(json.loads(path.read_text())["confusion"]) for path in paths)
    assert a.sum() == b.sum() and np.abs(a - b).sum() < 0.01 * a.sum()


def test_it_predicts_and_is_inverted_as_its_twin(home: Path) -> None:
    maps, images = [], []
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for run in ("rgb", "bgr"):
        out = home / f"{run}_masks"
        predictions(PredictConfig(run=str(home / run), out=str(out), probabilities=True))
        maps.append(np.load(min((out / "probabilities").iterdir()))["probabilities"])
        model = load_model(home / run)
        found = invert_image(model.net, model.network, noise, {"pool1": 1.0}, steps=3)
        images.append(found.image.astype(int))
    assert np.allclose(*maps, rtol=0, atol=2e-4) and maps[0].std() > 1e-3  # float16: steps of 6e-5
    assert np.abs(images[0] - images[1]).max() <= 2 < images[0].std()
