"""The commands of the README, by subprocess, from another folder, on a small CamVid-like tree."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from commands import run

SMALL = [
    "network.width=0.03125", "network.batch_norm=true", "data.crop=[32,40]", "batch=2",
    "device=cpu",
]  # fmt: skip

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, camvid_tree: Callable[..., Path]) -> Path:
    """A user's folder with a data set and a trained teacher."""
    home = tmp_path_factory.mktemp("home")
    camvid_tree(home / "photos")
    done = run(
        "train.py", "data=camvid", "data.root=photos", "network=deeplab_vgg16", "run=runs/teacher",
        "steps=4", *SMALL, cwd=home,
    )  # fmt: skip
    assert "runs/teacher: finished 4 steps" in done.stdout
    assert done.stderr == "", "no bars and no warnings where nobody watches"
    return home


def test_the_commands_of_the_readme_in_their_order(place: Path) -> None:
    data = ("data=camvid", "data.root=photos")
    twin = ("shift=photocopy", "out=photocopied", "workers=1")
    run("make_distorted_voc.py", *data, *twin, cwd=place)
    run(
        "adapt.py", *data, "data.target=photocopied", "teacher=runs/teacher", "objective=pool5",
        "penalty=l2_sp", "run=runs/photocopy_pool5", "steps=3", "batch=2", "data.crop=[]",
        cwd=place,
    )  # fmt: skip
    recorded = yaml.safe_load((place / "runs/photocopy_pool5/config.yaml").read_text())
    assert recorded["data"]["crop"] == [] and recorded["network"]["width"] == 0.03125
    done = run("evaluate.py", "run=runs/photocopy_pool5", "split=val", cwd=place)
    assert "agreement_miou" in done.stdout
    scores = place / "runs/photocopy_pool5/metrics_camvid_d2_photocopied_val.json"
    assert json.loads(scores.read_text())["images"] == 3
    image = sorted((place / "photos/val").iterdir())[0]
    run("invert.py", "run=runs/photocopy_pool5", f"image={image}", "steps=2", cwd=place)
    assert list((place / "runs/photocopy_pool5/inversion").rglob("montage.png"))
    run("report.py", "runs=runs", "out=report.html", cwd=place)
    html = (place / "report.html").read_text()
    assert "pool5" in html and "<img" in html
    again = run(
        "adapt.py", "data.target=photocopied", "teacher=runs/teacher", "objective=pool5",
        "run=runs/photocopy_pool5", "steps=3", "batch=2", "data.crop=[]", cwd=place,
    )  # fmt: skip
    assert "finished already" in again.stdout
