"""What the tests of R1 to R23 share: real scripts forked from one warmed-up process."""

from copy import copy
from pathlib import Path

import commands
import numpy as np
import pytest
from warm import Warm


@pytest.fixture(scope="session")
def warm(world: Path) -> Warm:
    """Starts scripts in `world`'s folder."""
    found = copy(commands.warm())
    found.cwd = world
    return found


@pytest.fixture
def pixels() -> np.ndarray:
    """Non-square RGB (5, 9, 3) without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
