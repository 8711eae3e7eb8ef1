"""Studies' runs -> committed records -> docs/results.md with its figures."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

if __name__ == "__main__":
    from scripts._cli import main
    from viz.evidence.page import ResultsConfig, results

    main("results", ResultsConfig, results)
