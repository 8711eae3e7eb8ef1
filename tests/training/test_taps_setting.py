"""The setting `taps`: the objective that it makes, and what `adapt` takes without pool5."""

from pathlib import Path

import pytest
from commands import run
from tiny import adapting, curve, interrupted, same

from adapt.disk.runs import read_config
from adapt.errors import InputError
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.settings.training import TrainConfig
from adapt.training.train import train

KD = ObjectiveConfig("kd", kd=KDConfig(0.5))
THREE = {"conv1": 1 / 6, "pool3": 2 / 6, "fc7.2": 3 / 6}


def test_taps_are_the_objective_that_names_them(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list in any order and a mapping give the run of the same layers and weights, bit for bit,
    and so does `auto`, interrupted and resumed; the other terms stay."""
    auto = {"conv1": 0.1, "conv2": 0.2, "conv3": 0.3, "fc7.2": 0.4}
    for name, taps, plain, written in (
        ("list", ["pool3", "fc7.2", "conv1"], "three", THREE),
        ("mapping", dict(THREE), "three", THREE),
        ("auto", "auto", "four", auto),
    ):
        objective = ObjectiveConfig("x", RegressionConfig(1.0, dict(written)), kd=KDConfig(0.5))
        train(adapting(world, tmp_path / plain, objective=objective))
        capsys.readouterr()
        config = adapting(world, tmp_path / name, objective=KD, taps=taps, checkpoint_every=1)
        interrupted(config, 2)
        train(config)
        said = capsys.readouterr().out
        assert "conv1: " in said and f"resuming {tmp_path / name} at step 1" in said
        recorded = read_config(tmp_path / name)
        assert recorded["objective"]["name"] == ("auto_kd" if name == "auto" else "taps_kd")
        assert recorded["objective"]["regression"]["taps"] == pytest.approx(written)
        assert same(tmp_path / name, tmp_path / plain)
        assert curve(tmp_path / name) == curve(tmp_path / plain)
    other = adapting(world, tmp_path / "auto", objective=KD, taps=["pool3"])
    with pytest.raises(InputError, match=r"regression\.taps\.conv1: 0\.1 -> '\(absent\)'"):
        train(other)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ("pool3", r"taps is 'pool3'; give auto \| pairs \| \[layer"),
        ([], r"taps is \[\]; give auto"),
        (["pool3", "pool3"], "taps: 'pool3' stands twice"),
        ({"pool3": 0}, r"taps\.pool3 is 0; it must be above 0"),
        ({"pool3": "much"}, r"taps, of the student: layer: 'much' is not known"),
        ({"pool3": "pool3", "pool5": 1}, r"taps\.pool3 is 'pool3'; give every layer a weight, or"),
        (["pol3"], r"'pol3' is not known. Did you mean 'pool3'.*taps=auto would take \{conv1: "),
    ],
)
def test_wrong_taps_are_refused_by_name(
    world: Path, tmp_path: Path, taps: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(adapting(world, tmp_path / "run", taps=taps))
    assert not (tmp_path / "run").exists()


def test_taps_need_a_teacher() -> None:
    with pytest.raises(InputError, match="taps=auto needs teacher=RUN"):
        train(TrainConfig(run="never", taps="auto"))


@pytest.mark.system
def test_a_network_without_pool5_is_adapted_by_auto(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(classes):\n"
        "    relu = lambda: nn.ReLU(inplace=True)\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(3, 4, 3, 2, 1), relu(), nn.Conv2d(4, 8, 3, 2, 1), relu(),\n"
        "        nn.Dropout(0.5), nn.Conv2d(8, classes, 1))\n"
    )
    small = ("batch=2", "device=cpu", "steps=2", "network.factory=mine:net")
    data = ("data=camvid", f"data.root={world / 'd1'}", "data.crop=[32,40]")
    run("train.py", *data, *small, "run=teacher", cwd=tmp_path)
    command = ("adapt.py", "teacher=teacher", f"data.target={world / 'd2'}", *small)
    for _ in range(2):  # the second time it is recognised as finished
        done = run(*command, "run=student", cwd=tmp_path)
        assert "the network has no pool5: taps=auto takes {1: 0.333, 3: 0.667}" in done.stdout
    assert "student is finished already" in done.stdout
    assert read_config(tmp_path / "student")["objective"]["name"] == "auto"
    done = run(*command, "run=other", "objective=pool5", cwd=tmp_path, status=2)
    assert "'pool5' is not known" in done.stderr
    assert done.stderr.endswith(
        "taps=auto would take {1: 0.333, 3: 0.667}; add it, or name layers by taps\n"
    )
    done = run(*command, "run=named", "taps=[3,1]", cwd=tmp_path)
    assert "taps: {1: 0.333, 3: 0.667}" in done.stdout
