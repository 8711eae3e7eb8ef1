"""One run in several processes, started by torchrun: what each does, and what all agree on.

With one process every function here is the identity, so that the rest of the project is written
once. Process 0 writes; the others compute. `batch` is that of all processes together: the same
command gives the same result in one process and in several, but for rounding.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from adapt.errors import InputError, SharedError, Stopped

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for one that is alive and does not answer; a dead one is noticed at
once."""


def world() -> int:
    """Number of processes of this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def silent(error: InputError | Stopped) -> bool:
    """Is an error another process's to print?"""
    return error.everywhere and os.environ.get("RANK", "0") != "0"


def local_rank() -> int:
    """Number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def started_by_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def refuse_several(name: str) -> None:
    """InputError where torchrun started several processes of a command for one."""
    if started_by_torchrun():
        raise InputError(f"{name} runs in one process; start it without torchrun")


@contextmanager
def processes() -> Iterator[None]:
    """Join the other processes that torchrun started, if it did."""
    if not started_by_torchrun():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def all_sum(value: Tensor) -> Tensor:
    """Sum of a tensor over the processes."""
    if world() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def all_mean(value: Tensor) -> Tensor:
    """Mean of a tensor over the processes."""
    return all_sum(value) / world() if world() > 1 else value


class _Summed(torch.autograd.Function):
    """The sum depends on the parts of all processes alike, so what they say of it is added too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return all_sum(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_sum(gradient)


def summed(value: Tensor) -> Tensor:
    """`all_sum` with a gradient, for the parts of all processes."""
    return _Summed.apply(value) if world() > 1 else value


def global_mean(mean: Tensor, count: Tensor) -> Tensor:
    """The mean over this process's `count` items, scaled so that the average over the processes
    (which is what DistributedDataParallel makes of gradients) is the mean over all items."""
    if world() == 1:
        return mean
    return mean * (count * world() / all_sum(count.double()).clamp(min=1)).to(mean.dtype)


def all_max(value: int) -> int:
    """The largest of the processes' numbers."""
    if world() == 1:
        return value
    shared = torch.tensor(value)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def all_gather(item: T) -> list[T]:
    """Every process's item, in their order, on all of them."""
    if world() == 1:
        return [item]
    items: list[Any] = [None] * world()
    dist.all_gather_object(items, item)
    return items


@contextmanager
def shared_errors() -> Iterator[None]:
    """An InputError that one process meets inside is raised by all of them."""
    if world() == 1:
        yield
        return
    message = ""
    try:
        yield
    except SharedError:  # of a block inside this one
        raise
    except InputError as error:
        message = str(error)
    if all_max(bool(message)):
        raise SharedError(next(m for m in all_gather(message) if m))


def on_rank_zero(action: Callable[[], T]) -> T:
    """What process 0 got from the action, on all processes; the others wait for it."""
    found: list[Any] = [None]
    with shared_errors():
        if rank() == 0:
            found[0] = action()
    if world() > 1:
        dist.broadcast_object_list(found)
    return found[0]


def rank_zero_first(action: Callable[[], T]) -> T:
    """What the action gives each process, process 0 being done with it before the others begin."""
    with shared_errors():
        found = [action()] if rank() == 0 else []
    with shared_errors():
        return found[0] if found else action()


def rank_zero_only(action: Callable[..., None]) -> Callable[..., None]:
    """The action, done by process 0 alone; the others go on."""

    @wraps(action)
    def on_first(*arguments: Any, **named: Any) -> None:
        if rank() == 0:
            action(*arguments, **named)

    return on_first


def in_lockstep(source: Iterator[T]) -> Iterator[T]:
    """The items of a source that has as many on every process, in step with the others."""
    while True:
        with shared_errors():
            item = next(source, None)
        if item is None:
            return
        yield item
