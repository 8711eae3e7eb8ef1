"""stdout and stderr of a command whose reader may leave (`| head`), or was never there (`>&-`)."""

import errno
import io
import os
import sys
from typing import Any

UNREAD = (errno.EPIPE, errno.EIO)
"""What writing fails with when the reader of a pipe, or the terminal, is gone."""


class Unheard(io.FileIO):
    """A stream that goes on without its reader: what nobody can read is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in UNREAD:
                raise
            return len(data)


def keep_streams() -> None:
    """Let the command outlive the readers of its stdout and stderr. One that was closed from the
    start is /dev/null, so that no file which is opened later gets its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            raw = io.BufferedWriter(Unheard(number, "w", closefd=False))
            coding, mistakes = getattr(stream, "encoding", None), getattr(stream, "errors", None)
            at_once = number == 2 or raw.isatty()
            text = io.TextIOWrapper(raw, coding, mistakes, line_buffering=at_once)
            setattr(sys, name, text)
