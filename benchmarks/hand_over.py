"""What it costs to have batches made beside the step: by threads or by worker processes.

    python benchmarks/hand_over.py [--rounds 5] [--images DIR] [--pairs 32] [--workers 1 2]

The work is that of data_path.py, `Stream` with all its checks from JPEG. Of each way it prints, a
batch of 8 pairs: CPU time of all threads and processes together, that of the main thread alone,
which a step must give away, and the memory of one worker (PSS, in which pages that several
processes share count by their share). Ratios are to `in process`, of rounds that take turns.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import torch

from adapt.data import DataSet, Sample
from adapt.data.sampling import Batch, Stream, batches, collate
from adapt.settings.groups import DataConfig
from benchmarks.data_path import BATCH, jpeg, originals, write_pairs
from benchmarks.measure import append, quartiles, settings

Way = Callable[[], Iterator[Batch]]
WHAT = ("all", "main", "memory")
"""CPU seconds a batch of all threads and processes, those of the main thread; bytes a worker."""


def stream_of(pairs: list[Sample], crop: list[int]) -> Stream:
    data = DataSet("pairs", "train", (), (), tuple(pairs))
    return Stream(data, DataConfig(crop=crop), ("x1", "x2"), 0)


def threaded(stream: Stream, workers: int) -> Iterator[Batch]:
    """Batches by threads, with as many ahead as a DataLoader's worker has."""

    def made(step: int) -> Batch:
        return collate([stream[BATCH * step + place] for place in range(BATCH)])

    with ThreadPoolExecutor(workers) as pool:
        steps = itertools.count()
        ahead = deque(pool.submit(made, next(steps)) for _ in range(2 * workers))
        while True:
            ahead.append(pool.submit(made, next(steps)))
            yield ahead.popleft().result()


def of_children() -> tuple[float, list[int]]:
    """CPU seconds that the workers have used, and the PSS of each."""
    spent, memory = 0.0, []
    for child in active_children():
        place = Path(f"/proc/{child.pid}")
        tasks = place.glob("task/*/schedstat")
        spent += sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
        rows = (place / "smaps_rollup").read_text().splitlines()
        memory.append(1024 * int(next(row for row in rows if row.startswith("Pss:")).split()[1]))
    return spent, memory


def cost(way: Way, count: int) -> dict[str, float]:
    """WHAT of a way to make `count` batches, from when it is under way."""
    found = way()
    for _ in range(4):
        next(found)
    before, own, main = of_children()[0], time.process_time(), time.thread_time()
    for _ in range(count):
        next(found)
    main, own = time.thread_time() - main, time.process_time() - own
    after, memory = of_children()
    found.close()  # type: ignore[attr-defined]
    every = (own + after - before) / count
    return {"all": every, "main": main / count, "memory": max(memory, default=0)}


def main() -> None:
    given = settings(
        __doc__ or "", rounds=5, images="", pairs=32, size=[375, 500], crop=[321, 321],
        count=24, workers=[1, 2],
    )  # fmt: skip
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = originals(given.images, 2 * given.pairs, given.size)
    with tempfile.TemporaryDirectory() as temporary:
        pairs = write_pairs(Path(temporary), "jpg", [jpeg(image, 95) for image in images])
        stream = stream_of(pairs, given.crop)
        ways: dict[str, Way] = {"in process": lambda: batches(stream, BATCH, 0, 10**4)}
        for count in given.workers:
            ways[f"{count} threads"] = lambda n=count: threaded(stream, n)
            ways[f"{count} processes"] = lambda n=count: batches(stream, BATCH, 0, 10**4, n)
        rounds = [{name: cost(way, given.count) for name, way in ways.items()}
                  for _ in range(given.rounds)]  # fmt: skip
    rows: dict[str, Any] = {}
    for name in ways:
        mine = [each[name] for each in rounds]
        row = {what: statistics.median(each[what] for each in mine) for what in WHAT}
        ratios = [each[name]["all"] / each["in process"]["all"] for each in rounds]
        rows[name] = row | {"ratio": quartiles(ratios)}
        print(f"{name:<14}{1e3 * row['all']:8.2f} ms of CPU a batch, {1e3 * row['main']:6.2f} of "
              f"the main thread's; {row['memory'] / 2**20:6.1f} MiB a worker; CPU, of "
              f"in process {rows[name]['ratio']['median']:.2f}")  # fmt: skip
    append(
        given.out, milliseconds={name: 1e3 * row["all"] for name, row in rows.items()},
        ratios=[{"ratio": f"{name} / in process", **row["ratio"]} for name, row in rows.items()],
        rows=rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
