"""R6: configurations neither execute code nor carry a typo; factories are named when used."""

import shutil
from pathlib import Path

import pytest
import yaml
from tiny import reseal
from warm import Warm

from adapt.config import DataConfig, NetworkConfig
from adapt.errors import InputError
from adapt.files import read_json
from adapt.networks import factory as factories
from adapt.networks.factory import own_network
from adapt.records import read_config, read_data
from adapt.settings import inherit_data

pytestmark = pytest.mark.system
ADAPT = ("data=camvid", "data.root=d1", "data.target=d2", "teacher=teacher", "objective=pool3",
         "steps=1", "device=cpu")  # fmt: skip


def refused(warm: Warm, script: str, *overrides: str, words: tuple[str, ...]) -> None:
    """Exit status not 0, no traceback, every word said, nothing made."""
    before = sorted(p for p in warm.cwd.rglob("*") if p.is_dir())
    done = warm.start(script, *overrides)
    assert done.wait() not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert sorted(p for p in warm.cwd.rglob("*") if p.is_dir()) == before


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("+penalty._target_=os.system", "penalty._target_"),
        ("penalty.alhpa=1", "penalty.alhpa"),
        ("+objective.regression.taps={_target_: os.system}", "taps._target_"),
        ("+_target_=os.system", "_target_"),
        ("+data.explicit._target_=os.system", "explicit"),
        ("penalty.alpha=much", "penalty.alpha"),
    ],
)
def test_r06_a_key_that_does_not_exist_is_named(
    warm: Warm, world: Path, override: str, key: str
) -> None:
    refused(warm, "adapt.py", *ADAPT, "run=r06", override, words=(key,))


def test_r06_an_experiment_file_can_do_no_more(warm: Warm, world: Path) -> None:
    """A folder of experiments that somebody passed on."""
    folder = world / "passed" / "experiment"
    folder.mkdir(parents=True)
    for name, text, key in (
        ("evil", "penalty: {_target_: os.system}", "penalty._target_"),
        ("typo", "penalty: {alhpa: 1}", "penalty.alhpa"),
    ):
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
        given = ("--config-dir=passed", *ADAPT, "run=r06", f"+experiment={name}")
        refused(warm, "adapt.py", *given, words=(key,))
    tag = "seed: !!python/object/apply:os.system ['touch executed']"
    (folder / "tags.yaml").write_text(f"# @package _global_\n{tag}\n")
    done = warm.start("adapt.py", "--config-dir=passed", *ADAPT, "run=r06", "+experiment=tags")
    assert done.wait() != 0 and "python/object/apply:os.system" in done.stderr
    assert not (world / "executed").exists() and not (world / "r06").exists()


@pytest.mark.parametrize("key", ["objectives.pool5._target_", "objectives.pool5.regression.weihgt"])
def test_r06_nor_can_a_studys_objectives(warm: Warm, world: Path, key: str) -> None:
    given = ("experiment=camvid_small", "data.root=d1", "runs=r06", f"+{key}=1", "device=cpu")
    refused(warm, "study.py", *given, words=(key,))


def foreign(world: Path, name: str, **entries: object) -> Path:
    """A copy of the teacher whose record says something else."""
    run = world / name
    if not run.exists():
        shutil.copytree(world / "teacher", run)
    recorded = yaml.safe_load((world / "teacher/config.yaml").read_text())
    for key, value in entries.items():
        group, _, field = key.partition("__")
        if field:
            recorded[group][field] = value
        else:
            recorded[group] = value
    (run / "config.yaml").write_text(yaml.safe_dump(recorded))
    return run


@pytest.mark.parametrize("field", ["_target_", "alhpa"])
def test_r06_the_record_of_somebody_elses_run_is_checked_too(
    warm: Warm, world: Path, field: str
) -> None:
    foreign(world, "r06_foreign", **{f"penalty__{field}": "os.system"})
    for script, *given in (
        ("evaluate.py", "run=r06_foreign"),
        ("adapt.py", *ADAPT, "run=r06", "start=r06_foreign"),
    ):
        words = (f"r06_foreign/config.yaml: penalty.{field}",)
        refused(warm, script, *given, "device=cpu", words=words)
    recorded = ["data.root=" + str(world / "d1"), "run=r06_foreign", "steps=6", "device=cpu"]
    refused(warm, "train.py", "data=camvid", *recorded, words=(f"penalty.{field}: 'os.system'",))
    with pytest.raises(InputError, match=rf"config\.yaml: penalty\.{field}"):
        read_config(world / "r06_foreign")


SOURCE = """
from pathlib import Path
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
Path(__file__).with_name("r06_ran").touch()
def make(num_classes): return DeepLabVGG16(num_classes, width=1 / 32, batch_norm=True)
"""
IMAGE = "image=d1/val/val_000.png"
COMMANDS: dict[str, tuple[str, ...]] = {
    "evaluate": ("evaluate.py", "run=r06_own"),
    "predict": ("predict.py", "run=r06_own", "out=r06_out"),
    "invert": ("invert.py", "run=r06_own", IMAGE, "out=r06_out"),
    "export": ("export.py", "run=r06_own", "out=r06_out"),
    "analyse": ("analyse.py", "run=r06_own", "out=r06_out"),
    "fisher": ("fisher.py", "run=r06_own", "out=r06_out.safetensors"),
    "layers": ("layers.py", "run=r06_own", "out=r06_out"),
    "train": ("train.py", "start=r06_own", "run=r06_out"),
    "adapt": ("adapt.py", "teacher=r06_own", "data.target=d2", "objective=pool3", "run=r06_out"),
    "a teacher beside a run": ("evaluate.py", "run=teacher", "teacher=r06_own", "data.target=d2",
                               "domain=d2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def own(warm: Warm, world: Path) -> Path:
    """A run whose network is the code of a module that leaves a mark where it is imported."""
    (world / "r06_net.py").write_text(SOURCE)
    run = foreign(world, "r06_own", network__factory="r06_net:make", network__name="r06_net:make")
    network = read_json(run / "model.json")["network"]
    network |= {"factory": "r06_net:make", "name": "r06_net:make"}
    network |= {"width": 1.0, "batch_norm": False}
    reseal(run / "model.json", network=network)
    recorded = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(recorded | {"network": network}))
    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_r06_a_recorded_factory_is_not_imported(
    warm: Warm, world: Path, own: Path, command: str
) -> None:
    (world / "r06_ran").unlink(missing_ok=True)
    script, *given = COMMANDS[command]
    refused(warm, script, *given, words=("if you trust it, give network.factory=r06_net:make",))
    assert not (world / "r06_ran").exists()


def test_r06_named_on_this_command_line_it_is(warm: Warm, world: Path, own: Path) -> None:
    """And another name does not let it in."""
    (world / "r06_ran").unlink(missing_ok=True)
    other = ("run=r06_own", "network.factory=os:system")
    refused(warm, "evaluate.py", *other, words=("network.factory=r06_net:make",))
    assert not (world / "r06_ran").exists()
    warm.run("evaluate.py", "run=r06_own", "network.factory=r06_net:make", "device=cpu")
    assert (world / "r06_ran").exists()


def test_r06_arguments_of_a_factory_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from a file and go into an export's load.py."""
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
