"""R3 across processes: their shares of a batch are disjoint, and together the batch."""

from itertools import chain
from pathlib import Path

import pytest
from tiny import teaching

from adapt.data import load, sampling
from adapt.data.sampling import Stream, batches


@pytest.mark.parametrize("count", [2, 3])
def test_r03_shares_of_the_processes_make_up_the_batch(
    world: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Names and pixels, in order, over two epochs, from the start and from step 2."""
    config = teaching(world).data

    def drawn(rank: int, processes: int, begin: int) -> list[list[tuple[str, bytes]]]:
        monkeypatch.setattr(sampling, "rank", lambda: rank)
        monkeypatch.setattr(sampling, "world", lambda: processes)
        stream = Stream(load(config, "train"), config, ["x1"], seed=5)
        return [
            [(n, x.numpy().tobytes()) for n, x in zip(b["name"], b["x1"], strict=True)]
            for b in batches(stream, 6, begin, 6)
        ]

    for begin in (0, 2):
        alone = drawn(0, 1, begin)
        shares = [drawn(rank, count, begin) for rank in range(count)]
        together = [[*chain(*parts)] for parts in zip(*shares, strict=True)]
        assert together == alone
        assert all(len(part) == 6 // count for share in shares for part in share)
