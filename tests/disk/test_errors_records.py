"""Messages about records and files that somebody else may have made, one case a message."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from adapt.data.pairs import read_csv
from adapt.disk import checkpoint
from adapt.disk.files import read_mapping, read_text, read_yaml, sha256
from adapt.disk.runs import Summary
from adapt.disk.tensors import read_metadata, read_tensors
from adapt.errors import InputError
from adapt.evaluation.rows import read_evaluation
from adapt.networks.saved import load_model
from adapt.penalties.fisher import load_fisher, write_fisher
from adapt.settings.mapping import build, check_record
from results.page.style import partner
from viz.report.comparison import COMPARISON, for_report
from viz.report.gallery import networks_in


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def state(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def saved(folder: Path, content: object = None) -> Path:
    state = {"student": {}} if content is None else content
    checkpoint.save(folder, 5, state, {}, 0.0)  # type: ignore[arg-type]
    return folder / "step_00000005"


def damaged(folder: Path) -> Path:
    (saved(folder) / checkpoint.STATE).write_bytes(b"")
    return folder


def altered_fisher(path: Path) -> Path:
    write_fisher(path, {"a": torch.ones(2)}, {})
    about = read_metadata(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, about)
    return path


EVALUATION = {
    "data": "x", "target": "", "domain": "d1", "split": "val", "adabn": False, "classes": ["a"],
    "images": 1, "agreement": None,
    "truth": {"class_accuracy": 1.0, "accuracy": [1.0], "iou": [1.0, 2.0]},
}  # fmt: skip
HEADER = "x1,x2\n"

Refusal = Callable[[Path], object]
CASES: dict[str, tuple[Refusal, str]] = {
    "renamed checkpoint": (
        lambda p: checkpoint.load(saved(p).rename(p / "step_00000006")), "of step 5, which the"),
    "checkpoint of a list": (
        lambda p: checkpoint.load(saved(p, [1])), "holds a list, no training's state"),
    "other format": (
        lambda p: checkpoint.load(written(p / "s" / "meta.json", {"format": 9}).parent),
        "a checkpoint of format 9; this reads"),
    "none intact": (lambda p: checkpoint.newest(damaged(p)), "none of the checkpoints in"),
    "a column twice": (
        lambda p: read_csv(written(p / "l.csv", "x1,x2,x1\n")), "names a column twice"),
    "a cell over two lines": (
        lambda p: read_csv(written(p / "l.csv", HEADER + '"a\nb",c\n')), "lacks its partner"),
    "a list for a mapping": (
        lambda p: read_mapping(written(p / "a.json", [1])), "a list; it must be a mapping"),
    "YAML that is a list": (lambda p: read_yaml(written(p / "a.yaml", "- 1")), "not a mapping"),
    "broken YAML": (lambda p: read_yaml(written(p / "a.yaml", "a: [")), "broken YAML"),
    "Fisher values that changed": (
        lambda p: load_fisher(altered_fisher(p / "f.safetensors")), "corrupt: tensors "),
    "a checkpoint for a run": (
        lambda p: load_model(state(p / "state.pt", {}).parent, "teacher"), "is a checkpoint"),
    "scores of other classes": (
        lambda p: read_evaluation(written(p / "m.json", EVALUATION)), "truth: iou has 2 values"),
    "a record that is a list": (
        lambda p: check_record(Summary, [], "r.json"), r"r.json is \[\]; it must be a mapping"),
    "a record without a field": (lambda p: check_record(Summary, {}, "r.json"), "no .*seconds"),
    "a configuration without a field": (lambda p: build(Summary, {}, "r."), "it has no .*seconds"),
    "a checkpoint's state as weights": (
        lambda p: read_tensors(state(p / "a.pt", {"student": {}, "optimizer": {}, "rng": []})),
        "a training's checkpoint"),
    "no partner": (
        lambda p: partner(p, "ripple", "scene", (1, 1)), "ripple has no image named scene"),
    "another comparison": (
        lambda p: for_report(written(p / COMPARISON, {"rows": []}).parent), "not the comparison"),
    "no networks": (
        lambda p: networks_in(written(p / "i.json", {"networks": {}})), "it has no networks"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_words(name: str, tmp_path: Path) -> None:
    refusal, words = CASES[name]
    with pytest.raises(InputError, match=words):
        refusal(tmp_path)


def test_a_disk_that_fails_while_reading_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = saved(tmp_path)
    monkeypatch.setattr(Path, "open", failing)
    for read, name in ((sha256, "state.pt"), (read_text, "meta.json")):
        with pytest.raises(InputError, match=rf"{name}: cannot be read \(Input/output error\)"):
            read(path / name)
