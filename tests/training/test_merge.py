"""Merging: the mean of students that began as one network, and its refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import run
from tiny import adapting, edit_record, same, teaching, weights
from torch import Tensor

import adapt
from adapt.disk.files import read_mapping
from adapt.errors import InputError
from adapt.export.files import provenance
from adapt.networks.saved import load_model
from adapt.settings.commands import MergeConfig
from adapt.settings.groups import NetworkConfig
from adapt.training.merge import mean_of, merge
from adapt.training.train import train


def statistics(x: Tensor) -> dict[str, Tensor]:
    """What batch norm keeps of values (N, C), and a weight."""
    return {
        "norm.running_mean": x.mean(0).float(),
        "norm.running_var": x.var(0, correction=0).float(),
        "norm.num_batches_tracked": torch.tensor(len(x)),
        "weight": x[0].float(),
    }


def test_merged_statistics_are_those_of_all_data() -> None:
    """Weighted by their numbers; means that are large against the deviations lose nothing."""
    torch.manual_seed(0)
    parts = [torch.randn(n, 5).double() * s + m for n, s, m in ((30, 1, 900), (50, 3, 901))]
    found = mean_of([statistics(x) for x in parts], [30, 50])
    whole = statistics(torch.cat(parts))
    for name in ("norm.running_mean", "norm.running_var"):
        assert torch.allclose(found[name], whole[name], rtol=1e-4, atol=0), name
    assert found["norm.num_batches_tracked"] == round((30 * 30 + 50 * 50) / 80)
    wanted = (30 * parts[0][0] + 50 * parts[1][0]) / 80
    assert torch.allclose(found["weight"].double(), wanted, rtol=1e-6)


@pytest.mark.parametrize("given", [[1.0], [1.0] * 3, [0.3, 7.0, 1e-3]])
def test_equal_networks_stay_bit_equal(given: list[float]) -> None:
    state = statistics(torch.randn(40, 500).exp())
    found = mean_of([state] * len(given), given)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.fixture(scope="module")
def students(world: Path) -> list[str]:
    """Two of the teacher's, of two cameras."""
    for seed, target in ((0, "d2"), (1, "d1")):
        data = replace(adapting(world, world / "x").data, target=str(world / target))
        train(adapting(world, world / f"camera{seed}", seed=seed, data=data))
    return [str(world / f"camera{seed}") for seed in (0, 1)]


def test_a_camera_is_added_to_a_merged_network(
    world: Path, students: list[str], tmp_path: Path
) -> None:
    """Merging [merged, new] with weights [2, 1] is merging all three, but for rounding; the old
    camera's network is the teacher itself. One run alone is itself, bit for bit."""
    whole = merge(MergeConfig([*students, str(world / "teacher")], run=str(tmp_path / "whole")))
    two = merge(MergeConfig(students, run=str(tmp_path / "two")))
    later = merge(MergeConfig([str(two), str(world / "teacher")], [2, 1], str(tmp_path / "later")))
    for name, tensor in weights(whole).items():
        assert torch.allclose(tensor, weights(later)[name], rtol=1e-5, atol=1e-7), name
    alone = merge(MergeConfig(students[:1], run=str(tmp_path / "alone")))
    assert same(alone, Path(students[0])) and not same(two, alone)
    made = adapt.merge(students, tmp_path / "python")
    assert same(made.run, two) and made.verdict is None and not made.student.training


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w, p: teaching(w, run=str(p), steps=1), "no students of one teacher"),
        (lambda w, p: adapting(w, p, teacher=str(w / "camera0"), steps=1), "camera0 began as .*; "),
        (
            lambda w, p: adapting(w, p, start=str(w / "camera1"), steps=1),
            "began as another network, .*only students that began as their teacher",
        ),
        (
            lambda w, p: teaching(
                w, run=str(p), steps=0, network=NetworkConfig(width=1 / 16, batch_norm=True)
            ),
            r"the network of .*camera0 differs from the one in .*: width: 0.0625 -> 0.03125",
        ),
    ],
)
def test_what_is_no_student_of_the_same_teacher_is_refused(
    world: Path, students: list[str], tmp_path: Path, spoil: Callable, words: str
) -> None:
    """By the digests of what each began as, and by the settings of the network."""
    other = str(train(spoil(world, tmp_path / "other")))
    with pytest.raises(InputError, match=words):
        merge(MergeConfig([students[0], students[1], other], run=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_other_classes_and_folders_that_exist_are_refused(
    students: list[str], tmp_path: Path
) -> None:
    alone = merge(MergeConfig(students[:1], run=str(tmp_path / "alone")))
    with pytest.raises(InputError, match="alone exists already; give a new folder"):
        merge(MergeConfig(students, run=str(alone)))
    classes = read_mapping(alone / "model.json")["classes"]
    edit_record(alone / "model.json", classes=classes[::-1])
    with pytest.raises(InputError, match=r"alone has .* classes: .*camera0 has .* classes"):
        merge(MergeConfig([students[0], str(alone)], run=str(tmp_path / "out")))
    for given, words in (
        (([], [], "out"), "give runs="),
        ((["a", "a"], [], "out"), "'a' stands twice"),
        ((["a", "b"], [1.0], "out"), "give one for each of"),
    ):
        with pytest.raises(InputError, match=words):
            MergeConfig(*given)


@pytest.mark.system
def test_a_merged_run_is_a_run_like_others(world: Path, students: list[str]) -> None:
    """Scored beside the teacher of its students, which an export names, and a teacher itself."""
    line = run("merge.py", "runs=[camera0,camera1]", "weights=[1,3]", "run=all", cwd=world).stdout
    assert "all: the mean of 2 network(s)" in line and "camera0" in line
    known = read_mapping(world / "all/summary.json")
    digests = [(load_model(Path(s)).digest, w) for s, w in zip(students, (1.0, 3.0), strict=True)]
    assert [(r["sha256"], r["weight"]) for r in known["merged"]] == digests
    teacher = load_model(world / "teacher").digest
    assert known["inputs"] == {"teacher": teacher, "start": teacher}
    on_cpu = ("run=all", "device=cpu", "precision=fp32", f"data.target={world}/d1")
    assert "agreement_miou" in run("evaluate.py", *on_cpu, cwd=world).stdout
    assert provenance(world / "all")["teacher_sha256"] == teacher  # of an export
    made = train(adapting(world, world / "on", teacher=str(world / "all"), steps=0))
    assert same(made, world / "all")
