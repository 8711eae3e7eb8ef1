"""stdout and stderr of a command: the reader may leave (`| head`), or was never there (`>&-`), and
names of files that are printed may hold anything."""

import errno
import io
import os
import re
import sys
from typing import Any

UNREAD = (errno.EPIPE, errno.EIO)
"""What writing fails with when the reader of a pipe, or the terminal, is gone."""
UNPRINTABLE = re.compile(
    r"\x1b(?!\[A)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f"
    r"\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What may stand in a name and steers a terminal, but for ends of lines and tqdm's ESC [A, which
goes up: control characters, directions of writing; and bytes that are not UTF-8."""


class Unheard(io.FileIO):
    """A stream that goes on without its reader: what nobody can read is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in UNREAD:
                raise
            return len(data)


class Printable(io.TextIOWrapper):
    """A stream that shows the code of what would steer the terminal, or could not be encoded."""

    def write(self, text: str) -> int:
        return super().write(UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text))


def keep_streams() -> None:
    """Let the command outlive the readers of its stdout and stderr, and print whatever a file may
    be called. A stream that was closed from the start is /dev/null, so that no file which is opened
    later gets its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            raw = io.BufferedWriter(Unheard(number, "w", closefd=False))
            coding, at_once = getattr(stream, "encoding", None), number == 2 or raw.isatty()
            text = Printable(raw, coding, "backslashreplace", line_buffering=at_once)
            setattr(sys, name, text)
