"""Groups of processes that are started as torchrun starts them, stay, and wait for their turn."""

import os
import socket
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from adapt.machine.processes import processes


def serve(
    pipe: Connection, make: Callable[..., Any], given: tuple, cores: set[int], env: dict[str, str]
) -> None:
    """A process: joins the others, then answers its parent until that hangs up."""
    os.sched_setaffinity(0, cores)
    os.environ.update(env)
    torch.set_num_threads(len(cores))
    with processes():
        served = make(*given)
        for method, arguments in iter(pipe.recv, None):
            pipe.send(getattr(served, method)(*arguments))


class Group:
    """Processes with so many cores of their own each, and in each an object `make(*given)`."""

    def __init__(self, count: int, threads: int, make: Callable[..., Any], *given: object) -> None:
        cores = sorted(os.sched_getaffinity(0))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        here = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        context, self.pipes = get_context("spawn"), []
        for number in range(count):
            own, other = context.Pipe()
            env = {k: str(v) for k, v in (here | {"RANK": number, "LOCAL_RANK": number}).items()}
            mine = set(cores[number * threads : (number + 1) * threads])
            context.Process(target=serve, args=(other, make, given, mine, env), daemon=True).start()
            other.close()  # or the end of the process would not be noticed
            self.pipes.append(own)

    def ask(self, method: str, *arguments: object) -> list[Any]:
        """Every process's answer; EOFError where one has died."""
        for pipe in self.pipes:
            pipe.send((method, arguments))
        return [pipe.recv() for pipe in self.pipes]

    def slowest(self, method: str) -> Callable[[], float]:
        """The largest answer, as a variant of benchmarks/measure.py that times itself."""
        return lambda: max(self.ask(method))

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
