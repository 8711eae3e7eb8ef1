"""The named choices of configs/, read without Hydra: what `penalty=l2_sp` sets, say."""

from pathlib import Path
from typing import Any

import yaml

from adapt.errors import unknown
from adapt.settings.choices import DEFAULT_TAP, NETWORKS, SCHEDULES

PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = next(p / "configs" for p in (PACKAGE, PACKAGE.parent) if (p / "configs").is_dir())
"""In the wheel it is adapt.configs; in a checkout it stands on top."""
CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "network": {name: {"name": name} for name in (*NETWORKS, "resnet101")},
    "teacher_network": {"inherit": {}} | {name: {"name": name} for name in NETWORKS},
    "schedule": {name: {"name": name} for name in SCHEDULES},
    "objective": {
        "default": {"name": "", "regression": {"weight": 1.0, "taps": {DEFAULT_TAP: 1.0}}},
    },
    "penalty": {"none": {"name": "none"}},
    "protocol": {"whole": {}},
    "data": {"folders": {"name": "folders"}, "inherit": {}},
    "augment": {"inherit": {}},
}
"""Choices of groups that set a name only, or nothing; those that set more are files of configs/."""


def preset(group: str, choice: str) -> dict[str, Any]:
    """The settings of a choice.

    Args:
        group: a folder of configs/, such as `penalty`.
        choice: a file in it without its ending, or a name that sets nothing else.

    Raises:
        InputError: no such choice.
    """
    files = {path.stem: path for path in (CONFIGS / group).glob("*.yaml")}
    named = CHOICES.get(group, {})
    if choice in named:
        return dict(named[choice])
    if choice not in files:
        raise unknown(group, choice, sorted({*named, *files}))
    found = yaml.safe_load(files[choice].read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key != "defaults"}
