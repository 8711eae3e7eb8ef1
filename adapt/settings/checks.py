"""What settings may be: the checks that their dataclasses share."""

import math

from adapt.errors import InputError, unknown

LARGEST = 100_000_000
"""Pixels of an image, read or made."""
MOST_WORKERS = 1024
MOST_IMAGES = 2**16
"""In one batch."""


def one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unknown(what, value, choices)


def at_least(what: str, value: float, low: float, *, above: bool = False) -> None:
    fails = not math.isfinite(value) or value < low or (above and value == low)
    if fails:
        raise InputError(f"{what} is {value}; it must be {'above' if above else 'at least'} {low}")


def within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{what} is {value}; it must be in {low:g}..{high:g}")


def size_pair(what: str, value: list[int]) -> None:
    if math.prod(value) > LARGEST:
        raise InputError(f"{what} is {value}; images have at most {LARGEST} pixels")
    if value and (len(value) != 2 or min(value) < 1):
        raise InputError(
            f"{what} is {value}; give [height, width] in pixels, or [] to switch it off"
        )
