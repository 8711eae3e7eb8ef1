"""The method: feature regression from a teacher, without labels on the new domain; a verdict."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.commands import TrainConfig
from adapt.verdict import adapt
from scripts._cli import main

if __name__ == "__main__":
    main("adapt", TrainConfig, adapt, several=True)
