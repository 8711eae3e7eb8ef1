"""R6: configurations neither execute code nor carry a typo; factories are named when used."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny import adapting, edit_record, teaching
from warm import Warm

from adapt.analysis.analyse import analyse
from adapt.analysis.fisher import fisher
from adapt.disk.files import read_json
from adapt.disk.runs import read_config, read_data
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.export import export
from adapt.networks import factory as factories
from adapt.networks.factory import own_network
from adapt.settings.commands import (
    AnalyseConfig,
    CalibrateConfig,
    EvaluateConfig,
    ExportConfig,
    FisherConfig,
    PredictConfig,
)
from adapt.settings.groups import DataConfig, NetworkConfig, ShiftConfig
from adapt.settings.mapping import inherit_data
from adapt.settings.viz import InvertConfig, LayersConfig
from adapt.shift.calibrate import calibrate
from adapt.training.train import train
from viz.inversion.command import invert
from viz.layers.command import layers

pytestmark = pytest.mark.system
ADAPT = ("adapt.py", "data=camvid", "data.root=d1", "data.target=d2", "teacher=teacher",
         "objective=pool3", "steps=1", "device=cpu", "run=r06")  # fmt: skip


def refused(warm: Warm, script: str, *overrides: str, words: tuple[str, ...]) -> None:
    """Exit status not 0, no traceback, every word said, nothing made."""
    before = sorted(p for p in warm.cwd.rglob("*") if p.is_dir())
    done = warm.start(script, *overrides)
    assert done.wait() not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert sorted(p for p in warm.cwd.rglob("*") if p.is_dir()) == before


STUDY = ("study.py", "experiment=camvid_small", "data.root=d1", "runs=r06", "device=cpu")
KEYS = {
    "penalty._target_": (*ADAPT, "+penalty._target_=os.system"),
    "penalty.alhpa": (*ADAPT, "penalty.alhpa=1"),
    "taps._target_": (*ADAPT, "+objective.regression.taps={_target_: os.system}"),
    "objectives.pool5.regression._target_": (*STUDY, "+objectives.pool5.regression._target_=1"),
}


@pytest.mark.parametrize("key", KEYS)
def test_r06_a_key_that_does_not_exist_is_named(warm: Warm, key: str) -> None:
    refused(warm, *KEYS[key], words=(key,))


def test_r06_an_experiment_file_can_do_no_more(warm: Warm, world: Path) -> None:
    """A folder of experiments that somebody passed on."""
    folder = world / "passed" / "experiment"
    folder.mkdir(parents=True)
    (folder / "target.yaml").write_text("# @package _global_\npenalty: {_target_: os.system}\n")
    tag = "seed: !!python/object/apply:os.system ['touch executed']"
    (folder / "tag.yaml").write_text(f"# @package _global_\n{tag}\n")
    given = (*ADAPT, "--config-dir=passed")
    refused(warm, *given, "+experiment=target", words=("penalty._target_",))
    done = warm.start(*given, "+experiment=tag")
    assert done.wait() != 0 and "python/object/apply:os.system" in done.stderr
    assert not (world / "executed").exists() and not (world / "r06").exists()


def foreign(world: Path, name: str, **entries: object) -> Path:
    """A copy of the teacher whose record says something else."""
    run = world / name
    if not run.exists():
        shutil.copytree(world / "teacher", run)
    recorded = yaml.safe_load((world / "teacher/config.yaml").read_text())
    for key, value in entries.items():
        group, _, field = key.partition("__")
        recorded[group][field] = value
    (run / "config.yaml").write_text(yaml.safe_dump(recorded))
    return run


def test_r06_the_record_of_somebody_elses_run_is_checked_too(warm: Warm, world: Path) -> None:
    """Evaluated, started from, resumed."""
    run = foreign(world, "r06_foreign", penalty___target_="os.system")
    refused(warm, "evaluate.py", "run=r06_foreign", words=("config.yaml: penalty._target_",))
    given = ("data=camvid", f"data.root={world / 'd1'}", "run=r06_foreign", "device=cpu")
    refused(warm, "train.py", *given, words=("penalty._target_: 'os.system' -> '(absent)'",))
    with pytest.raises(InputError, match=r"config\.yaml: penalty\._target_"):
        train(adapting(world, world / "r06", start=str(run)))
    foreign(world, "r06_foreign", penalty__alhpa=1.0)
    with pytest.raises(InputError, match=r"config\.yaml: penalty\.alhpa.*Did you mean 'alpha'"):
        read_config(run)
    assert not (world / "r06").exists()


SOURCE = """
from pathlib import Path
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
Path(__file__).with_name("r06_ran").touch()
def make(num_classes): return DeepLabVGG16(num_classes, width=1 / 32, batch_norm=True)
"""


@pytest.fixture(scope="module")
def own(warm: Warm, world: Path) -> Path:
    """A run whose network is the code of a module that leaves a mark where it is imported."""
    (world / "r06_net.py").write_text(SOURCE)
    run = foreign(world, "r06_own", network__factory="r06_net:make", network__name="r06_net:make")
    network = read_json(run / "model.json")["network"]
    network |= {"factory": "r06_net:make", "name": "r06_net:make"}
    network |= {"width": 1.0, "batch_norm": False}
    edit_record(run / "model.json", network=network)
    recorded = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(recorded | {"network": network}))
    return run


COMMANDS: dict[str, Callable[[str, str, Path], object]] = {
    "export": lambda own, out, d1: export(ExportConfig(run=own, out=out)),
    "adapt": lambda own, out, d1: train(adapting(d1.parent, Path(out), teacher=own)),
    "predict": lambda own, out, d1: predictions(PredictConfig(run=own, out=out)),
    "invert": lambda own, out, d1: invert(InvertConfig(run=own, out=out, image=f"{d1}/val/x.png")),
    "analyse": lambda own, out, d1: analyse(AnalyseConfig(run=own, out=out)),
    "fisher": lambda own, out, d1: fisher(FisherConfig(run=own, out=f"{out}.safetensors")),
    "layers": lambda own, out, d1: layers(LayersConfig(run=own, out=out)),
    "calibrate": lambda own, out, d1: calibrate(
        CalibrateConfig(teacher=own, out=out, shift=ShiftConfig("ripple", candidates=[{}]))
    ),
    "a start": lambda own, out, d1: train(replace(teaching(d1.parent), run=out, start=own)),
    "a teacher beside": lambda own, out, d1: evaluate(
        EvaluateConfig(run=f"{d1}/../teacher", teacher=own, domain="d2",
                       data=DataConfig(target=f"{d1}/../d2"))
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_r06_a_recorded_factory_is_not_imported(
    world: Path, own: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The functions that the scripts call, without the seconds of a script."""
    monkeypatch.setattr(factories, "_permitted", set())
    (world / "r06_ran").unlink(missing_ok=True)
    out = world / "r06_out"
    with pytest.raises(InputError, match=r"if you trust it, give network\.factory=r06_net:make"):
        COMMANDS[command](str(own), str(out), world / "d1")
    assert not (world / "r06_ran").exists() and not out.exists()


def test_r06_named_on_this_command_line_it_is(warm: Warm, world: Path, own: Path) -> None:
    """Without a name, or by another one, it is not let in."""
    (world / "r06_ran").unlink(missing_ok=True)
    words = ("if you trust it, give network.factory=r06_net:make",)
    for other in ([], ["network.factory=os:system"]):
        refused(warm, "evaluate.py", "run=r06_own", *other, words=words)
    assert not (world / "r06_ran").exists()
    warm.run("evaluate.py", "run=r06_own", "network.factory=r06_net:make", "device=cpu")
    assert (world / "r06_ran").exists()


def test_r06_arguments_of_a_factory_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from a file and go into a call, here and in an export's modeling.py."""
    monkeypatch.setattr(factories, "_permitted", {"torch.nn:Identity"})
    evil = {"x=print('executed'), y": 1}
    with pytest.raises(InputError, match=r"network\.arguments: .* is no name"):
        own_network(NetworkConfig(factory="torch.nn:Identity", arguments=evil), 2)


def test_r06_a_record_fetches_and_draws_nothing(world: Path) -> None:
    """data.download and the folder of scenes that are not there: only this command line can."""
    foreign(world, "r06_download", data__download=True)
    assert read_data(world / "r06_download").download is False
    place = world / "r06_drawn"
    foreign(world, "r06_scenes", data__name="scenes", data__root=str(place))
    with pytest.raises(InputError, match=r"data\.root: .*r06_drawn, which the run recorded, is"):
        inherit_data(DataConfig(), read_data(world / "r06_scenes"))
    assert not place.exists()
