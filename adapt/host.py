"""The machine that a command runs on, for the record."""

import platform
from pathlib import Path


def processor() -> str:
    """The CPU's name where Linux tells it, else its kind."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
