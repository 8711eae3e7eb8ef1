"""Messages about records and files that somebody else may have made, one case a message."""

import errno
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import tifffile
import torch
from scipy.io import savemat
from tiny import teaching

from adapt.data.classification import entries
from adapt.data.images import read_indices
from adapt.data.index import read_tiff
from adapt.data.pairs import read_csv
from adapt.disk import checkpoint
from adapt.disk.files import LARGEST, read_mapping, read_text, read_yaml
from adapt.disk.tensors import read_metadata, read_tensors
from adapt.errors import InputError
from adapt.evaluation.rows import read_evaluation
from adapt.machine import processes as distributed
from adapt.machine.runtime import runtime
from adapt.networks.saved import load_model
from adapt.penalties.fisher import load_fisher, write_fisher
from adapt.settings.mapping import build, check_record
from adapt.training.setup import prepare, resolve
from adapt.training.train import train
from results.page.style import partner
from viz.report.records import Row, check_analysis, read_comparison, read_inverted


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def mat(path: Path, **content: object) -> Path:
    savemat(path, content)
    return path


def state(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def saved(folder: Path, content: object = None) -> Path:
    checkpoint.save(folder, 5, {"student": {}} if content is None else content, {})  # type: ignore[arg-type]
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
ROW = {
    "label": "", "protocol": "", "metric": "miou", "seeds": [], "paper": None, "same_counts": True,
    "scores": {"miou": {"mean": 1.0, "n": 1}},
}  # fmt: skip
COMPARISON = {"experiment": "", "note": "", "rows": [ROW], "classes": ["a"], "columns": {}}
BOX = {"label": "", "n": 3, "whislo": 0.0, "q1": 0.0, "med": None, "q3": 0.0, "whishi": 0.0}
HEADER = "x1,x2\n"

Refusal = Callable[[Path, Path], object]
CASES: dict[str, tuple[Refusal, str]] = {
    "renamed checkpoint": (
        lambda w, p: checkpoint.load(saved(p).rename(p / "step_00000006")), "of step 5, which the"),
    "checkpoint of a list": (
        lambda w, p: checkpoint.load(saved(p, [1])), "holds a list, no training's state"),
    "other format": (
        lambda w, p: checkpoint.load(written(p / "s" / "meta.json", {"format": 9}).parent),
        "a checkpoint of format 9; this reads"),
    "none intact": (lambda w, p: checkpoint.newest(damaged(p)), "none of the checkpoints in"),
    "a list of numbers": (
        lambda w, p: entries(mat(p / "l.mat", file_list=np.arange(3.0))), "not a list of Stanford"),
    "a column twice": (
        lambda w, p: read_csv(written(p / "l.csv", "x1,x2,x1\n")), "names a column twice"),
    "a cell over two lines": (
        lambda w, p: read_csv(written(p / "l.csv", HEADER + '"a\nb",c\n')), "lacks its partner"),
    "a long text": (
        lambda w, p: read_text(written(p / "t", "abcd"), 3), "t: 4 bytes; at most 3 are read"),
    "a list for a mapping": (
        lambda w, p: read_mapping(written(p / "a.json", [1])), "a list; it must be a mapping"),
    "deep YAML": (lambda w, p: read_yaml(written(p / "a.yaml", "[" * 70)), "nested more than 64"),
    "YAML that is a list": (lambda w, p: read_yaml(written(p / "a.yaml", "- 1")), "not a mapping"),
    "a date that is none": (
        lambda w, p: read_yaml(written(p / "a.yaml", "a: 2020-13-45")), "YAML cannot hold"),
    "broken YAML": (lambda w, p: read_yaml(written(p / "a.yaml", "a: [")), "broken YAML"),
    "Fisher values that changed": (
        lambda w, p: load_fisher(altered_fisher(p / "f.safetensors")), "corrupt: tensors "),
    "SBD without a segmentation": (
        lambda w, p: read_indices(mat(p / "a.mat", GTcls={"Other": 1.0})), "not an SBD class file"),
    "a checkpoint for a run": (
        lambda w, p: load_model(state(p / "state.pt", {}).parent, "teacher"), "is a checkpoint"),
    "scores of other classes": (
        lambda w, p: read_evaluation(written(p / "m.json", EVALUATION)), "truth: iou has 2 values"),
    "a record that is a list": (lambda w, p: check_record(Row, [], "r.json"), "r.json: holds a"),
    "a record without a field": (lambda w, p: check_record(Row, {}, "r.json"), "it has no label"),
    "a configuration without a field": (lambda w, p: build(Row, {}, "row."), "row has no label"),
    "a checkpoint's state as weights": (
        lambda w, p: read_tensors(state(p / "a.pt", {"student": {}, "optimizer": {}})),
        "a training's checkpoint"),
    "no partner": (
        lambda w, p: partner(p, "ripple", "scene", (1, 1)), "ripple has no image named scene"),
    "a row without its score": (
        lambda w, p: read_comparison(written(p / "c.json", COMPARISON | {
            "rows": [ROW | {"metric": "top1"}]})), r"rows\[0\]: no score 'top1'"),
    "a column of another length": (
        lambda w, p: read_comparison(written(p / "c.json", COMPARISON | {"columns": {"x": []}})),
        r"columns\.x has 0 values"),
    "a box without its median": (
        lambda w, p: check_analysis("fisher", {"layers": [{"layer": "a", "log10": BOX}]}, "f.json"),
        r"layers\[0\]: a box of 3 values lacks some"),
    "no networks": (
        lambda w, p: read_inverted(written(p / "i.json", {"networks": {}})), "it has no networks"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_words(name: str, world: Path, tmp_path: Path) -> None:
    refusal, words = CASES[name]
    with pytest.raises(InputError, match=words):
        refusal(world, tmp_path)


def test_a_disk_that_fails_while_reading_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = saved(tmp_path)
    monkeypatch.setattr(checkpoint, "sha256", failing)
    with pytest.raises(InputError, match=r"state\.pt: cannot be read \(Input/output error\)"):
        checkpoint.load(path)
    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(InputError, match=r"meta\.json: cannot be read \(Input/output error\)"):
        read_text(path / "meta.json", LARGEST)


def test_several_processes_are_told_what_they_cannot(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="scan runs in one process; start it without torchrun"):
        distributed.refuse_several("scan")
    monkeypatch.setattr("adapt.machine.runtime.world", lambda: 2)
    with pytest.raises(InputError, match="device: 'cuda:0' is one GPU for 2 processes; give cuda"):
        runtime("cuda:0", "fp32")
    monkeypatch.undo()
    monkeypatch.setattr("adapt.training.setup.world", lambda: 2)
    with pytest.raises(InputError, match="batch is 3; 2 processes cannot share it equally"):
        prepare(*resolve(teaching(world, run=str(tmp_path / "r"), batch=3)))
    monkeypatch.undo()
    monkeypatch.setattr("adapt.training.resume.gathered", lambda _: [0, 500])
    words = re.escape("(steps [0, 500]): it must lie on a file system that they share")
    with pytest.raises(InputError, match=words):
        train(teaching(world, run=str(tmp_path / "r")))


def test_a_tiff_of_which_only_a_part_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tifffile says what is missing, and goes on with what it has."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8))

    def complaining(series: tifffile.TiffPageSeries) -> np.ndarray:
        logging.getLogger("tifffile").error("segment 3 is missing")
        return np.zeros(series.shape, np.uint8)

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", complaining)
    with pytest.raises(InputError, match=r"a\.tif: not a readable TIFF \(segment 3 is missing\)"):
        read_tiff(path)
    four = np.zeros((2, 4, 4, 3), np.uint8)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", lambda series: four)
    with pytest.raises(InputError, match=r"a\.tif: has the shape \(2, 4, 4, 3\)"):
        read_tiff(path)
