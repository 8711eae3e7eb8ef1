"""The filters' parameters, for arrays, tensors and augmentations alike.

Names and defaults stand in the signatures of the filters on arrays, ranges and choices in the
tables below. The filters on tensors and the augmentations take both from there.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, TypeVar

import numpy as np

Range = float | tuple[float, float]
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

RANGES = {
    "mask_radius": (0.0, 50.0),
    "sharpness": (0.0, 1.0),
    "black": (0.0, 1.0),
    "white": (0.0, 1.0),
    "amplitude": (0.0, 1000.0),
    "period": (0.0, 1000.0),
    "phi": (-1.0, 1.0),
    "angle": (-180.0, 180.0),
    "tile_size": (1.0, 256.0),
    "tile_saturation": (0.0, 10.0),
    "blur": (0.0, 20.0),
    "saturation": (0.0, 1.0),
    "brightness": (0.0, 1.0),
    "noise": (0.0, 100.0),
    "quality": (1.0, 100.0),
}
CHOICES = {
    "sampler_type": ("nearest", "linear", "cubic"),
    "wave_type": ("sine", "triangle", "sawtooth"),
    "abyss_policy": ("clamp", "loop", "black", "white", "none"),
}
FLAGS = ("tileable", "move_mask")


def check(name: str, value: Any) -> Any:
    """Return the value of the parameter `name`: a float, a string, a bool, or a colour as a tuple.

    Values of parameters that are in no table are returned as they are.

    Raises:
        ValueError: the value has the wrong type or is out of range.
    """
    if name in RANGES:
        low, high = RANGES[name]
        wanted = f"a number in [{low:g}, {high:g}]"
        # bool is a number to Python, but True is never meant as a radius; NaN fails the comparison.
        number = isinstance(value, int | float | np.integer | np.floating)
        if number and not isinstance(value, bool) and low <= value <= high:
            return float(value)
    elif name in CHOICES:
        wanted = f"one of {', '.join(CHOICES[name])}"
        if isinstance(value, str) and value in CHOICES[name]:
            return value
    elif name in FLAGS:
        wanted = "True or False"
        if isinstance(value, bool | np.bool):
            return bool(value)
    elif name == "bg_color":
        wanted = "three integers in [0, 255]"
        parts = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(parts, Sequence) and len(parts) == 3:
            return tuple(check_integer(f"{name}[{i}]", p, 0, 255) for i, p in enumerate(parts))
    else:
        return value
    raise ValueError(f"{name} must be {wanted}, got {value!r}")


def check_integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int if it is an integer in [low, high], else raise ValueError."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if integer and low <= value <= high:
        return int(value)
    raise ValueError(f"{name} must be an integer in [{low}, {high}], got {value!r}")


def check_span(name: str, value: Any) -> tuple[float, float]:
    """Return `value`, a number or a range (from, to), as the two ends of a range.

    Raises:
        ValueError: not a number or two, out of range, or the larger end first.
    """
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ValueError(f"{name} must be a number or two (from, to), got {value!r}")
    first, last = (check(name, end) for end in ends)
    if first > last:
        raise ValueError(f"{name} must go from the smaller to the larger number, got {value!r}")
    return first, last


def keywords(function: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a filter, without the image."""
    parameters = inspect.signature(function).parameters.values()
    return [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY]


def parameters_of(
    filter_: Callable[..., Any], without: Sequence[str] = ()
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a function of one argument the parameters of a filter, with their defaults and checks.

    `without` names parameters that the function does not take.
    """
    shared = [p for p in keywords(filter_) if p.name not in without]

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        own = inspect.signature(function)
        signature = own.replace(parameters=[next(iter(own.parameters.values())), *shared])

        @wraps(function)
        def call(*args: Any, **given: Any) -> T:
            bound = signature.bind(*args, **given)
            bound.apply_defaults()
            return function(*bound.args, **{k: check(k, v) for k, v in bound.kwargs.items()})

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate


def checked(filter_: F) -> F:
    """Check the parameters of a filter before it runs."""
    return parameters_of(filter_)(filter_)  # type: ignore[return-value]


def initialiser(
    filter_: Callable[..., Any], then: Callable[..., None], **own: Any
) -> Callable[..., None]:
    """Return the `__init__` of a filter's augmentation.

    It takes the filter's parameters but the seed, each number also as a range (from, to), and the
    augmentation's `own` ones (name=default). It calls `then` with the instance and checked values.
    """
    kind = Parameter.POSITIONAL_OR_KEYWORD
    shared = [p.replace(kind=kind) for p in keywords(filter_) if p.name != "seed"]
    shared = [p.replace(annotation=Range) if p.name in RANGES else p for p in shared]
    more = [Parameter(name, kind, default=default) for name, default in own.items()]
    signature = Signature([Parameter("self", kind), *shared, *more])

    def __init__(*args: Any, **given: Any) -> None:
        bound = signature.bind(*args, **given)
        bound.apply_defaults()
        self, *values = bound.arguments.items()
        then(self[1], **{k: check_span(k, v) if k in RANGES else check(k, v) for k, v in values})

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    return __init__
