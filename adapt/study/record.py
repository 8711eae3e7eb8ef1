"""What the cells of a study were done with, so that none counts as done under other settings."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.disk.files import read_mapping, write_json
from adapt.disk.lock import only_writer
from adapt.disk.runs import decisive_differences
from adapt.errors import InputError, listing
from adapt.machine.runtime import say
from adapt.settings.mapping import EXPLICIT, as_dict, defaults_of
from adapt.study.cells import Cell

RECORD = "cells.json"
"""In a study's folder: the settings that each cell was done with, by the path of its result."""
PLACES = ("data.root", "also.root")
"""Where a data set lies may change; that it does is said."""


@dataclass(frozen=True)
class Record:
    """The cells.json of a study and, where teachers come from another study, of that one."""

    folders: tuple[Path, ...]
    """The study's own, then that of its `source`."""

    def check(self, cells: Iterable[Cell]) -> None:
        """Compare each cell that is done with what it was done with; one that an earlier version
        did has no record and is believed. That data lay elsewhere is a warning: a study may go on
        with a split that lies elsewhere, and data may be moved.

        Raises:
            InputError: other settings than those given (each with the recorded and the given
                value), what was made from a run or twin that is gone and will be done with other
                settings, or two cells that would write one file.
        """
        renewed: dict[Path, list[str]] = {}
        known = {folder: self.read(folder) for folder in self.folders}
        first: dict[Path, Cell] = {}
        elsewhere: dict[str, list[str]] = {}
        for cell in cells:
            given, twin = self.settings(cell), first.setdefault(cell.result, cell)
            if changed := self.changed(self.settings(twin), cell):
                raise InputError(
                    f"two cells would write {cell.result}, {twin.name!r} and {cell.name!r}, which "
                    f"differ in {'; '.join(changed)}: give one of them another name"
                )
            home, key = self.place(cell)
            recorded = known[home].get(key, given)
            differ = self.changed(recorded, cell)
            changed = [c for c in differ if not c.startswith(PLACES)]
            if not cell.done:
                renewed |= {cell.made: changed} if changed else {}
                continue
            for path in (path for path in renewed if uses(cell, path)):
                raise InputError(
                    f"{cell.name!r} was made from {path}, which is gone and would be done with "
                    f"other settings ({'; '.join(renewed[path])}): remove {cell.made} and all else "
                    "that was made from it, or give another runs="
                )
            for change in [c for c in differ if c.startswith(PLACES)]:
                elsewhere.setdefault(change, []).append(cell.name)
            if changed:
                raise InputError(
                    f"{cell.name!r} was done with other settings ({home / RECORD} -> given): "
                    f"{'; '.join(changed)}. Give the recorded values, or another runs=; or remove "
                    f"{cell.made}, and it is done again"
                )

        for change, names in elsewhere.items():
            say(f"warning: {change}; what was done before stays: {listing(names, 5)}")

    def add(self, cell: Cell) -> None:
        """Note what a cell was done with; another study may have the same `source`."""
        home, key = self.place(cell)
        with only_writer(home / f".{RECORD}.lock", RECORD, wait=True):
            write_json(home / RECORD, self.read(home) | {key: self.settings(cell)})

    def changed(self, recorded: dict[str, Any], cell: Cell) -> list[str]:
        default = defaults_of(type(cell.settings))
        return decisive_differences(recorded, self.settings(cell), default)

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Of a cell, as cells.json has them: paths are relative to the study, which may be moved,
        and it does not count whether a value comes from a file or the command line."""
        text = json.dumps(without(as_dict(cell.settings), EXPLICIT))
        for folder in self.folders:
            text = text.replace(f'"{folder}/', '"').replace(f":{folder}/", ":")
        found: dict[str, Any] = json.loads(text)
        return found

    def place(self, cell: Cell) -> tuple[Path, str]:
        """The folder that a cell belongs to, and its result's path there."""
        home = next(f for f in self.folders if cell.result.is_relative_to(f))
        return home, str(cell.result.relative_to(home))

    def read(self, folder: Path) -> dict[str, Any]:
        return read_mapping(folder / RECORD) if (folder / RECORD).is_file() else {}


def uses(cell: Cell, path: Path) -> bool:
    """Do a cell's settings name a folder, or something in it?"""
    named = rf'[",:]{re.escape(str(path))}[/",]'
    return re.search(named, json.dumps(as_dict(cell.settings))) is not None


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Nested mappings without the keys of that name."""
    kept = {key: value for key, value in values.items() if key != name}
    return {k: without(v, name) if isinstance(v, dict) else v for k, v in kept.items()}
