"""R7: resuming under other settings or other inputs is refused, with the old and the new value."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from campaigns.kills import files_result
from safetensors.torch import load_file
from tiny import curve, edit_record, same
from warm import Warm

from adapt.disk.files import sha256
from adapt.disk.runs import MAY_DIFFER
from adapt.networks.saved import load_model, save_model
from adapt.penalties.fisher import load_fisher, write_fisher

pytestmark = pytest.mark.system
GIVEN = {
    "data": "pairs", "data.pairs": "r07.csv", "data.crop": "[32,40]", "teacher": "r07_teacher",
    "start": "r07_start.pth", "objective": "pool3", "penalty": "l2_sp_fisher",
    "penalty.alpha": "0.01", "penalty.fisher": "r07.safetensors", "steps": "6", "batch": "2",
    "log_every": "1", "checkpoint_every": "2", "device": "cpu", "precision": "fp32",
}  # fmt: skip


def adapt(warm: Warm, run: str, status: int = 0, fault: str = "none", **changes: str) -> str:
    overrides = [f"{k}={v}" for k, v in (GIVEN | changes).items()]
    done = warm.run("train.py", *overrides, f"run={run}", status=status, fault=fault)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def killed(warm: Warm, world: Path) -> Path:
    """A run killed in step 5, whose teacher, start, Fisher file and pairs are its own."""
    shutil.copytree(world / "teacher", world / "r07_teacher")
    torch.save(load_file(world / "teacher/model.safetensors"), world / "r07_start.pth")
    warm.run("fisher.py", "run=teacher", "out=r07.safetensors", "device=cpu")
    names = sorted(p.name for p in (world / "d1/train").iterdir())
    rows = ["x1,x2", *(f"d1/train/{name},d2/train/{name}" for name in names)]
    (world / "r07.csv").write_text("\n".join(rows) + "\n")
    adapt(warm, "r07_killed", status=-9, fault="kill_at_step:5")
    return world / "r07_killed"


@pytest.fixture
def cut(killed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    run = killed.with_name(f"r07_{tmp_path.name}")
    shutil.copytree(killed, run)
    return run


def test_r07_other_settings_are_refused(warm: Warm, cut: Path) -> None:
    before = files_result(cut)
    for change, words in (
        ({"penalty.alpha": "0.02"}, "penalty.alpha: 0.01 -> 0.02"),
        ({"steps": "8"}, "steps: 6 -> 8"),
    ):
        said = adapt(warm, cut.name, status=2, **change)
        assert words in said and "Give a new run=, or the recorded values" in said
        assert ("a run cannot be made longer" in said) == ("steps" in change)
        assert files_result(cut) == before


def other_model(path: Path) -> None:
    """Other weights, vouched for: not a damaged file, another one."""
    model = load_model(path)
    for parameter in model.net.parameters():
        parameter.data *= 1.5
    save_model(path, model.net, model.network, model.classes)
    edit_record(path / "summary.json", model=sha256(path / "model.safetensors"))


def other_weights(path: Path) -> None:
    torch.save({k: v + 1 for k, v in torch.load(path, weights_only=True).items()}, path)


def other_fisher(path: Path) -> None:
    """Not all of it by one factor: that, scaled to a mean of 1, would be the same penalty."""
    found = load_fisher(path)
    write_fisher(path, {k: v.square() for k, v in found.values.items()}, found.made)


def other_pairs(path: Path) -> None:
    """The same names in the same order, but two of them with each other's new image."""
    head, first, second, *rest = (row.split(",") for row in path.read_text().split())
    first[1], second[1] = second[1], first[1]
    path.write_text("\n".join(",".join(row) for row in (head, first, second, *rest)) + "\n")


INPUTS = {
    "teacher": ("r07_teacher", "model.safetensors", other_model),
    "start": ("r07_start.pth", "", other_weights),
    "fisher": ("r07.safetensors", "", other_fisher),
    "samples": ("r07.csv", "", other_pairs),
}


@pytest.mark.parametrize("what", INPUTS)
def test_r07_other_inputs_are_refused(warm: Warm, cut: Path, what: str) -> None:
    name, file, change = INPUTS[what]
    source, kept = cut.with_name(name), cut.with_name(f"kept_{name}")
    shutil.copytree(source, kept) if source.is_dir() else shutil.copyfile(source, kept)
    old = sha256(source / file)
    change(source)
    new = sha256(source / file)
    try:
        said = adapt(warm, cut.name, status=2)
    finally:
        source.rename(cut.with_name(f"changed_{name}"))
        kept.rename(source)
    assert f"run: {cut.name} cannot be resumed, its inputs changed: " in said
    assert f"{what}: " in said
    if what == "samples":
        assert "'5 samples, SHA-256 of their names and files" in said and " -> '" in said
    elif what == "fisher":  # of what the penalty makes of the file
        assert len(set(re.findall(r"\b[0-9a-f]{64}\b", said))) >= 2
    else:
        assert f"{what}: '{old}' -> '{new}'" in said
    assert not (cut / "summary.json").exists()


def test_r07_what_may_differ_does_not_change_the_result(warm: Warm, cut: Path, world: Path) -> None:
    adapt(warm, "r07_straight")
    changes = {"workers": "2", "drift_every": "2", "checkpoint_every": "3"}
    changes["gradient_checkpointing"] = "true"
    others = {"run", "device", "log_every", "loggers", "cache_teacher"}  # test_teacher_cache.py
    assert {*changes, *others} == set(MAY_DIFFER)
    said = adapt(warm, cut.name, **changes)
    assert f"resuming {cut.name} at step 4" in said
    assert same(cut, world / "r07_straight")
    bare = [[{**r, "distances": 0} for r in curve(run)] for run in (cut, world / "r07_straight")]
    assert bare[0] == bare[1]
