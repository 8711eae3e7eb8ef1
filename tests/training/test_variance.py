"""The teacher's variance, by which distance=variance divides: its value, its record, its errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import adapting, curve, interrupted, same

import adapt
from adapt.data.sampling import Stream
from adapt.errors import InputError
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import load_model
from adapt.networks.taps import forward
from adapt.settings.groups import DataConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.training import variance
from adapt.training.setup import prepare, resolve
from adapt.training.train import train

TAPS = {"pool1": 0.2, "pool3": 1.0}


def divided(world: Path, run: Path, **changes: object):
    own = RegressionConfig(1.0, TAPS, "variance")
    return adapting(world, run, objective=ObjectiveConfig("v", own), **changes)


def test_it_is_that_of_the_teachers_maps_recorded_and_resumed_from(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the images as training cuts them; with maps that are cached it is the same."""
    config = divided(world, tmp_path / "a", steps=4, checkpoint_every=2)
    setup = prepare(*resolve(config))
    found = setup.config.objective.regression.variance
    assert f"in 6 training images: pool1 {found['pool1']:.3g}, pool3" in capsys.readouterr().out
    stream, teacher = (
        Stream(setup.data, setup.config.data, ["x1"], 0),
        load_model(world / "teacher"),
    )
    images = torch.stack([stream[i]["x1"] for i in range(6)])
    assert images.shape[2:] == (32, 40)
    with torch.no_grad():
        maps = forward(teacher.net.eval(), as_input(images, teacher.network), TAPS)
    for tap, value in found.items():
        channels = maps[tap].double().numpy().swapaxes(0, 1)
        assert value == pytest.approx(np.mean([one.var() for one in channels]), rel=1e-5)
    train(config)
    record = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
    assert record["objective"]["regression"]["variance"] == found
    broken = divided(world, tmp_path / "b", steps=4, checkpoint_every=2, cache_teacher="ram",
                     data=DataConfig(target=str(world / "d2"), views=1))  # fmt: skip
    interrupted(broken, 3)
    monkeypatch.delattr(variance, "estimated")  # it is not asked again
    train(broken)
    monkeypatch.undo()
    train(divided(world, tmp_path / "c", steps=4, data=broken.data))
    assert same(tmp_path / "b", tmp_path / "c") and curve(tmp_path / "b") == curve(tmp_path / "c")


def test_a_layer_that_never_changes_is_named(world: Path, tmp_path: Path) -> None:
    config = divided(world, tmp_path / "run")
    resolved, start, teacher = resolve(config)
    torch.nn.init.zeros_(teacher.net.get_submodule("conv3")[-2].weight)
    torch.nn.init.zeros_(teacher.net.get_submodule("conv3")[-2].bias)
    with pytest.raises(
        InputError, match="maps of pool3 are the same everywhere in 6 training imag"
    ):
        prepare(resolved, start, teacher)


def test_python_gives_the_variances_itself() -> None:
    student, teacher = ({"a": torch.randn(2, 3, 4, 5)} for _ in range(2))
    plain = adapt.regression_loss(student, teacher, distance="mean")
    found = adapt.regression_loss(student, teacher, distance="variance", variance={"a": 0.25})
    assert found.item() == pytest.approx(4 * plain.item())
    with pytest.raises(InputError, match="variance has no a, which distance=variance divides by"):
        adapt.regression_loss(student, teacher, distance="variance")
    with pytest.raises(InputError, match="variance: layer: 'b' is not known"):
        adapt.regression_loss(student, teacher, distance="variance", variance={"a": 1, "b": 1})
    with pytest.raises(InputError, match=r"variance is \{.*\}, but distance=mean does not"):
        adapt.regression_loss(student, teacher, distance="mean", variance={"a": 0.25})
    with pytest.raises(InputError, match="option: 'weighting' is not known"):
        adapt.regression_loss(student, teacher, weighting="log")
