"""docs/espnet.md: its commands with random weights, and the authors' weights where they are."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import commands
import pytest

from adapt.disk.files import sha256
from adapt.disk.runs import read_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/espnet.md").read_text()
SHARED = Path(os.environ.get("FRA_SHARED", ROOT.parent / "shared")) / "data"
WEIGHTS, CAMVID = SHARED / "weights/espnet_p2_q8_camvid.pth", SHARED / "camvid"
CPU = ("device=cpu", "precision=fp32")
SETTLED = """
import espnet, torch
torch.manual_seed(0)
net = espnet.espnet(12)
for module in net.modules():
    module.momentum = 1.0
net(torch.randn(4, 3, 40, 56))
torch.save(net.state_dict(), "espnet.pth")
"""
"""Random weights and the statistics of one batch, without which all maps are nearly 0."""
pytestmark = pytest.mark.system


def run(home: Path, name: str, number: int, *changes: str) -> str:
    """What the page's command of this name and number says, with a few settings made small."""
    lines = re.findall(rf"^    fra {name} (.*)$", PAGE.replace("\\\n", " "), re.MULTILINE)
    names = {change.split("=")[0] for change in changes}
    kept = [a for a in shlex.split(lines[number]) if a.split("=")[0] not in names]
    return commands.run(f"{name}.py", *kept, *changes, cwd=home).stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The user's folder with the page's two files."""
    for file in (ROOT / "docs/own_network").glob("espnet.*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_the_page_from_layers_to_the_adapted_student(
    home: Path, camvid_tree: Callable[..., Path]
) -> None:
    camvid_tree(home / "CAMVID", train=11, val=2)
    commands.python("-c", SETTLED, cwd=home)
    said = run(home, "layers", 0, "size=[40,56]")
    for line in re.findall(r"^    ((?:taps=auto would|network sees).*)$", PAGE, re.MULTILINE):
        assert line in said
    assert "11 classes" in said
    run(home, "make_distorted_voc", 0, "workers=1", "shift.parameters={mask_radius: 5}")
    said = run(home, "adapt", 0, "steps=2", "batch=2", *CPU)
    assert "taps=auto takes {encoder.b1: 0.1" in said and "network sees BGR in 0..255" in said
    assert re.search("agreement with the teacher on 1 held-out pairs.*unclear; fewer than", said)
    recorded = read_config(home / "runs/espnet_photocopy")["network"]
    assert (recorded["order"], recorded["range"], recorded["void"]) == ("bgr", 255, True)
    (home / "espnet.json").unlink()
    assert "2 images, miou" in run(home, "evaluate", 2, *CPU)


@pytest.mark.skipif(
    not (WEIGHTS.is_file() and CAMVID.is_dir()),
    reason=f"needs CamVid and the authors' weights in {SHARED}; FRA_SHARED names another place",
)
def test_the_authors_weights_score_what_another_program_finds(home: Path) -> None:
    """Nine of the 101 validation images. The 69.49 is of a script of its own: numpy's channels
    turned, the formula of the page, argmax over twelve outputs, void wrong."""
    assert sha256(WEIGHTS) in PAGE
    shutil.copy(WEIGHTS, home / "espnet.pth")
    for split, images in (("train", 1), ("val", 9)):
        lines = (CAMVID / f"{split}.txt").read_text().splitlines()[:: 101 // images][:images]
        for line in lines:
            for file in map(Path, line.split()):
                there = next((CAMVID / file.parent.name).glob(f"{file.stem}.*"))
                (home / "CAMVID" / there.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(there, home / "CAMVID" / there.parent.name)
        (home / f"CAMVID/{split}.txt").write_text("\n".join(lines))
    said = run(home, "evaluate", 0, *CPU)
    record = next((home / "runs").glob("*/metrics_*.json"))
    assert "9 images" in said
    assert json.loads(record.read_text())["truth"]["miou"] == pytest.approx(69.49, abs=0.05)
