"""docs/errors.md has a real example of every message, and every message says what it is about."""

import ast
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest
from error_page import PAGE, examples, page, read_page
from error_sites import ANYTHING, pattern, relays, sites

from adapt.analyse_config import AnalyseConfig
from adapt.calibrate import CalibrateConfig
from adapt.commands import (
    DistortConfig,
    EvaluateConfig,
    InvertConfig,
    ReportConfig,
    TrainConfig,
)
from adapt.export.config import ExportConfig
from adapt.fisher_command import FisherConfig
from adapt.layers_config import LayersConfig
from adapt.predict import PredictConfig
from adapt.scan.config import ScanConfig
from adapt.study_config import StudyConfig
from viz.filters import FiltersConfig

SCHEMAS: tuple[type, ...] = (
    TrainConfig, EvaluateConfig, DistortConfig, InvertConfig, ReportConfig, AnalyseConfig,
    CalibrateConfig, ExportConfig, FisherConfig, LayersConfig, PredictConfig, ScanConfig,
    StudyConfig, FiltersConfig,
)  # fmt: skip
RELAYS = {
    "adapt/networks/body.py body_of",  # to its caller, which says what it lists
    "adapt/sampling.py unwrapped",  # out of a worker process
    "adapt/models.py load_complete",  # with a hint behind
    "adapt/data/files.py Lookup.complete",  # how many there are, and the first
    "adapt/data/pairs.py read_csv",  # likewise
    "adapt/data/__init__.py read_split",  # likewise
    "adapt/data/files.py matched",  # likewise
    "adapt/distributed.py together",  # of another process
}
"""Places that pass on the text of other errors."""
LONGEST, LINES = 700, 6
"""Characters and lines of a message; a broken YAML file is shown in four."""
ENTRIES = read_page(PAGE.read_text(encoding="utf-8"))
ANEW = "; run `make errors`"


def setting_names(schema: type) -> set[str]:
    """Names of all settings of a command, of its groups too."""
    found: set[str] = set()
    for f in fields(schema):
        found.add(f.name)
        for part in (hint := get_type_hints(schema)[f.name], *get_args(hint)):
            if is_dataclass(part):
                found |= setting_names(part)  # type: ignore[arg-type]
    return found


NAMES = set().union(*map(setting_names, SCHEMAS))


def of(source: str) -> str:
    """Pattern of an expression in Python."""
    return pattern(ast.parse(source, mode="eval").body, {})


def test_every_raise_has_an_example() -> None:
    found, _ = examples(ENTRIES)
    assert not [f"{s.file}:{s.first} ({s.function})" for s in sites() if s not in found], ANEW


def test_every_example_is_of_a_message_that_can_still_come() -> None:
    _, other = examples(ENTRIES)
    assert not other, ANEW


def test_the_page_is_what_its_examples_make() -> None:
    """In its order, without doubles: nothing on it is written by hand."""
    assert page(examples(ENTRIES)[0]) == PAGE.read_text(encoding="utf-8"), ANEW


def test_what_passes_on_another_message_is_known() -> None:
    """Else the page could not tell when such a message changes."""
    assert {site.key for site in relays()} == RELAYS


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.keys[0].replace("/", "."))
def test_a_message_is_short_and_names_a_file_setting_or_value(entry: Any) -> None:
    message = entry.message
    assert message.count("\n") < LINES and len(message) < LONGEST
    assert message == message.strip() and not message.endswith((":", ",", "(", " has"))
    assert " ()" not in message and "object at 0x" not in message
    assert "Traceback" not in message and 'File "' not in message and "Error:" not in message[:30]
    assert not re.search(r"(?<![\w.])/(tmp|root|home|usr|var)/", message)
    assert not re.search(r"\binvalid\b(?! \w+ byte)", message, re.IGNORECASE)
    words = set(re.findall(r"\w+", message))
    names = words & NAMES or re.search(r"\bDIR\b|\w+\.\w+|\w=|'[^']+'|\d", message)
    assert names, "it names no file, setting or value"


@pytest.mark.parametrize(
    ("source", "message", "fits"),
    [
        ('InputError(f"{a} is {b!r}; give {c}")', "x is 'y'; give z", True),
        ('InputError(f"{a} is {b!r}; give {c}")', "x is 'y'; take z", False),
        ("""InputError(f"{'above' if a else 'at least'} {low}")""", "above 3", True),
        ("""InputError(f"{'above' if a else 'at least'} {low}")""", "below 3", False),
        ('Stopped("a" + b, status=3)', "a b", True),
        ('Stopped("a" + b, status=3)', "b", False),
        ('unknown("penalty", name, NAMES)', "penalty: 'x' is not known. Choices: y", True),
        ('unknown("penalty", name, NAMES)', "network: 'x' is not known. Choices: y", False),
        ('unknown("penalty", name, NAMES)', "penalty: 'x' is unknown. Choices: y", False),
    ],
)
def test_a_message_is_told_from_a_changed_one(source: str, message: str, fits: bool) -> None:
    assert (re.fullmatch(of(source), message) is not None) == fits


def test_a_name_stands_for_the_text_that_it_was_set_to() -> None:
    named = {"what": [ast.parse('f"size {x}"', mode="eval").body]}
    node = ast.parse('InputError(f"{what}; give {y}")', mode="eval").body
    assert re.fullmatch(pattern(node, named), "size 3; give 4")
    assert not re.fullmatch(pattern(node, named), "width 3; give 4")
    assert pattern(node, {"what": [*named["what"], ast.Pass()]}).startswith(ANYTHING)
