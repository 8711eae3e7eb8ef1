"""experiment=paper_voc from end to end, on a small tree with the layouts of VOC 2012 and SBD."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from adapt.files import read_json
from adapt.runs import read_config

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory, voc_tree: Callable[..., Path]) -> Path:
    """VOCdevkit/VOC2012 with 4 + 2 images, and SBD with two of its own beside some of VOC's."""
    home = tmp_path_factory.mktemp("devkit")
    root = voc_tree(home / "VOCdevkit/VOC2012", train=6, val=2)
    lists = root / "ImageSets/Segmentation"
    names = (lists / "train.txt").read_text().split()
    own, extra = names[:4], names[4:]
    (lists / "train.txt").write_text("".join(f"{n}\n" for n in own))
    val = (lists / "val.txt").read_text().split()
    sbd = home / "benchmark_RELEASE/dataset"
    (sbd / "cls").mkdir(parents=True)
    for name in extra:  # in VOC only as images; their labels are SBD's, without borders
        mask = np.array(Image.open(root / f"SegmentationClass/{name}.png"))
        (root / f"SegmentationClass/{name}.png").unlink()
        savemat(sbd / f"cls/{name}.mat", {"GTcls": {"Segmentation": np.where(mask > 20, 0, mask)}})
    (sbd / "train.txt").write_text("".join(f"{n}\n" for n in [own[0], extra[0]]))
    (sbd / "val.txt").write_text("".join(f"{n}\n" for n in [val[0], extra[1]]))
    return home


def test_the_papers_study_runs_from_the_lists_to_the_report(devkit: Path) -> None:
    small = [
        "supervised.start=none", "supervised.steps=2", "adaptation.steps=2", "inversion.steps=2",
        "inversion.size=[32,32]", "network.width=0.03125", "data.crop=[33,33]", "batch=2",
        "device=cpu", "~objectives.pool1", "~objectives.pool2", "~objectives.pool4",
        "~objectives.w_dec", "runs=runs",
    ]  # fmt: skip
    given = ["experiment=paper_voc", "data.root=.", "data.sbd=benchmark_RELEASE/dataset"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/study.py"), *given, *small],
        cwd=devkit,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert "AdaBN left out: deeplab_vgg16 has no batch norm" in done.stdout
    rows = json.loads((devkit / "runs/results.json").read_text())
    shifts = ("photocopy", "ripple", "cubism")
    methods = ("B0", "B1", "B2", "pool5", "pool3", "w_inc")
    assert {(r["shift"], r["method"]) for r in rows} == {("", "teacher")} | {
        (s, m) for s in shifts for m in methods
    }
    samples = {read_json(p)["samples"] for p in devkit.glob("runs/seed0/**/summary.json")}
    assert samples == {6}, "trainaug: VOC's four and SBD's two, without the val image"
    for shift, wanted in zip(shifts, (32.5, 62.6, 94.0), strict=True):
        found = read_json(devkit / f"runs/shifts/{shift}.json")
        assert found["wanted"] == wanted and len(found["trials"]) == 9
        made = read_json(devkit / f"runs/shifts/{shift}/shift.json")
        assert made["parameters"] == found["parameters"]
    assert (devkit / "runs/report.html").stat().st_size > 50_000


def test_its_settings_are_the_papers(devkit: Path) -> None:
    """What stands in the configuration of the teacher and of a student, as composed above."""
    teacher = read_config(devkit / "runs/seed0/teacher")
    student = read_config(devkit / "runs/seed0/cubism/pool5")
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
