"""Where x2 lies on x1 in pairs that nothing has aligned: homographies, their trust, a report."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.cli.main import main

if __name__ == "__main__":
    main("align")
