"""The frozen teacher's maps, computed once for each view of an image and kept."""

import os
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from adapt.data import DataSet
from adapt.data.augment import PairedAugmentation
from adapt.disk.files import writing
from adapt.errors import InputError
from adapt.machine.runtime import Runtime
from adapt.networks.maps import blank
from adapt.networks.taps import forward
from adapt.objective.terms import Maps, Objective
from adapt.settings.training import TrainConfig

SHARE = 0.9
"""Of the free memory or disk that the maps may take."""


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of its control group."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        return free


class TeacherCache:
    """Maps of `entries` views, in memory or in a file that nobody else sees.

    Each is kept as the teacher computed it, in its own type, so that losses are the same with and
    without. A run that is resumed fills it again.
    """

    def __init__(
        self, entries: int, example: Maps, folder: Path | None, channels: int = -1
    ) -> None:
        """For maps like those of `example`, (1, C, h, w) each, kept with their channels at that
        dimension, as networks compute them, so that sums are taken in the same order; in `folder`,
        None = in memory. InputError where they do not fit."""
        self.entries, self.example, self.folder = entries, example, folder
        self.channels = channels
        self.known = torch.zeros(entries, dtype=torch.bool)
        self.bytes = entries * sum(found.nbytes for found in example.values())
        free, where = free_memory(), "in memory"
        if folder is not None:
            place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
            free, where = shutil.disk_usage(place).free, f"on the disk of {place}"
        if self.bytes > SHARE * free:
            raise InputError(
                f"cache_teacher: the maps of {entries:,} views take {self.bytes / 1e9:.2f} GB; "
                f"{free / 1e9:.2f} GB are free {where}, of which {SHARE:.0%} may be used. Choices: "
                "off, ram, file"
            )

    def __str__(self) -> str:
        where = f"in {self.folder}" if self.folder else "in memory"
        size = f"{self.bytes / 1e9:.2f} GB"
        return f"teacher's maps of {self.entries:,} views are kept {where}: {size}"

    @cached_property
    def maps(self) -> Maps:
        """Tap -> (entries, ...); what is untouched takes no memory."""
        return {tap: self._room(self.kept(found)) for tap, found in self.example.items()}

    def kept(self, found: Tensor) -> Tensor:
        return found.movedim(1, self.channels)

    def _room(self, like: Tensor) -> Tensor:
        shape = torch.Size((self.entries, *like.shape[1:]))
        if self.folder is None:
            return torch.empty(shape, dtype=like.dtype)
        path = self.folder / f".teacher_maps.tmp-{os.getpid()}"
        with writing(path):
            with path.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, self.entries * like.nbytes)
            room = torch.from_file(str(path), shared=True, size=shape.numel(), dtype=like.dtype)
            path.unlink()  # the mapping keeps it, and nothing is left whatever ends the process
        return room.view(shape)

    def __call__(self, views: Tensor, compute: Callable[[], Maps], device: torch.device) -> Maps:
        """The maps of a batch's views (B,): those that are kept, or else what `compute` gives."""
        if self.known[views].all():
            kept = {tap: maps[views].to(device) for tap, maps in self.maps.items()}
            return {tap: maps.movedim(self.channels, 1) for tap, maps in kept.items()}
        found = compute()
        for tap, maps in found.items():
            self.maps[tap][views] = self.kept(maps).cpu()
        self.known[views] = True
        return found


def cached(
    config: TrainConfig,
    machine: Runtime,
    data: DataSet,
    objective: Objective,
    teacher: nn.Module,
    size: tuple[int, int],
) -> TeacherCache | None:
    """Room for the teacher's maps of every view of every training image, if they are to be kept;
    InputError for images with views without end, mixtures, and maps that do not fit."""
    if config.cache_teacher == "off":
        return None
    for what in ("mixup", "crop_shift"):
        if given := getattr(config, what):
            raise InputError(
                f"cache_teacher={config.cache_teacher}: {what}={given} shows the teacher another "
                "image each time; give one of them"
            )
    views = PairedAugmentation(config.data).views
    if not views:
        raise InputError(
            f"cache_teacher={config.cache_teacher}: data.crop, data.scale, data.rotate, "
            "data.jitter_x1 and data.blur_x1 show the teacher another image each time; give "
            "data.views=N for N fixed views of each"
        )
    with torch.no_grad(), machine.autocast():
        example = forward(teacher, blank(teacher, size), objective.teacher)
    folder = Path(config.run) if config.cache_teacher == "file" else None
    channels = -1 if machine.memory_format == torch.channels_last else 1
    return TeacherCache(len(data.samples) * views, example, folder, channels)
