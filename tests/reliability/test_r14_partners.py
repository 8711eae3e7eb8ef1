"""R14: pairs are keyed by name; a missing, an extra and a double partner are errors that say how
many and which."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trees import images
from warm import Warm

from adapt.data import DataSet, load
from adapt.data.files import matched
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

Tree = Callable[..., Path]
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


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("old/03.png", "13 in both; 0 only in {old}: -; 1 only in {new}: 03"),
        ("new/03.jpg", "13 in both; 1 only in {old}: 03; 0 only in {new}: -"),
        ("labels/03.png", "13 in both; 1 only in {old}: 03; 0 only in {labels}: -"),
        ("new/extra.jpg", "14 in both; 0 only in {old}: -; 1 only in {new}: extra"),
    ],
)
def test_r14_a_name_that_one_side_lacks_is_named_with_the_totals(
    pairs: DataConfig, tmp_path: Path, file: str, words: str
) -> None:
    if "extra" in file:
        images(tmp_path, file)
    else:
        (tmp_path / file).unlink()
    if file == "old/03.png":  # else it is the labels' turn first
        pairs.labels = ""
    places = {name: str(tmp_path / name) for name in ("old", "new", "labels")}
    assert words.format(**places) in refusal(pairs)


def test_r14_at_most_ten_names_a_side_are_listed(pairs: DataConfig, tmp_path: Path) -> None:
    for name in NAMES[:13]:
        (tmp_path / "new" / f"{name}.jpg").unlink()
    listed = ", ".join(NAMES[:10])
    assert f"1 in both; 13 only in {tmp_path}/old: {listed} and 3 more; 0 only" in refusal(pairs)


def test_r14_one_name_with_two_suffixes_is_refused_on_either_side(
    pairs: DataConfig, tmp_path: Path
) -> None:
    images(tmp_path / "old", "03.jpg", "05.jpeg")
    words = f"2 names are there twice: {tmp_path}/old: the same name twice: 03.jpg and 03.png, "
    assert refusal(pairs).startswith(words)
    for name in ("03.jpg", "05.jpeg"):
        (tmp_path / "old" / name).unlink()
    images(tmp_path / "new", "03.PNG")
    assert "1 name is there twice" in refusal(pairs) and "03.PNG and 03.jpg" in refusal(pairs)


def test_r14_a_name_in_other_case_is_no_partner_and_is_pointed_out(
    pairs: DataConfig, tmp_path: Path
) -> None:
    (tmp_path / "new/03.jpg").rename(tmp_path / "new/B.jpg")
    for folder in ("old", "labels"):
        (tmp_path / folder / "03.png").rename(tmp_path / folder / "b.png")
    said = refusal(pairs)
    assert "13 in both; 1 only in" in said
    assert "Of these, 1 differ in case or accents' encoding only: 'b' and 'B'" in said


def test_r14_an_accent_in_two_encodings_is_pointed_out() -> None:
    """macOS takes names apart, others leave them whole."""
    with pytest.raises(InputError, match="Of these, 1 differ in case or accents' encoding only"):
        matched(["caf\u00e9", "x"], ["cafe\u0301", "x"], "a", "b")


def test_r14_a_folder_without_images_is_named(pairs: DataConfig, tmp_path: Path) -> None:
    for path in (tmp_path / "new").iterdir():
        path.unlink()
    (tmp_path / "new/notes.txt").write_text("x")
    images(tmp_path / "new", ".hidden.png")
    assert f"{tmp_path}/new: no files with suffix .jpg, .jpeg, .png" in refusal(pairs)


# ---- lists


@pytest.fixture
def camvid(camvid_tree: Tree, tmp_path: Path) -> DataConfig:
    roots = [str(camvid_tree(tmp_path / name, train=14, val=1)) for name in ("d1", "d2")]
    return DataConfig(name="camvid", root=roots[0], target=roots[1])


def names(data: DataSet) -> list[str]:
    return [s.name for s in data.samples]


def test_r14_partners_follow_the_name_and_not_the_place_in_the_list(camvid: DataConfig) -> None:
    listed = Path(camvid.target) / "train.txt"
    listed.write_text("\n".join(reversed(listed.read_text().splitlines())))
    data = load(camvid, "train")
    assert names(data) == [f"train_{i:03d}" for i in range(14)]
    assert all(s.x2 is not None and s.x2.stem == s.x1.stem for s in data.samples)


@pytest.mark.parametrize(("folder", "count"), [("train", 12), ("trainannot", 1)])
def test_r14_listed_files_that_are_gone_are_counted_with_their_lines(
    camvid: DataConfig, folder: str, count: int
) -> None:
    root = Path(camvid.root)
    for i in range(2, 2 + count):
        (root / folder / f"train_{i:03d}.png").unlink()
    said = refusal(camvid)
    assert said.startswith("1 file is missing: " if count == 1 else "12 files are missing: ")
    assert f"{root}/train.txt:3: no file named 'train_002' in {root}/{folder}" in said
    assert said.count("no file named") == min(count, 10)
    assert said.endswith(" and 2 more") == (count == 12)


def test_r14_missing_and_double_files_come_in_one_message(camvid: DataConfig) -> None:
    root = Path(camvid.root)
    images(root / "train", "train_001.jpg")
    (root / "trainannot/train_003.png").unlink()
    said = refusal(camvid)
    assert said.startswith("1 name is there twice, 1 file is missing: ")
    assert "train_001.jpg and train_001.png" in said and "train.txt:4" in said


@pytest.mark.system
def test_r14_adapt_stops_at_an_unmatched_pair_before_anything_is_written(
    warm: Warm, world: Path
) -> None:
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
