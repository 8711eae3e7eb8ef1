"""TensorBoard's copy of the numbers of metrics.jsonl, written in step with it."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from adapt.disk.files import writing
from adapt.machine.processes import rank


class Board:
    """An event file in `folder` for the steps from `first` on.

    TensorBoard drops what earlier files of the folder have of these steps, so that a resumed run
    shows each of them once. Unlike its own writer this one has no thread and no queue: what was
    added is in the file, and a full disk is an OSError here. In several processes the first writes.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.records: RecordWriter | None = None
        if rank():
            return
        moment = time.time()
        self.path = folder / f"events.out.tfevents.{int(moment):010d}.{os.getpid()}.{first}"
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self.stream = self.path.open("wb")
            self.records = RecordWriter(self.stream)
        self._write(Event(wall_time=moment, file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=moment, step=first, session_log=start))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Tag -> value of one step."""
        found = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values.items()])
        self._write(Event(wall_time=time.time(), step=step, summary=found))

    def _write(self, event: Event) -> None:
        if self.records is None:
            return
        with writing(self.path):
            self.records.write(event.SerializeToString())
            self.stream.flush()

    def close(self) -> None:
        if self.records is not None:
            with writing(self.path):
                self.stream.close()
