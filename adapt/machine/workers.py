"""Processes beside the main one: they leave signals to it and do not outlive it."""

import atexit
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_convert, get_worker_info

from adapt.errors import InputError, Stopped
from adapt.machine.runtime import SHARED, STATUS, WARNING, progress

T = TypeVar("T")

FOR_ALL = {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
"""What a terminal or a scheduler sends to all processes of a command."""


@atexit.register  # before multiprocessing's own, which sends SIGTERM and waits for ever
def _end_workers() -> None:
    """What still runs when the main process ends needs no patience any more."""
    for worker in active_children():
        worker.kill()


def patient(_: int) -> None:
    """Of a DataLoader's worker (`worker_init_fn`): the first SIGINT and SIGTERM pass, and WARNING.

    Ctrl-C and batch systems signal every process of a job; it is the main one that finishes its
    step with what the workers deliver, and then ends them.
    """
    passed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number in passed:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        passed.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    for number in WARNING:
        signal.signal(number, signal.SIG_IGN)


def handed_over(collate: Callable[[Any], Any], items: Any) -> Any:
    """Of a DataLoader's worker: the tensor or mapping that `collate` makes of items, in shared
    memory. Where there is too little, that fails here, and not in the thread that hands it over,
    which nobody hears."""
    batch = collate(items)
    for value in batch.values() if isinstance(batch, dict) else (batch,):
        if isinstance(value, Tensor) and get_worker_info():
            value.share_memory_()
    return batch


@contextmanager
def starting(alone: int) -> Iterator[None]:
    """Inside, processes are started; Stopped where they cannot be. `alone` workers need none."""
    try:
        yield
    except OSError as error:
        raise Stopped(
            f"no worker processes can be started ({error.strerror}): they need a {SHARED} that can "
            f"be written, and processes that `ulimit -u` leaves free; workers={alone} needs none",
            STATUS,
        ) from None


def loading(source: Dataset[Any], workers: int, **how: Any) -> DataLoader:
    """A DataLoader (torch's own options in `how`, with the `collate_fn` of batches) that leaves the
    state alone that dropout draws from, and signals to the main process."""
    collate = partial(handed_over, how.pop("collate_fn", default_convert))
    how |= {"generator": torch.Generator(), "worker_init_fn": patient, "collate_fn": collate}
    return DataLoader(source, num_workers=workers, **how)


def unwrapped(loader: DataLoader) -> Iterator[Any]:
    """The loader's items; errors of its worker processes without the tracebacks around them.

    Raises:
        InputError: as a worker met it.
        RuntimeError: a worker died; from here and nowhere else (adapt.machine.runtime explains it).
        Stopped: none can be started.
    """
    with starting(alone=0):
        items = iter(loader)
    if loader.num_workers and current_thread() is main_thread():
        # torch's handler would raise wherever the process happens to be
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield from items
    except InputError as error:
        raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from None
    except (ConnectionError, EOFError):
        raise RuntimeError("DataLoader worker died while it handed over a batch") from None


def _serve() -> None:
    """Of a pool's process: one core, nothing from a terminal, and no life after the parent's."""

    def end_with(parent: Any) -> None:
        parent.join()
        os._exit(1)

    cv2.setNumThreads(1)
    for number in FOR_ALL:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_ALL)
    Thread(target=end_with, args=(parent_process(),), daemon=True).start()


@contextmanager
def spread(
    function: Callable[[Any], T], jobs: Iterable[Any], workers: int, chunk: int, what: str
) -> Iterator[Iterator[T]]:
    """Inside, the results of `function` over `jobs` in their order, from so many processes. Stopped
    where one of them died, which is mostly the system's answer to too little memory."""
    with starting(alone=1):
        made = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_serve)
    with made as pool:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_ALL)  # while they start
        try:
            try:
                with starting(alone=1):
                    found = pool.map(function, jobs, chunksize=chunk)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield found
        except BrokenProcessPool:
            raise Stopped(
                f"{what}: a worker process died (out of memory?); workers=1 needs the least", STATUS
            ) from None
        except BaseException:  # nobody waits for what they are about
            for child in active_children():
                child.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def in_processes(
    work: Callable[[Any], T], jobs: Sequence[Any], workers: int, what: str, chunk: int = 4
) -> Iterator[T]:
    """What `work` makes of all jobs, in their order, with progress; one worker works in this
    process, 0 = one for each core.

    Raises:
        Stopped: as `spread`.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    here = nullcontext(map(work, jobs))
    with here if workers <= 1 else spread(work, jobs, workers, chunk, what) as found:
        yield from progress(found, what=what, total=len(jobs))
