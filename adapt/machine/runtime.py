"""Where and how a command runs: device and precision, signals, what it says, how it fails."""

import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from inspect import unwrap
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType, MethodType
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from adapt.errors import InputError, Stopped
from adapt.machine.processes import local_rank, rank, world

ENDING = (signal.SIGTERM, signal.SIGINT)
WARNING = (signal.SIGHUP, signal.SIGUSR1)
"""A lost terminal, and a scheduler's notice: they end a run too, and none is the second signal."""
REQUEUING = signal.SIGUSR2
"""What submitit has SLURM send ahead of a time limit; its own handler then queues the job again."""
EVERY = 30.0
"""Seconds from one line of progress to the next where there is no terminal."""
TWICE = 0.5
"""Seconds in which a signal that comes again is not a second one."""

STATUS = 4
"""Exit status of a run that found no memory, or lost a worker or another process."""
UNREACHABLE = ("gloo", "pair closure", "NCCL")
"""What PyTorch says when another process of the run is gone."""
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What PyTorch says of a full machine or GPU, CUDA of one that another process fills, and cuDNN and
cuBLAS of their own buffers."""
COMPILER = "torch._dynamo"
"""The module of torch.compile, which takes a second of CPU to import."""
GUARDED = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
"""Methods of optimisers that torch wraps for torch.compile."""
SHARED = "/dev/shm"
"""Where workers put what they hand over."""
NOT_SHARED = re.compile("unable to (allocate|open) shared memory.*: (.*)")
"""What PyTorch says where it cannot."""

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Runtime:
    """Where and how the tensors lie, and in which precision networks compute (losses are always
    fp32)."""

    device: torch.device
    bf16: bool
    memory_format: torch.memory_format = torch.channels_last

    @property
    def precision(self) -> str:
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def place(self, net: torch.nn.Module) -> torch.nn.Module:
        return net.to(self.device).to(memory_format=self.memory_format)

    def images(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to the device, in its memory format."""
        return images.to(self.device, non_blocking=True, memory_format=self.memory_format)


def eager(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """An optimiser of torch for steps that are not compiled: without the wrappers of its methods,
    whose first call imports COMPILER."""
    bare = {name: unwrap(getattr(kind, name)) for name in GUARDED}
    return type(kind.__name__, (kind,), bare | {"step": torch.no_grad()(bare["step"])})


def unguarded(*modes: Any) -> bool:
    """The same for dispatch modes, as long as nothing in them is compiled; says that it is so."""
    for mode in modes:
        mode.__torch_dispatch__ = MethodType(unwrap(type(mode).__torch_dispatch__), mode)
    return True


def compiles() -> bool:
    """Has this process imported the compiler?"""
    return COMPILER in sys.modules


def runtime(device: str, precision: str, memory_format: str = "channels_last") -> Runtime:
    """The runtime of the settings of these names; `auto` picks what is there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        place = torch.device("meta")
    if place.type not in ("cpu", "cuda"):
        raise InputError(f"device: {device!r} is not known. Choices: auto, cpu, cuda, cuda:N")
    if place.type == "cuda" and world() > 1:
        if place.index is not None:
            raise InputError(f"device: {device!r} is one GPU for {world()} processes; give cuda")
        place = torch.device("cuda", local_rank())
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device: {str(place)!r} asked for, {torch.cuda.device_count()} GPUs are there; give "
            "device=cpu or auto"
        )
    bf16 = precision == "bf16" or (precision == "auto" and native_bf16(place))
    return Runtime(place, bf16, FORMATS[memory_format])


def native_bf16(device: torch.device) -> bool:
    """Does the device compute bf16 itself rather than emulate it?"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def processor() -> str:
    """The CPU's name where Linux tells it, else its kind."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 inside; a second SIGTERM or SIGINT ends
    the process at once. SIGUSR2 comes first in the list whenever it came. SIGHUP comes from the
    shell and from the kernel when a terminal is lost, and not at all under `nohup`.

    The handler only takes a note, so that a step is finished and saved before the run ends. What
    comes within TWICE of the first is the same one: `timeout`, torchrun and schedulers signal a
    process and then its group. In another thread than the main one, where Python has no signals,
    none is collected.
    """
    received: list[int] = []
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if number == REQUEUING:
            received.insert(0, number)
        elif number in WARNING:
            received.append(number)
        elif not any(earlier in ENDING for earlier in received):
            received.append(number)
            first = time.monotonic()
        elif time.monotonic() - first > TWICE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [s for s in (*ENDING, *WARNING, REQUEUING) if s != signal.SIGHUP or not nohup]
    if current_thread() is not main_thread():
        heard = []
    previous = {s: signal.signal(s, note) for s in heard}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def progress(
    items: Iterable, *, what: str, total: int | None = None, initial: int = 0
) -> "tqdm | ProgressLines":
    """A bar with ETA on a terminal, gone when it is full; lines elsewhere; from one process."""
    if rank() == 0 and not (sys.stderr and sys.stderr.isatty()):
        return ProgressLines(items, what, total, initial)
    style = {"disable": rank() > 0, "leave": False, "dynamic_ncols": True}
    return tqdm(items, desc=what, total=total, initial=initial, **style)


class ProgressLines:
    """Progress where no terminal is, with what is used of tqdm: a line on stderr EVERY seconds or
    after a tenth of the items, whichever comes first, and none in the first EVERY seconds."""

    def __init__(self, items: Iterable, what: str, total: int | None, initial: int) -> None:
        self.items, self.what, self.shown = items, what, ""
        self.total = total or (len(items) if isinstance(items, Sized) else 0)
        self.n = self.begin = self.last = initial
        self.started = self.said = time.monotonic()

    def __iter__(self) -> Iterator:
        for item in self.items:
            yield item
            self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def set_postfix(self, **shown: str) -> None:
        self.shown = "".join(f", {name} {value}" for name, value in shown.items())

    def update(self, n: int = 1) -> None:
        self.n, now = self.n + n, time.monotonic()
        tenth = 0 < self.total <= 10 * (self.n - self.last)
        if now - self.started < EVERY or not (tenth or now - self.said >= EVERY):
            return
        self.last, self.said = self.n, now
        rate = (self.n - self.begin) / (now - self.started)
        text = f"{self.what}: {self.n}{f'/{self.total}' if self.total else ''}{self.shown}"
        left = f", {tqdm.format_interval((self.total - self.n) / rate)} left" if self.total else ""
        print(f"{text}, {rate:.3g}/s{left}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """One line for the user, above any progress bar, from one process of a run."""
    if rank() == 0:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def explained(error: RuntimeError | MemoryError, doing: str = "") -> Stopped | None:
    """What happened, in a line, and what to do; None for an error of another kind.

    `doing` says what the run was at: step, batch and samples.
    """
    if isinstance(error, Stopped):
        return error
    text = str(error).strip().split("\n")[0]
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in text for w in NO_MEMORY):
        text = text.rstrip(".") or "the machine's memory is full"
        found = f"out of memory: {text}. A smaller batch or crop needs less "
        found += "(a training's schedule.asynchronous=N accumulates the gradients of N images)"
    elif unshared := NOT_SHARED.search(str(error)):
        room = shutil.disk_usage(SHARED)
        found = (
            f"workers cannot hand over what they read: {unshared[2]}: {SHARED} has "
            f"{room.total / 1e6:,.1f} MB, {room.free / 1e6:,.1f} MB of them free. workers=0 needs "
            "none, fewer workers or a smaller batch need less, and a container gets more by "
            "docker run --shm-size=8g"
        )
    elif text.startswith("DataLoader worker"):
        found = (
            f"{text.split(' Details')[0].rstrip('.')}. Most often it was killed for memory: "
            "fewer workers or a smaller batch need less"
        )
    elif isinstance(error, dist.DistError) or any(word in text for word in UNREACHABLE):
        reason = text.rpartition("] ")[2] if text.startswith("[/") else text
        found = (
            "another process of this run has failed or is gone "
            f"({reason.split('. ')[0]}); its own message has the cause. The same command resumes"
        )
    else:
        return None
    return Stopped(f"{doing}: {found}" if doing else found, STATUS)
