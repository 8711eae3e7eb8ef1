"""Several new domains: fair turns in the batches, and parts that hold out no seen scene."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trees import images

from adapt.api.run import data_of
from adapt.data import DataSet, Sample, by_target, load
from adapt.data.parts import cut
from adapt.data.samples import Table, Texts, column
from adapt.data.sampling import Stream
from adapt.errors import InputError
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data

PARTS = {"train": 0.8, "val": 0.2}


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """30 pairs of one camera, and 20 of another one, which share ten of their old images."""
    root = tmp_path_factory.mktemp("lists")
    for side in ("old", "a", "b"):
        images(root / side, *(f"{i:02d}.png" for i in range(40)))
    for name, rows in (("a", range(30)), ("b", range(20, 40))):
        lines = [f"old/{i:02d}.png,{name}/{i:02d}.png" for i in rows]
        (root / f"{name}.csv").write_text("\n".join(["x1,x2", *lines]) + "\n")
    targets = {name: str(root / f"{name}.csv") for name in ("a", "b")}
    return DataConfig("pairs", targets=targets, parts=PARTS, flip=False)


def test_each_takes_its_turns_and_sees_each_of_its_pairs_once_an_epoch(lists: DataConfig) -> None:
    data = load(replace(lists, parts={}), "train")
    stream = Stream(data, lists, ["x1", "x2"], seed=3)
    drawn = [str(stream[position]["name"]) for position in range(2 * 60)]
    turns = [[name[0] for name in drawn[i : i + 2]] for i in range(0, 120, 2)]
    assert {*map(tuple, turns)} == {("a", "b"), ("b", "a")}, "else a process may see one only"
    for target, count in (("a", 30), ("b", 20)):
        own = [name for name in drawn if name[0] == target]
        epochs = [own[i : i + count] for i in range(0, 60, count)]
        assert all(len({*epoch}) == count for epoch in epochs) and epochs[0] != epochs[1]
    assert stream[77]["name"] == Stream(data, lists, ["x1"], seed=3)[77]["name"], "without a state"


@pytest.mark.parametrize("seed", [0, 1, None])
@pytest.mark.parametrize("table", [True, False])
def test_no_scene_of_one_camera_is_held_out_that_another_one_trains_on(
    lists: DataConfig, seed: int | None, table: bool
) -> None:
    every = load(replace(lists, parts={}), "train").samples
    assert isinstance(every, Table)
    samples = every if table else [*every]
    found = {part: cut(samples, PARTS, seed, part, several=True) for part in PARTS}
    scenes = {part: {*column(own, "x1")} for part, own in found.items()}
    assert not scenes["train"] & scenes["val"] and sum(map(len, scenes.values())) == 40
    held_out = Counter(name[0] for name in column(found["val"], "name"))
    assert held_out["a"] >= 5 and held_out["b"] >= 2, "blocks by name would hold out b alone"


def test_equal_lists_of_scenes_are_cut_as_one_of_them_alone(lists: DataConfig) -> None:
    """So that specialists and the student of all hold out the same pairs."""
    one = Table({"name": Texts(map(str, range(50))), "x1": Texts(map(str, range(50)))})
    both = [Sample(f"{t}/{s.name}", s.x1) for t in ("p", "q") for s in one]
    for seed in (7, None):
        alone = [s.name for s in cut(one, PARTS, seed, "val")]
        wanted = [f"{t}/{name}" for t in ("p", "q") for name in alone]
        assert [s.name for s in cut(both, PARTS, seed, "val", several=True)] == wanted


def test_one_of_them_is_picked_by_its_folder_or_list(lists: DataConfig) -> None:
    held_out = load(lists, "val")
    each = by_target(lists, held_out)
    assert [*each] == ["a", "b"] and "/" not in "".join(column(each["b"][1].samples, "name"))
    for given in (DataConfig(target=lists.targets["b"]), DataConfig(pairs=lists.targets["b"])):
        config = inherit_data(given, lists)
        assert load(config, "val").samples == each["b"][1].samples
    other = inherit_data(DataConfig(target="elsewhere"), lists)
    assert (other.target, other.targets) == ("elsewhere", {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "c"}, r"data\.target is c, which is none of data\.targets: a: .*a\.csv"),
        ({"transforms": "t.csv"}, r"data\.transforms is t\.csv and belongs to one new domain"),
        ({"targets": {"a/b": "x"}}, r"data\.targets: 'a/b' cannot name a new domain"),
        ({"parts": {"val": 0.02, "train": 0.5}}, r"part 'val' has no samples of b"),
    ],
)
def test_what_does_not_go_with_several_is_refused(
    lists: DataConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(replace(lists, **changes), "val")  # type: ignore[arg-type]


def test_in_python_the_new_domains_are_a_mapping() -> None:
    found = data_of(("OLD", {"a": Path("A"), "b": "B"}), None)
    assert found == {"root": "OLD", "targets": {"a": "A", "b": "B"}}


def test_a_data_set_of_one_is_as_it_was() -> None:
    samples = (Sample("a/0", Path("x")), Sample("b/1", Path("y")))
    data = DataSet("pairs", "train", (), (), samples)
    assert np.array_equal(data.places(), [[0, 1]])
    assert [*by_target(DataConfig(), data).values()] == [(DataConfig(), data)]
