"""What the tests of R1 to R20 share: real scripts forked from one warmed-up process."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from warm import Warm


@pytest.fixture(scope="session")
def warm(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Starts scripts in `world`'s folder."""
    with closing(Warm(world, tmp_path_factory.mktemp("logs"))) as made:
        yield made
