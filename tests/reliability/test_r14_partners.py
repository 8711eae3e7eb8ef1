"""R14: pairs are keyed by name; missing, extra and double partners are counted and listed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trees import images
from warm import Warm

from adapt.data import load
from adapt.data.files import matched
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

NAMES = [f"{i:02d}" for i in range(14)]


@pytest.fixture
def pairs(tmp_path: Path) -> DataConfig:
    """14 pairs of a PNG and a JPEG each, with labels."""
    for folder in ("old", "labels"):
        images(tmp_path / folder, *(f"{n}.png" for n in NAMES))
    images(tmp_path / "new", *(f"{n}.jpg" for n in reversed(NAMES)))
    folders = {"root": "old", "target": "new", "labels": "labels"}
    given = {key: str(tmp_path / name) for key, name in folders.items()}
    return DataConfig(name="pairs", **given)  # type: ignore[arg-type]


def refusal(config: DataConfig) -> str:
    with pytest.raises(InputError) as refused:
        load(config, "train")
    return str(refused.value)


def test_r14_pairs_are_matched_by_name_whatever_order_and_suffix(pairs: DataConfig) -> None:
    found = [(s.name, s.x1.name, s.x2 and s.x2.name, s.y1 and s.y1.name)
             for s in load(pairs, "train").samples]  # fmt: skip
    assert found == [(n, f"{n}.png", f"{n}.jpg", f"{n}.png") for n in NAMES]


def test_r14_names_that_one_side_lacks_are_listed(pairs: DataConfig, tmp_path: Path) -> None:
    """At most ten of a side, with the totals; labels come before the partners."""
    images(tmp_path, "new/extra.jpg")
    for name in NAMES[:13]:
        (tmp_path / "new" / f"{name}.jpg").unlink()
    missing = f"13 only in {tmp_path}/old: {', '.join(NAMES[:10])} and 3 more"
    assert f"1 in both; {missing}; 1 only in {tmp_path}/new: extra" in refusal(pairs)
    (tmp_path / "labels/03.png").unlink()
    missing = f"1 only in {tmp_path}/old: 03; 0 only in {tmp_path}/labels: -"
    found = refusal(pairs)
    assert f"13 in both; {missing}" in found and "list all in a CSV (data.pairs)" in found


def test_r14_one_name_with_two_suffixes_is_refused(pairs: DataConfig, tmp_path: Path) -> None:
    images(tmp_path / "old", "03.jpg", "05.jpeg")
    words = f"2 names are there twice: {tmp_path}/old: the same name twice: 03.jpg and 03.png, "
    assert refusal(pairs).startswith(words)
    for name in ("03.jpg", "05.jpeg"):
        (tmp_path / "old" / name).unlink()
    images(tmp_path / "new", "03.PNG")
    assert "1 name is there twice" in refusal(pairs) and "03.PNG and 03.jpg" in refusal(pairs)


@pytest.mark.parametrize(("one", "other"), [("b", "B"), ("caf\u00e9", "cafe\u0301")])
def test_r14_another_case_or_encoding_is_pointed_out(one: str, other: str) -> None:
    """macOS takes accents apart, others leave them whole."""
    words = f"1 in both; 1 only in .* Of these, 1 differ .*: '{one}' and '{other}'"
    with pytest.raises(InputError, match=words):
        matched([one, "x"], [other, "x"], "a", "b")


def test_r14_endings_that_keep_all_names_apart_are_pointed_out() -> None:
    sides = ([f"{n:04d}_{side}" for n in range(8, 12)] for side in ("visible", "lwir"))
    with pytest.raises(InputError, match=r"Without '_visible' and '_lwir' .* CSV \(data\.pairs\)"):
        matched(*sides, "a", "b")
    with pytest.raises(InputError) as found:
        matched(["a_1", "b_1"], ["c", "d"], "a", "b")
    assert "Without" not in str(found.value)


def test_r14_a_folder_without_images_is_named(pairs: DataConfig, tmp_path: Path) -> None:
    for path in (tmp_path / "new").iterdir():
        path.unlink()
    (tmp_path / "new/notes.txt").write_text("x")
    images(tmp_path / "new", ".hidden.png")
    assert f"{tmp_path}/new: no files with suffix .jpg, .jpeg, .png" in refusal(pairs)


# ---- lists


@pytest.fixture
def camvid(camvid_tree: Callable[..., Path], tmp_path: Path) -> DataConfig:
    roots = [str(camvid_tree(tmp_path / name, train=14, val=1)) for name in ("d1", "d2")]
    return DataConfig(name="camvid", root=roots[0], target=roots[1])


def test_r14_partners_follow_the_name_and_not_the_place_in_the_list(camvid: DataConfig) -> None:
    listed = Path(camvid.target) / "train.txt"
    listed.write_text("\n".join(reversed(listed.read_text().splitlines())))
    samples = load(camvid, "train").samples
    assert [s.name for s in samples] == [f"train_{i:03d}" for i in range(14)]
    assert all(s.x2 is not None and s.x2.stem == s.x1.stem for s in samples)


def test_r14_listed_files_that_are_gone_or_double_come_in_one_message(camvid: DataConfig) -> None:
    root = Path(camvid.root)
    images(root / "train", "train_001.jpg")
    for i in range(2, 11):
        (root / f"trainannot/train_{i:03d}.png").unlink()
    said = refusal(camvid)
    assert said.startswith("1 name is there twice, 9 files are missing: ")
    assert "train_001.jpg and train_001.png" in said
    assert f"{root}/train.txt:3: no file named 'train_002' in {root}/trainannot" in said
    assert said.count("no file named") == 9


@pytest.mark.system
def test_r14_adapt_stops_at_an_unmatched_pair_before_it_writes(warm: Warm, world: Path) -> None:
    for folder in ("r14_old", "r14_new"):
        images(world / folder, *(f"{n}.png" for n in NAMES))
    (world / "r14_new/07.png").unlink()
    done = warm.run(
        "adapt.py", "data=pairs", "data.root=r14_old", "data.target=r14_new", "teacher=teacher",
        "objective=pool3", "run=r14_run", "device=cpu", status=2,
    )  # fmt: skip
    assert done.stderr == (
        "error: r14_old and r14_new do not match by name: 13 in both; 1 only in r14_old: 07; 0 "
        "only in r14_new: -\n"
    )
    assert not (world / "r14_run").exists()
