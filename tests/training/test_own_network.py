"""docs/own_network.md: its commands, on two small folders, with the network beside it."""

import re
import shutil
from pathlib import Path
from runpy import run_path

import commands
import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STORY = ROOT / "docs/own_network"
pytestmark = pytest.mark.system


def documented() -> dict[str, list[str]]:
    """Command -> its first arguments on the page."""
    text = (ROOT / "docs/own_network.md").read_text().replace("\\\n", " ")
    found = {}
    for line in re.findall(r"^    fra (.*)$", text, re.MULTILINE):
        script, *arguments = (a.strip("'") for a in re.findall(r"'[^']*'|\S+", line))
        found.setdefault(script, arguments)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder: unet.py, unet.pth, OLD and NEW with twelve scenes each."""
    place = tmp_path_factory.mktemp("home")
    shutil.copy(STORY / "unet.py", place)
    torch.manual_seed(0)
    torch.save(run_path(str(STORY / "unet.py"))["unet"]().state_dict(), place / "unet.pth")
    rng = np.random.default_rng(0)
    for folder in ("OLD", "NEW"):
        (place / folder).mkdir()
    for number in range(12):
        image = rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)
        Image.fromarray(image).save(place / f"OLD/{number:02d}.png")
        Image.fromarray(255 - image // 2).save(place / f"NEW/{number:02d}.png")
    return place


def run(home: Path, script: str, *changes: str) -> str:
    """What the page's command says, with a few settings made small."""
    names = {change.lstrip("+").split("=")[0] for change in changes}
    kept = [a for a in documented()[script] if a.lstrip("+").split("=")[0] not in names]
    done = commands.run(f"{script}.py", *kept, *changes, cwd=home)
    assert done.stderr == "", "no bars and no warnings where nobody watches"
    return done.stdout


def test_the_story_from_its_layers_to_the_exported_student(home: Path) -> None:
    said = run(home, "layers", "size=[32,48]")
    assert re.search(r"down\.4 .* 256x2x3 .* yes", said) and "merge.3" in said
    said = run(
        home, "adapt", "data.resize=[32,48]", "steps=2", "batch=2", "device=cpu", "schedule.lr=1e-4"
    )
    assert re.search(r"agreement with the teacher on 1 held-out pairs: .*unclear; fewer", said)
    said = run(home, "export", "images=1")
    assert "safetensors" in said and "onnx" in said and "equal argmax 100.0000 %" in said
    code = (
        "import sys, torch; sys.path[:0] = ['exported', '.']; import modeling;"
        "net = modeling.Segmenter.from_pretrained('exported');"
        "shape = net(torch.zeros(1, 3, 32, 48, dtype=torch.uint8)).shape;"
        "print(len(net.classes), net.classes[0], *shape)"
    )
    done = commands.python("-I", "-c", code, cwd=home)
    assert done.stdout.splitlines()[-1] == "11 sky 1 11 32 48"


def test_its_training_script_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        mask = np.kron(rng.integers(0, 3, (3, 4)), np.ones((16, 16), int)).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / f"trainannot/{number}.png")
        Image.fromarray(np.stack([mask * 100] * 3, axis=2)).save(tmp_path / f"train/{number}.png")
    monkeypatch.syspath_prepend(STORY)
    script = run_path(str(STORY / "train_unet.py"))
    script["load"].__globals__["SIZE"] = (32, 32)
    script["main"](tmp_path, tmp_path / "unet.pth", 30)
    losses = [float(x) for x in re.findall(r"loss ([0-9.]+)", capsys.readouterr().out)]
    assert len(losses) == 15 and sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert "head.weight" in torch.load(tmp_path / "unet.pth", weights_only=True)
