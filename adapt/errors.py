"""Errors that a user can mend: every one names the file, field or value and the choices."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 10
MOST = 30
"""Choices listed; the nearest one is named whichever it is."""
DIVERGED = 3
"""Exit status of a training whose loss or gradient is not finite."""


class InputError(ValueError):
    """Wrong configuration, data or file. Scripts print its text alone and exit with status 2."""

    status = 2
    everywhere = False
    """Do all processes of the run raise it? Then one of them says it."""


class SharedError(InputError):
    """An InputError of one process that all processes of the run have been told of."""

    everywhere = True


class Stopped(RuntimeError):
    """A run that had to end early, its last checkpoint intact. `status` is the exit status."""

    def __init__(self, message: str, status: int, everywhere: bool = False) -> None:
        super().__init__(message)
        self.status, self.everywhere = status, everywhere


def listing(names: Iterable[object], shown: int = SHOWN) -> str:
    """`a, b, c and 7 more` of any number of names, sorted."""
    every = sorted(str(name) for name in names)
    rest = len(every) - shown
    return ", ".join(every[:shown]) + (f" and {rest} more" if rest > 0 else "")


def unknown(what: str, value: object, choices: Iterable[str]) -> InputError:
    """The error for a value that is not among its choices, with the nearest one suggested."""
    choices = list(dict.fromkeys(choices))
    near = get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(choice or "'' (empty)" for choice in choices[:MOST]) or "none"
    shown += f" and {len(choices) - MOST} more" if len(choices) > MOST else ""
    return InputError(f"{what}: {str(value)!r} is not known.{hint} Choices: {shown}")
