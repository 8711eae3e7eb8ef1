"""Settings: nothing unknown, nothing coerced, nothing forgotten; each name is one of its table."""

from dataclasses import fields, replace
from math import inf, nan
from pathlib import Path
from typing import Annotated

import pytest

import transforms
from adapt import data, networks, penalties
from adapt.analysis import analyse
from adapt.errors import InputError, listing
from adapt.evaluation import restyle
from adapt.objective import distances, terms
from adapt.settings import choices
from adapt.settings.checks import OneOf, Range, check
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig
from adapt.settings.mapping import (
    as_dict,
    build,
    differences,
    filled,
    flatten,
    inherit,
    inherit_data,
)
from adapt.settings.objective import ObjectiveConfig
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.training import loggers, schedules


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (choices.NETWORKS, networks.NETWORKS),
        (choices.DATASETS, data.DATASETS),
        (choices.PENALTIES, penalties.PENALTIES),
        (choices.TERMS, terms.TERMS),
        (choices.DISTANCES, distances.DISTANCES),
        (choices.SCHEDULES, schedules.SCHEDULES),
        (choices.FILTERS, transforms.FILTERS),
        (choices.RESTYLES, restyle.MAKERS),
        (choices.LOGGERS, loggers.LOGGERS),
        (choices.ANALYSES, analyse.ANALYSES),
    ],
)
def test_the_names_of_a_choice_are_those_of_its_table(names: tuple, table: dict) -> None:
    assert names == tuple(table)


def test_every_term_has_settings() -> None:
    assert {f.name for f in fields(ObjectiveConfig)} == {"name", *choices.TERMS}


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (Annotated[float, Range(0)], [0.0, 1e9], [-1e-9, nan, inf], "be at least 0"),
        (Annotated[float, Range(0, above=True)], [1e-9], [0.0, -1.0], "be above 0"),
        (Annotated[int, Range(0)], [2**63 - 1], [2**63, 10**400], r"lie below 2\^63"),
        (Annotated[int, Range(0, 2)], [0, 2], [-1, 3], r"lie in \[0, 2\]"),
        (Annotated[float, Range(0, 1, above=True, below=True)], [0.5], [0.0, 1.0], r"in \(0, 1\)"),
        (Annotated[str, OneOf("a", "b")], ["a"], ["", "c"], "Choices: a, b"),
        (Annotated[str, OneOf("a", others="more")], ["c"], [], ""),
        (list[Annotated[int, Range(1)]], [[], [1, 2]], [[1, 0]], "x is 0"),
        (dict[str, Annotated[int, Range(1)]], [{}, {"k": 1}], [{"k": 0}], r"x\.k is 0"),
    ],
)
def test_rules_hold_for_values_and_for_what_they_contain(
    hint: object, good: list, bad: list, words: str
) -> None:
    for value in good:
        check(hint, value, "x")
    for value in bad:
        with pytest.raises(InputError, match=words):
            check(hint, value, "x")


def test_round_trip_of_a_whole_command() -> None:
    config = TrainConfig(run="r", data=DataConfig(crop=[3, 4], parts={"a": 0.5}), steps=7)
    assert build(TrainConfig, as_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"penalty": {"_target_": "os.system"}}, r"penalty\._target_"),
        ({"steps": 1.5}, r"steps is 1\.5; it must be of type int"),
        ({"steps": True}, "steps is True; it must be of type int"),
        ({"steps": "10"}, "steps is '10'; it must be of type int"),
        ({"penalty": {"alpha": "1"}}, r"penalty\.alpha is '1'"),
        ({"penalty": {"alpha": float("nan")}}, r"penalty\.alpha is nan"),
        ({"data": {"crop": [3, "x"]}}, r"data\.crop\[1\] is 'x'"),
        ({"data": {"crop": [3]}}, r"data\.crop is \[3\]"),
        ({"data": None}, "data is None; it must be"),
        ({"data": {"parts": {"a": 0.7, "b": 0.7}}}, r"data\.parts add up to 1\.4"),
        ({"data": {"part": "c", "parts": {"a": 0.7}}}, "Choices: all, a"),
        ({"network": {"std": [1.0, 0.0, 1.0]}}, r"network\.std"),
        ({"bn": "frozen"}, "Choices: eval, affine, train"),
    ],
)
def test_wrong_values_are_named_with_their_path(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(TrainConfig, values)


def test_ints_pass_as_floats_and_stay_floats() -> None:
    alpha = build(PenaltyConfig, {"name": "l2", "alpha": 1}).alpha
    assert isinstance(alpha, float) and alpha == 1.0


def test_dictionaries_of_groups_are_built() -> None:
    config = build(StudyConfig, {"shifts": {"mine": {"name": "ripple", "parameters": {"phi": 1}}}})
    assert config.shifts["mine"].name == "ripple"
    with pytest.raises(InputError, match=r"shifts\.mine\.nmae"):
        build(StudyConfig, {"shifts": {"mine": {"nmae": "ripple"}}})


def test_inherit_takes_what_was_given_and_keeps_the_rest() -> None:
    recorded = DataConfig(name="camvid", root="a", crop=[3, 4], resize=[5, 6])
    given = DataConfig(target="b", crop=[7, 8])
    expected = DataConfig(name="camvid", root="a", target="b", crop=[7, 8], resize=[5, 6])
    assert inherit(given, recorded) == expected
    assert recorded.target == ""
    assert inherit(NetworkConfig(), NetworkConfig(width=0.5)) == NetworkConfig(width=0.5)


def test_what_the_command_line_names_is_never_inherited() -> None:
    """`data.crop=[]` means the whole image, also where the teacher was trained on crops."""
    recorded = DataConfig(name="camvid", crop=[3, 4], flip=False)
    found = inherit(DataConfig(explicit=["crop"]), recorded)
    assert found == DataConfig(name="camvid", flip=False)


def test_differences_name_every_key_with_both_values() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": {}}
    assert differences(old, new) == ["a.c: 2 -> 5", "d: 3 -> '(absent)'", "e: '(absent)' -> {}"]
    assert differences(old, old) == []
    assert flatten({"a": {"b": {"c": 1}}}) == {"a.b.c": 1}


def test_listing_is_sorted_and_bounded() -> None:
    assert listing(["b", "a"]) == "a, b"
    assert listing(range(12)) == "0, 1, 10, 11, 2, 3, 4, 5, 6, 7 and 2 more"


def test_other_old_images_have_not_the_labels_of_the_recorded_ones(tmp_path: Path) -> None:
    """Where the recorded folder is gone its images have moved, and all else is still theirs."""
    (old := tmp_path / "old").mkdir()
    recorded = DataConfig(
        "pairs", str(old), "new", labels="masks", transforms="a.csv", resize=[4, 4]
    )
    assert inherit_data(DataConfig(root=f"{old}/../old"), recorded).labels == "masks"
    found = inherit_data(DataConfig(root="another"), recorded)
    assert found == DataConfig("pairs", "another", resize=[4, 4])
    given = DataConfig(root="another", target="its", labels="own")
    assert inherit_data(given, recorded) == replace(given, name="pairs", resize=[4, 4])
    old.rmdir()
    moved = inherit_data(DataConfig(root="another"), recorded)
    assert moved == replace(recorded, root="another")


def test_another_data_set_inherits_how_images_are_read_and_not_which() -> None:
    """Else `val` would mean the part of that name which another list was cut into."""
    recorded = DataConfig(
        name="pairs", root="a", target="b", parts={"train": 0.9, "val": 0.1}, part="train",
        resize=[8, 8], crop=[4, 4], flip=False,
    )  # fmt: skip
    given = DataConfig(name="camvid", root="c")
    assert inherit_data(given, recorded) == DataConfig(
        name="camvid", root="c", resize=[8, 8], crop=[4, 4], flip=False
    )
    assert inherit_data(DataConfig(root="c"), recorded).parts == recorded.parts


LISTED = DataConfig(name="pairs", pairs="l.csv", transforms="t.csv")
FOLDERS = DataConfig(name="pairs", root="a", target="b", labels="y", transforms="t.csv")


@pytest.mark.parametrize(
    ("recorded", "given", "found"),
    [
        (LISTED, DataConfig(root="a", target="c"), DataConfig(root="a", target="c")),
        (LISTED, DataConfig(shards="s"), DataConfig(shards="s")),
        (LISTED, DataConfig(pairs="l.csv", crop=[4, 4]), replace(LISTED, crop=[4, 4])),
        (FOLDERS, DataConfig(target="c"), DataConfig(root="a", target="c", labels="y")),
        (FOLDERS, DataConfig(pairs="m.csv"), DataConfig(root="a", pairs="m.csv")),
        (FOLDERS, DataConfig(root="moved", target="b"), replace(FOLDERS, root="moved")),
        (FOLDERS, DataConfig(targets={"x": "c"}), replace(FOLDERS, target="", transforms="")),
    ],
)
def test_another_new_domain_has_nothing_of_the_recorded_one(
    recorded: DataConfig, given: DataConfig, found: DataConfig
) -> None:
    """Else its scores would be those of the recorded pairs, under its own name."""
    targets = given.targets
    assert inherit_data(given, recorded) == replace(found, name="pairs", targets=targets)


def test_what_a_record_lacks_is_its_default() -> None:
    default = {"a": 1, "b": {"c": 2, "d": {}}, "e": {"x": 1}}
    assert filled({"b": {"c": 5}, "old": 3}, default) == {
        "a": 1, "b": {"c": 5, "d": {}}, "e": {"x": 1}, "old": 3,
    }  # fmt: skip
    assert filled({"b": {"d": {"k": 1}}}, default)["b"] == {"c": 2, "d": {"k": 1}}
