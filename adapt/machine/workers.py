"""Processes beside the main one: they leave signals to it and do not outlive it."""

import atexit
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from types import FrameType
from typing import Any, TypeVar

import cv2

from adapt.errors import Stopped
from adapt.machine.runtime import STATUS

T = TypeVar("T")

FROM_TERMINAL = {signal.SIGINT, signal.SIGHUP}
"""What a terminal sends to all processes of a command."""


@atexit.register  # before multiprocessing's own, which sends SIGTERM and waits for ever
def _end_workers() -> None:
    """What still runs when the main process ends needs no patience any more."""
    for worker in active_children():
        worker.kill()


def patient(_: int) -> None:
    """Of a DataLoader's worker (`worker_init_fn`): the first SIGINT and SIGTERM pass, and SIGHUP.

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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _serve() -> None:
    """Of a pool's process: one core, nothing from a terminal, and no life after the parent's."""

    def end_with(parent: Any) -> None:
        parent.join()
        os._exit(1)

    cv2.setNumThreads(1)
    for number in FROM_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FROM_TERMINAL)
    Thread(target=end_with, args=(parent_process(),), daemon=True).start()


@contextmanager
def spread(
    function: Callable[[Any], T], jobs: Iterable[Any], workers: int, chunk: int, what: str
) -> Iterator[Iterator[T]]:
    """Inside, the results of `function` over `jobs` in their order, from so many processes. Stopped
    where one of them died, which is mostly the system's answer to too little memory."""
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_serve) as pool:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_TERMINAL)  # while they start
        try:
            try:
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
