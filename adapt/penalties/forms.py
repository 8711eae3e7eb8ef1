"""The penalties by name, and what each of them needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from adapt.errors import InputError, unknown
from adapt.penalties.norms import Norm, absolute, grouped, quadratic
from adapt.settings.groups import PenaltyConfig


@dataclass(frozen=True)
class Form:
    """What is done to the shared parameters, at strength alpha. New ones are pulled to 0 by
    beta/2 |w_new|^2 whatever the form."""

    norm: Norm
    to_start: bool
    """Pulled to w0 instead of 0?"""
    fisher: bool = False
    """Weighted by Fisher information?"""


PENALTIES: dict[str, Form | None] = {
    "none": None,
    "l2": Form(quadratic, to_start=False),
    "l2_sp": Form(quadratic, to_start=True),
    "l2_sp_fisher": Form(quadratic, to_start=True, fisher=True),
    "l1_sp": Form(absolute, to_start=True),
    "gl_sp": Form(grouped, to_start=True),
    "gl_sp_fisher": Form(grouped, to_start=True, fisher=True),
}
"""Equations 1 to 6 of Li et al. 2020, and the last of its section 3."""


def checked_form(
    config: PenaltyConfig,
    start: Mapping[str, Tensor] | None,
    fisher: Mapping[str, Tensor] | None,
) -> Form | None:
    """The form of this name, with all that it needs and nothing that it does not use."""
    if config.name not in PENALTIES:
        raise unknown("penalty", config.name, PENALTIES)
    form = PENALTIES[config.name]
    if form and form.to_start and start is None:
        raise InputError(f"penalty {config.name}: there is no start to pull to; give start=RUN")
    weighted = form is not None and form.fisher
    if weighted and fisher is None:
        raise InputError(
            f"penalty {config.name} needs penalty.fisher=FILE, the Fisher information of the start "
            "by parameter name (safetensors)"
        )
    if fisher is not None and not weighted:
        users = ", ".join(name for name, f in PENALTIES.items() if f and f.fisher)
        raise InputError(
            f"penalty.fisher is given, but penalty={config.name} does not use it; {users} do"
        )
    return form
