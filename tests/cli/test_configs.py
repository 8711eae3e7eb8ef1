"""Every choice composes with the commands that use it, and makes settings that are accepted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import settings_of

from adapt.cli.commands import COMMANDS
from adapt.cli.help import choices
from adapt.objective.terms import Objective
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from adapt.shift.distort import apply_shift
from adapt.study import study_of

NEEDED = {
    "fisher": ["run=r", "out=f.safetensors"],
    "predict": ["run=r", "out=o"], "export": ["run=r", "out=o"], "calibrate": ["teacher=t"],
    "evaluate": ["run=r"], "analyse": ["run=r"], "make_distorted_voc": ["out=o"],
    "drift": ["teacher=t", "out=o"], "align": ["out=o"], "merge": ["runs=[a,b]", "run=r"],
}  # fmt: skip
"""What a command cannot do without."""
USED = {group: name for name, command in COMMANDS.items() for group in command.groups}
"""A command that uses a group."""


@pytest.mark.parametrize(
    ("group", "choice"), [(g, c) for g in USED if g != "experiment" for c in choices(g)]
)
def test_every_choice_composes_and_says_its_name(group: str, choice: str) -> None:
    own = ["+objective.regression.taps={pool3: 1.0}"] if choice == "custom" else []
    command = USED[group]
    config = settings_of(command, *NEEDED.get(command, []), f"{group}={choice}", *own)
    if group not in ("augment", "protocol", "shift") and choice not in ("inherit", "default"):
        assert getattr(config, group).name == choice
    if group == "protocol":
        assert bool(config.protocol.tag) == (choice != "whole")
    if group == "objective" and choice != "supervised":
        assert Objective(config.objective).teacher, "all of them learn from a teacher"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_as_it_is(command: str) -> None:
    assert settings_of(command, *NEEDED.get(command, []))


@pytest.mark.parametrize("name", choices("augment"))
def test_augmentations_replace_what_the_teachers_run_used(name: str) -> None:
    """All of it: nothing of another preset stays on, unless it is asked to be inherited."""
    data = settings_of("adapt", f"augment={name}").data
    before = DataConfig(name="camvid", crop=[8, 8])
    assert (replace(data, explicit=[]) != DataConfig()) == (name not in ("none", "inherit"))
    much = replace(
        before, scale=[0.7, 1.3], rotate=5.0, jitter_x1=0.2, jitter_x2=0.1, blur_x1=2.0, blur_x2=3.0
    )
    from_little, from_much = inherit_data(data, before), inherit_data(data, much)
    assert (from_much == much) == (name == "inherit")
    assert (from_much == from_little) == (name != "inherit")


@pytest.mark.parametrize("name", choices("shift"))
def test_shifts_and_all_their_candidates_are_accepted_by_the_filters(name: str) -> None:
    shift = settings_of("calibrate", "teacher=x", f"shift={name}").shift
    assert len(shift.candidates) > 5
    image = np.zeros((8, 8, 3), np.uint8)
    for changes in ({}, *shift.candidates):
        shift.parameters |= changes
        assert apply_shift(image, shift, 0).shape == image.shape


@pytest.mark.parametrize("name", choices("experiment"))
def test_experiments_plan_a_study(name: str) -> None:
    study = study_of(settings_of("study", f"experiment={name}"))
    assert study.config.name == name
    cells = list(study.cells())
    assert len({cell.result for cell in cells}) == len(cells) > 2


def test_a_users_folder_may_override_choices_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    mine = "# @package _global_\ndefaults:\n  - /schedule@adaptation.schedule: cosine\n"
    mine += "  - override /data: camvid\n  - override /network: fcn8s_vgg16\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(mine)
    config = settings_of("study", f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert config.network.name == "fcn8s_vgg16" and config.adaptation.schedule.name == "cosine"
    assert config.data.root == "data/camvid"
