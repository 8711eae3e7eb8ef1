"""The wheel outside of a checkout: its command, its files, and what a shell completes."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from adapt.cli.commands import COMMANDS
from adapt.data.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("adapt", "transforms", "viz", "configs", "setup.py", "pyproject.toml", "README.md",
         "LICENSE")  # fmt: skip
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel and, of everything else, what is installed here."""
    place = tmp_path_factory.mktemp("wheel")
    (place / "source").mkdir()
    for part in PARTS:  # building leaves files where it builds
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, place / "source" / part)
    pip = [sys.executable, "-m", "pip", "-q", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    command = ["wheel", *offline, "--no-build-isolation", "-w", str(place), str(place / "source")]
    subprocess.run([*pip, *command], check=True, timeout=300)
    venv.create(place / "env")
    python = place / "env/bin/python"
    (wheel,) = place.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True, timeout=300)
    (site,) = (place / "env/lib").glob("python*/site-packages")
    (site / "installed.pth").write_text(sysconfig.get_paths()["purelib"])
    return place / "env/bin"


def said(bin_folder: Path, cwd: Path, *command: str) -> str:
    """What a command prints there, without a checkout on the path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PATH": f"{bin_folder}:{environment['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_every_file_and_every_command(bin_folder: Path, tmp_path: Path) -> None:
    where = "import adapt, pathlib; print(pathlib.Path(adapt.__file__).parent)"
    package = Path(said(bin_folder, tmp_path, "python", "-c", where).strip())
    assert package.is_relative_to(bin_folder.parent)
    for folder, inside in (("configs", "adapt/configs"), ("adapt", "adapt"), ("viz", "viz")):
        wanted = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*.*")}
        found = {p.relative_to(package.parent / inside) for p in package.parent.rglob("*.*")
                 if p.is_relative_to(package.parent / inside)}  # fmt: skip
        assert {p for p in wanted if "__pycache__" not in p.parts} <= found
    page = said(bin_folder, tmp_path, "fra", "--help")
    lines = [line for line in page.splitlines() if line.startswith("  ") and "fra" not in line]
    assert [line.split()[0] for line in lines] == [*COMMANDS, "demo"]
    assert said(bin_folder, tmp_path, "fra", "--version").strip() == "0.1.0"


def test_the_demo_runs_outside_of_the_checkout(bin_folder: Path, tmp_path: Path) -> None:
    """In seconds: one shift of a few small scenes, and a step of each training."""
    write_scenes(tmp_path / "data/scenes", train=8, val=2, seed=0, size=(32, 40))
    small = (
        "supervised.steps=1", "adaptation.steps=1", "inversion.steps=1", "baselines=[b0]",
        "data.crop=[]", "batch=2", "~shifts.ripple", "~shifts.cubism", "device=cpu",
    )  # fmt: skip
    said(bin_folder, tmp_path, "fra", "study", "experiment=demo", *small)
    assert (tmp_path / "runs/demo/report.html").is_file()
    (record, *_) = (tmp_path / "runs/demo").rglob("env.json")
    assert json.loads(record.read_text())["command"].startswith("fra study experiment=demo ")
    again = said(bin_folder, tmp_path, "fra", "demo", *small, "--dry-run")
    assert "done" in again and "would do" not in again


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("fra ada", "adapt"), ("fra adapt objective=pool5_c", "objective=pool5_cosine"),
     ("fra adapt objective=pool5 schedule.mom", "schedule.momentum="), ("fra demo inversion.t",
      "inversion.tv=")],
)  # fmt: skip
def test_bash_completes_commands_and_settings(
    bin_folder: Path, tmp_path: Path, line: str, wanted: str
) -> None:
    """With bash's own variables of a line whose end is completed."""
    script = (
        'eval "$(fra -sc install=bash)"; COMP_LINE=$1; COMP_POINT=${#1}; COMP_WORDS=($1); '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); hydra_bash_completion; echo ${COMPREPLY[@]}"
    )
    found = said(bin_folder, tmp_path, "bash", "-c", script, "bash", line)
    assert wanted in found.split() and len(found.split()) < 4
