"""TensorBoard's copy of the numbers of metrics.jsonl, written in step with it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapt.disk.files import writing
from adapt.machine.processes import rank_zero_only


class TensorBoard:
    """Scalars of the steps from `first` on, in an event file in `folder` that rank 0 writes.

    TensorBoard drops what earlier files of the folder have of these steps, so that a resumed run
    shows each of them once. The writer and its thread are made with the first values, when the
    data loader's workers are forked already.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.folder, self.first = folder, first
        self.writer: Any = None

    @rank_zero_only
    def add(self, values: Mapping[str, float], step: int) -> None:
        """Tag -> value of one step. They are in the file when this returns, or an OSError tells
        why not."""
        with writing(self.folder):
            if self.writer is None:
                self.writer = self._open()
            for tag, value in values.items():
                self.writer.add_scalar(tag, value, step)
            self.writer.flush()  # raises what the thread met

    def _open(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # only where a run is written

        printed = threading.excepthook
        threading.excepthook = lambda met: issubclass(met.exc_type, OSError) or printed(met)
        return SummaryWriter(str(self.folder), purge_step=self.first)

    def close(self) -> None:
        if self.writer is not None:
            with writing(self.folder):
                self.writer.close()
