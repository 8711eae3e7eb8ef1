"""R3: which batches a training sees depends on neither workers nor the step that it starts at;
processes' shares of a batch are disjoint, and together the batch."""

import hashlib
from itertools import chain
from pathlib import Path

import pytest
from campaigns.kills import run_result
from tiny import teaching
from warm import Warm

from adapt.data import load, sampling
from adapt.data.sampling import Stream, batches
from adapt.settings.groups import DataConfig

BATCH, FIELDS = 2, ("x1", "x2", "y2", "valid")


def digests(world: Path, start: int, stop: int, workers: int) -> list[str]:
    """SHA-256 of each batch, names included, in the order in which they come."""
    config = DataConfig(
        name="camvid", root=str(world / "d1"), target=str(world / "d2"), crop=[32, 40],
        scale=[0.8, 1.25], rotate=10, jitter_x1=0.2, jitter_x2=0.2, blur_x1=1, blur_x2=1,
    )  # fmt: skip
    stream, found = Stream(load(config, "train"), config, FIELDS, seed=5), []
    for batch in batches(stream, BATCH, start, stop, workers):
        digest = hashlib.sha256(" ".join(batch.pop("name")).encode())
        for key in sorted(batch):
            digest.update(f"{key} {tuple(batch[key].shape)} {batch[key].dtype}".encode())
            digest.update(batch[key].contiguous().numpy().tobytes())
        found.append(digest.hexdigest())
    return found


def test_r03_batches_are_the_same_for_any_workers_and_any_start(world: Path) -> None:
    """Two epochs of six samples, in the order in which they arrive."""
    epochs = digests(world, 0, 6, workers=0)
    assert len(set(epochs)) == 6
    for workers in (1, 3):
        assert digests(world, 0, 6, workers) == epochs
    for start, workers in ((1, 0), (4, 0), (4, 3)):
        assert digests(world, start, 6, workers) == epochs[start:]


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


@pytest.mark.system
def test_r03_workers_may_change_when_a_run_is_resumed(warm: Warm, world: Path) -> None:
    given = (
        "data=camvid", "data.root=d1", "network.width=0.03125", "network.batch_norm=true",
        "data.crop=[32,40]", "steps=8", "batch=2", "log_every=1", "checkpoint_every=3",
        "eval_every=4", "device=cpu", "precision=fp32",
    )  # fmt: skip
    warm.run("train.py", *given, "run=workers0")
    cut = ("train.py", *given, "run=workers3")
    warm.run(*cut, "workers=3", fault="kill_at_step:5", status=-9)
    warm.run(*cut, "workers=1")
    assert run_result(world / "workers3") == run_result(world / "workers0")
