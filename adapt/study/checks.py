"""What would end a study days later, tried before its first cell."""

import numpy as np

from adapt.data import load
from adapt.errors import InputError, unknown
from adapt.machine.runtime import runtime
from adapt.objective.terms import Objective
from adapt.penalties import PENALTIES
from adapt.settings.checks import at_least
from adapt.settings.study import StudyConfig
from adapt.shift.distort import apply_shift

NAMED = ("shifts", "objectives", "penalties", "protocols")
"""Groups whose names become parts of folders and files."""


def check_study(config: StudyConfig) -> None:
    """Everything that can be known without training: shifts with all their candidates, objectives,
    penalties, names, seeds, splits, the device.

    Raises:
        InputError: the first that is wrong.
    """
    runtime(config.device, config.precision)
    for group in NAMED:
        for name in getattr(config, group):
            if not name or name.startswith(".") or set(name) & set("/\\"):
                raise InputError(f"{group}: {name!r} cannot be the name of a folder")
    for seed in config.seeds:
        at_least("seeds", seed, 0)
    if len(set(config.seeds)) < len(config.seeds):
        raise InputError(f"seeds is {config.seeds}: each may stand there once")
    check_shifts(config)
    for objective in config.objectives.values():
        Objective(objective)
    stages = {f"{k}.penalty": getattr(config, k).penalty for k in ("supervised", "adaptation")}
    own = {f"penalties.{k}": penalty for k, penalty in config.penalties.items()}
    for where, penalty in (stages | own).items():
        if penalty.name not in PENALTIES:
            raise unknown(where, penalty.name, PENALTIES)
    for split in dict.fromkeys((config.split, config.selection)):
        if split:
            load(config.data, split)


def check_shifts(config: StudyConfig) -> None:
    """Filter a small black image by each."""
    for name, shift in config.shifts.items():
        for changes in ({}, *shift.candidates):
            try:
                tried = type(shift)(shift.name, shift.parameters | changes)
                apply_shift(np.zeros((8, 8, 3), np.uint8), tried, 0)
            except InputError as error:
                raise InputError(f"shifts.{name}: {error}") from None
