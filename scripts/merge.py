"""One network for all cameras: the mean of students that were adapted apart from one teacher."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.cli.main import main

if __name__ == "__main__":
    main("merge")
