"""Every file under configs/ composes, and makes settings that their dataclasses accept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from adapt.networks import NETWORKS
from adapt.objective.terms import Objective
from adapt.settings.choices import CLASSIFIERS
from adapt.settings.commands import (
    AnalyseConfig,
    CalibrateConfig,
    DistortConfig,
    EvaluateConfig,
    FisherConfig,
    ScanConfig,
)
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import build, inherit_data
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.settings.viz import FiltersConfig
from adapt.shift.distort import apply_shift
from adapt.study.grid import study_of
from results.page.page import ResultsConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SCHEMAS = {
    "train": TrainConfig, "adapt": TrainConfig, "evaluate": EvaluateConfig, "study": StudyConfig,
    "make_distorted_voc": DistortConfig, "calibrate": CalibrateConfig, "fisher": FisherConfig,
    "analyse": AnalyseConfig, "scan": ScanConfig, "filters": FiltersConfig,
    "results": ResultsConfig,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def composer() -> Iterator[None]:
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def made(command: str, *overrides: str):  # type: ignore[no-untyped-def]
    composed = compose(command, list(overrides))
    return build(SCHEMAS[command], OmegaConf.to_container(composed, resolve=True))


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "name", [n for n in names("objective") if n not in ("custom", "supervised")]
)
def test_objectives(name: str) -> None:
    config = made("adapt", f"objective={name}").objective
    assert config.name == name
    assert Objective(config).teacher, "all of them learn from a teacher"


def test_networks_are_those_of_the_tables() -> None:
    assert set(NETWORKS) <= set(names("network")) <= {*NETWORKS, *CLASSIFIERS}
    for name in names("network"):
        assert made("train", f"network={name}").network.name == name


@pytest.mark.parametrize("name", [n for n in names("data") if n != "inherit"])
def test_data_sets(name: str) -> None:
    assert made("train", f"data={name}").data.name == name


@pytest.mark.parametrize("name", names("augment"))
def test_augmentations_belong_to_the_data(name: str) -> None:
    plain, data = (
        replace(made("train", "data=camvid", *given).data, explicit=[])
        for given in ([], [f"augment={name}"])
    )
    assert (data != plain) == (name not in ("none", "inherit"))


@pytest.mark.parametrize("name", names("augment"))
def test_augmentations_replace_what_the_teachers_run_used(name: str) -> None:
    """All of it: nothing of another preset stays on, unless it is asked to be inherited."""
    data = made("adapt", f"augment={name}").data
    before = DataConfig(name="camvid", crop=[8, 8])
    much = replace(
        before, scale=[0.7, 1.3], rotate=5.0, jitter_x1=0.2, jitter_x2=0.1, blur_x1=2.0, blur_x2=3.0
    )
    from_little, from_much = inherit_data(data, before), inherit_data(data, much)
    assert (from_much == much) == (name == "inherit")
    assert (from_much == from_little) == (name != "inherit")


@pytest.mark.parametrize("name", names("protocol"))
def test_protocols(name: str) -> None:
    assert bool(made("evaluate", "run=x", f"protocol={name}").protocol.tag) == (name != "whole")


@pytest.mark.parametrize("name", names("shift"))
def test_shifts_and_all_their_candidates_are_accepted_by_the_filters(name: str) -> None:
    shift = made("calibrate", "teacher=x", f"shift={name}").shift
    assert len(shift.candidates) > 5
    image = np.zeros((8, 8, 3), np.uint8)
    for changes in ({}, *shift.candidates):
        shift.parameters |= changes
        assert apply_shift(image, shift, 0).shape == image.shape


@pytest.mark.parametrize("name", [*names("penalty"), *names("schedule")])
def test_penalties_and_schedules(name: str) -> None:
    group = "penalty" if name in names("penalty") else "schedule"
    assert getattr(made("adapt", f"{group}={name}"), group).name == name


@pytest.mark.parametrize("name", names("experiment"))
def test_experiments_plan_a_study(name: str) -> None:
    study = study_of(made("study", f"experiment={name}"))
    assert study.config.name == name
    cells = list(study.cells())
    assert len({cell.result for cell in cells}) == len(cells) > 3


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("fisher", ["run=r", "out=f.safetensors"]),
        ("analyse", ["run=r"]),
        ("scan", ["data.root=d", "data=camvid"]),
        ("filters", []),
        ("results", []),
    ],
)
def test_commands_without_groups_compose(command: str, needed: list[str]) -> None:
    assert made(command, *needed)
