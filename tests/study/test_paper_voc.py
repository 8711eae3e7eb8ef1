"""experiment=paper_voc from end to end, on a small tree with the layouts of VOC 2012 and SBD."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import make_archives, serving

from adapt.disk.files import read_json
from adapt.disk.runs import read_config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


SERVED = """
import json, os
import torchvision.datasets.voc as voc
from torchvision.datasets import SBDataset
first, second = json.loads(os.environ["SERVED"])
voc.DATASET_YEAR_DICT["2012"] |= dict(zip(("url", "md5"), first))
SBDataset.url, SBDataset.md5 = second
"""
"""As sitecustomize.py: torchvision's addresses, and the digests of what lies there."""


def test_the_papers_study_runs_from_the_download_to_the_report(
    home: Path, voc_tree: Callable[..., Path], tmp_path: Path
) -> None:
    archives = make_archives(tmp_path, voc_tree)
    (tmp_path / "sitecustomize.py").write_text(SERVED)
    small = [
        "supervised.start=none", "supervised.steps=2", "adaptation.steps=2", "inversion.steps=2",
        "inversion.size=[32,32]", "network.width=0.03125", "data.crop=[33,33]", "batch=2",
        "device=cpu", "~objectives.pool1", "~objectives.pool2", "~objectives.pool4",
        "~objectives.w_dec", "runs=runs",
    ]  # fmt: skip
    given = ["experiment=paper_voc", "data.root=voc", "data.sbd=voc/sbd", "data.download=true"]
    with serving(tmp_path) as address:
        served = [(f"{address}/{a.path.name}", a.md5) for a in archives]
        more = {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(tmp_path),
            "SERVED": json.dumps(served),
        }
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts/study.py"), *given, *small],
            cwd=home,
            env=os.environ | more,
            capture_output=True,
            text=True,
            timeout=400,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fetching") == 2
    assert "AdaBN left out: deeplab_vgg16 has no batch norm" in done.stdout
    rows = json.loads((home / "runs/results.json").read_text())
    shifts = ("photocopy", "ripple", "cubism")
    methods = ("B0", "B1", "B2", "pool5", "pool3", "w_inc")
    assert {(r["shift"], r["method"]) for r in rows} == {("", "teacher")} | {
        (s, m) for s in shifts for m in methods
    }
    samples = {read_json(p)["samples"] for p in home.glob("runs/seed0/**/summary.json")}
    assert samples == {6}, "trainaug: VOC's four and SBD's two, without the val image"
    for shift, wanted in zip(shifts, (32.5, 62.6, 94.0), strict=True):
        found = read_json(home / f"runs/shifts/{shift}.json")
        assert found["wanted"] == wanted and len(found["trials"]) >= 9
        made = read_json(home / f"runs/shifts/{shift}/shift.json")
        assert made["parameters"] == found["parameters"]
    assert (home / "runs/report.html").stat().st_size > 50_000


def test_its_settings_are_the_papers(home: Path) -> None:
    """What stands in the configuration of the teacher and of a student, as composed above."""
    teacher = read_config(home / "runs/seed0/teacher")
    student = read_config(home / "runs/seed0/cubism/pool5")
    for made in (teacher, student):
        schedule = made["schedule"]
        assert (schedule["name"], schedule["power"], schedule["lr"]) == ("poly", 0.9, 2.5e-4)
        assert (schedule["optimizer"], schedule["momentum"]) == ("sgd", 0.9)
        assert (made["penalty"]["alpha"], made["penalty"]["beta"]) == (5e-4, 5e-4)
        assert made["network"]["name"] == "deeplab_vgg16" and not made["network"]["batch_norm"]
    assert (teacher["penalty"]["name"], student["penalty"]["name"]) == ("l2", "l2_sp")
    shown = subprocess.run(
        [sys.executable, str(ROOT / "scripts/study.py"), "experiment=paper_voc", "--cfg", "job"],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    for line in ("crop:\n  - 321\n  - 321", "batch: 10", "steps: 20000", "start: imagenet"):
        assert line in shown
