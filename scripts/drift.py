"""How far new images are from old ones for a network, and what helps without a training."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.cli.main import main

if __name__ == "__main__":
    main("drift")
