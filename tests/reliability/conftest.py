"""What the tests of R1 to R20 share: real scripts forked from one warmed-up process."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from warm import Warm


@pytest.fixture(scope="session")
def warm(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Starts scripts in `world`'s folder."""
    with closing(Warm(world, tmp_path_factory.mktemp("logs"))) as made:
        yield made


@pytest.fixture
def pixels() -> np.ndarray:
    """Non-square RGB (5, 9, 3) without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
