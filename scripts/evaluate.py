"""Scores of a run, or of a teacher as it is (B0, AdaBN)."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.commands import EvaluateConfig
from adapt.evaluate import evaluate
from scripts._cli import main

if __name__ == "__main__":
    main("evaluate", EvaluateConfig, evaluate, several=True)
