"""What a setting may be: rules that stand in its annotation, for its check and its explanation.

With `alpha: Annotated[float, Range(0)] = 0.0` the value -1 is refused wherever settings are made,
and `--help` and docs/settings.md say "number at least 0".
"""

import math
import re
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from adapt.errors import InputError, unknown
from adapt.settings.choices import RIDGE

MOST_PIXELS = 100_000_000
"""Of an image, read or made."""
MOST_CLASSES = 65_535
"""As many as masks of 16 bits tell apart beside void."""
AUTO, BY_PAIRS = "auto", "pairs"
"""`taps`: those that the network's structure, or a fit to pairs, suggests."""


class Range:
    """The numbers from `low` to `high`; `above` and `below` leave these two out."""

    def __init__(
        self, low: float, high: float = math.inf, *, above: bool = False, below: bool = False
    ) -> None:
        self.low, self.high, self.above, self.below = low, high, above, below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        ends = "(" if self.above else "[", ")" if self.below else "]"
        return f"in {ends[0]}{self.low:g}, {self.high:g}{ends[1]}"

    def check(self, what: str, value: float) -> None:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InputError(f"{what} is {value}; whole numbers lie below 2^63")
        high_enough = value > self.low if self.above else value >= self.low
        low_enough = value < self.high if self.below else value <= self.high
        if not (math.isfinite(value) and high_enough and low_enough):
            verb = "be" if self.high == math.inf else "lie"
            raise InputError(f"{what} is {value}; it must {verb} {self}")


class OneOf:
    """One of these names; where `others` says which other ones there are, those pass too."""

    def __init__(self, *names: str, others: str = "") -> None:
        self.names, self.others = names, others

    def __str__(self) -> str:
        return " | ".join([*filter(None, self.names), *filter(None, [self.others])])

    def check(self, what: str, value: str) -> None:
        if not self.others:
            one_of(what, value, self.names)


class Pixels:
    """A height and a width; an empty list switches off what they are for."""

    def __str__(self) -> str:
        return "[height, width] in pixels"

    def check(self, what: str, value: list[int]) -> None:
        if math.prod(value) > MOST_PIXELS:
            raise InputError(f"{what} is {value}; images have at most {MOST_PIXELS} pixels")
        if value and (len(value) != 2 or min(value) < 1):
            raise InputError(f"{what} is {value}; give {self}, or [] to switch it off")


class Taps:
    """Which layers' maps are regressed, and how much each of them counts."""

    def __str__(self) -> str:
        return f"{AUTO} | {BY_PAIRS} | [layer, ...] | {{layer: weight or the student's layer, ...}}"

    def check(self, what: str, value: object) -> None:
        names: list[object] = []
        if isinstance(value, dict | list):
            names = list(value)
        named = names and all(isinstance(n, str | int) for n in names)  # 3 is a Sequential's fourth
        if not named and value not in ("", AUTO, BY_PAIRS):
            raise InputError(f"{what} is {value!r}; give {self}")
        if twice := [n for n in names if names.count(n) > 1]:
            raise InputError(f"{what}: {twice[0]!r} stands twice")
        given = value if isinstance(value, dict) else {}
        if given and all(isinstance(partner, str) for partner in given.values()):
            return
        for name, weight in given.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise InputError(
                    f"{what}.{name} is {weight!r}; give every layer a weight, or every layer the "
                    "student's"
                )
            Range(0, above=True).check(f"{what}.{name}", weight)


class Adapters:
    """Where a network gets adapters, or the file that has them."""

    def __str__(self) -> str:
        return f"{{layer: rank, ...}} | {{{AUTO}: rank}} | FILE, where a rank may be {RIDGE}"

    def check(self, what: str, value: object) -> None:
        if not isinstance(value, str | dict):
            raise InputError(f"{what} is {value!r}; give {self}")
        for layer, rank in value.items() if isinstance(value, dict) else ():
            if rank == RIDGE:
                continue
            if isinstance(rank, bool) or not isinstance(rank, int):
                raise InputError(
                    f"{what}.{layer} is {rank!r}; its rank is a whole number, or {RIDGE}"
                )
            Range(0).check(f"{what}.{layer}", rank)


PART = re.compile("(all|[0-9]{1,6})/([1-9][0-9]{0,5})")
"""Which part of how many."""


class PartOf:
    """A part of the files that a command works on, which several calls share."""

    def __str__(self) -> str:
        return "i/n | all/n"

    def check(self, what: str, value: str) -> None:
        found = PART.fullmatch(value)
        if value and not (found and (found[1] == "all" or int(found[1]) <= int(found[2]))):
            raise InputError(
                f"{what} is {value!r}; give i/n, where i counts from 1 to n, or from 0 to n - 1, "
                "or all/n, which puts the parts together"
            )


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Batch = Annotated[int, Range(1, 2**16)]
Workers = Annotated[int, Range(0, 1024)]
Strength = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
SIZE = Pixels()
Size = Annotated[list[int], SIZE]
Part = Annotated[str, PartOf()]
MemoryFormat = Annotated[str, OneOf("channels_last", "contiguous")]
Precision = Annotated[str, OneOf("auto", "fp32", "bf16")]


class Settings:
    """Base of all settings: what their annotations demand is checked as they are made."""

    where = ""
    """What stands before the fields' names on the command line."""

    def __init_subclass__(cls, where: str = "") -> None:
        cls.where = where

    def __post_init__(self) -> None:
        own: type = type(self)
        for name, hint in hints(own).items():
            check(hint, getattr(self, name), f"{self.where}{name}")


@cache
def hints(schema: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, rules included."""
    every = get_type_hints(schema, include_extras=True)
    return {f.name: every[f.name] for f in fields(schema)}


def check(hint: Any, value: Any, what: str) -> None:
    """Apply the rules of an annotation to a value of its type, and to what that contains.

    Raises:
        InputError: a rule is broken; the message has the setting's name.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        check(inner[0], value, what)
        for rule in inner[1:]:
            rule.check(what, value)
    elif origin is list:
        for item in value:
            check(inner[0], item, what)
    elif origin is dict:
        for key, item in value.items():
            check(inner[1], item, f"{what}.{key}")


def one_of(what: str, value: str, choices: Iterable[str]) -> None:
    if value not in (choices := tuple(choices)):
        raise unknown(what, value, choices)
