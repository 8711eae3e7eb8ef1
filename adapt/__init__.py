"""Feature-regression domain adaptation with -SP regularisation.

A frozen teacher sees x1 (old domain), a student with the same architecture sees x2 (new domain,
same scene); the student's feature maps are regressed onto the teacher's (Benbihi, Geist, Pradalier
2018) while an -SP penalty (Li, Grandvalet, Davoine 2018) keeps its weights near their start.

    result = adapt.fit(teacher, pairs)

The names below are imported when they are first used: `import adapt` itself takes no torch.
"""

import os
from importlib import import_module
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network

PLACES = {
    "adapt.api.run": ("Result", "fit", "load", "merge"),
    "adapt.api.loop": ("Penalty", "evaluate", "fisher", "regression_loss", "taps"),
    "adapt.evaluation.ridge": ("insert_map", "ridge_maps", "ridge_scores"),
    "adapt.errors": ("InputError", "Stopped"),
}
"""Module -> the names that it gives."""
__all__ = [name for names in PLACES.values() for name in names] + ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("feature-regression-adaptation")
    for place, names in PLACES.items():
        if name in names:
            return getattr(import_module(place), name)
    raise AttributeError(f"module 'adapt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
