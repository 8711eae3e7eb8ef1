"""R3: batches depend on neither workers nor the first step; processes' shares make them up."""

from itertools import chain
from pathlib import Path

import pytest
from campaigns.kills import run_result
from tiny import teaching
from warm import Warm

from adapt.data import load, sampling
from adapt.data.sampling import Stream, batches

Patch = pytest.MonkeyPatch
GIVEN = (
    "adapt.py", "data.target=d2", "teacher=teacher", "objective=pool3", "data.crop=[32,40]",
    "data.scale=[0.8,1.25]", "data.rotate=10", "data.jitter_x1=0.2", "data.jitter_x2=0.2",
    "data.blur_x1=1", "data.blur_x2=1", "steps=8", "batch=2", "log_every=1", "checkpoint_every=3",
    "eval_every=4", "device=cpu", "precision=fp32",
)  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
def test_r03_shares_make_up_the_batch(world: Path, monkeypatch: Patch, count: int) -> None:
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


@pytest.mark.system
def test_r03_batches_are_the_same_for_any_workers_and_any_start(warm: Warm, world: Path) -> None:
    """Over two epochs of six samples: losses, weights and state are equal to the bit."""
    warm.run(*GIVEN, "run=workers0")
    warm.run(*GIVEN, "run=workers3", "workers=3", fault="kill_at_step:5", status=-9)
    warm.run(*GIVEN, "run=workers3", "workers=1")
    assert run_result(world / "workers3") == run_result(world / "workers0")
