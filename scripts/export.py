"""A run's network as safetensors and ONNX, for processes without this project."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.export import export
from adapt.export.config import ExportConfig
from scripts._cli import main

if __name__ == "__main__":
    main("export", ExportConfig, export)
