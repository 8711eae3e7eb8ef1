"""A data set or pair list, checked before a long run; exit status 1 = errors."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

if __name__ == "__main__":  # the processes that decode import this file, and need nothing of it
    from adapt.scan.command import scan
    from adapt.scan.config import ScanConfig
    from scripts._cli import main

    main("scan", ScanConfig, scan)
