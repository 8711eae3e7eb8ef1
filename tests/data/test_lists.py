"""Lists and folders of pairs as people have them: separators, encodings, subfolders, names."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import adapting, curve
from trees import images

from adapt.data import Sample, load
from adapt.data.files import bare, distinct, leading_out, numbered
from adapt.data.images import write_png
from adapt.data.pairs import read_csv
from adapt.data.parts import cut
from adapt.data.samples import Table, Texts, chosen, column, pairing
from adapt.errors import InputError
from adapt.evaluation.predict import listed
from adapt.settings.groups import DataConfig
from adapt.training.train import train
from adapt.training.verdict import safe

PLAIN = "x1,x2,y1\nold/a.png,new/a.png,y.png\nold/sub/b 1.2.png,new/b.png,\n"
WRITTEN: dict[str, Callable[[str, Path], bytes]] = {
    "semicolons": lambda text, root: text.replace(",", ";").encode(),
    "tabs": lambda text, root: text.replace(",", "\t").encode(),
    "spaces": lambda text, root: text.replace(",", " , ").encode(),
    "quoted": lambda text, root: text.replace("new/a.png", '"new/a.png"').encode(),
    "Windows": lambda text, root: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text, root: text.replace(",", "\t").encode("utf-16"),
    "UTF-16, big end first": lambda text, root: b"\xfe\xff" + text.encode("utf-16-be"),
    "blank lines": lambda text, root: text.replace("\n", "\n\n , ,\n").encode(),
    "capitals": lambda text, root: text.replace("x1,x2,y1", "X1,X2,Y1").encode(),
    "further columns": lambda text, root: text.replace("\n", ",2024-05-01,,\n")
    .replace(",2024-05-01,,\n", ",taken,site\n", 1).encode(),
    "absolute": lambda text, root: text.replace("old/", f"{root}/old/").encode(),
    "odd paths": lambda text, root: text.replace("new/", "./new//").encode(),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = ("old/a.png", "old/sub/b 1.2.png", "new/a.png", "new/b.png", "y.png")
    return images(tmp_path / "set", *files)


def read(root: Path, content: bytes, follow_links: bool = False) -> Sequence[Sample]:
    (root / "list.csv").write_bytes(content)
    return read_csv(root / "list.csv", follow_links)


@pytest.mark.parametrize("how", WRITTEN)
def test_a_list_means_the_same_however_it_is_written(root: Path, how: str) -> None:
    wanted = [
        Sample("old__a", root / "old/a.png", root / "y.png", root / "new/a.png", root / "y.png"),
        Sample("old__sub__b 1.2", root / "old/sub/b 1.2.png", x2=root / "new/b.png"),
    ]
    assert [*read(root, WRITTEN[how](PLAIN, root))] == wanted


def test_columns_that_are_not_read_are_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(root, WRITTEN["further columns"](PLAIN, root))
    assert "list.csv: columns that are not read: site, taken" in capsys.readouterr().out


def test_messages_have_the_files_own_line(root: Path) -> None:
    with pytest.raises(InputError, match=r"list.csv:6: x2: no such file: .*set/new/z.png"):
        read(root, b"\nx1,x2\n\nold/a.png,new/a.png\n\nold/a.png,new/z.png\n")
    with pytest.raises(InputError, match=r"list.csv:3: a cell goes on in the next line"):
        read(root, b'x1,x2\nold/a.png,new/a.png\nold/a.png,"new/b.png\nold/a.png,y.png\n')
    (root / "names.txt").write_text("\n\nfirst \n\n second\n")
    assert numbered(root / "names.txt") == [(3, "first"), (5, "second")]
    (root / "names.txt").write_text("new/a.png\n\nnew/a.png\n")
    with pytest.raises(InputError, match=r"names.txt:3: listed twice: new/a.png .*names.txt:1"):
        listed(root / "names.txt", False)


# ---- names


def test_an_old_image_may_have_several_new_ones(root: Path) -> None:
    found = read(root, b"x1,x2\nold/a.png,new/a.png\nold/a.png,new/b.png\nnew/a.png,y.png\n")
    assert [s.name for s in found] == ["old__a__new__a", "old__a__new__b", "new__a"]


def test_two_names_never_become_one(root: Path) -> None:
    images(root, "old/x/y.png", "old/x__y.png", "old/x/y.jpg", "c/d.png", "c__d.png")
    rows = ("old/x/y.png,c/d.png", "old/x__y.png,c__d.png", "old/x/y.jpg,y.png")
    found = read(root, "\n".join(["x1,x2", *rows]).encode())
    assert [s.name for s in found] == [
        "old/x/y.png, c/d.png", "old/x__y.png, c__d.png", "old__x__y__y",
    ]  # fmt: skip
    (root / "images.txt").write_text("old/x/y.png\nold/x__y.png\nold/x/y.jpg\nold_a.png\nold/a.png")
    images(root, "old_a.png")
    assert [*listed(root / "images.txt", False)] == [
        "old/x/y.png", "old_x__y", "old/x/y.jpg", "old_a", "old/a",
    ]  # fmt: skip


def test_what_follows_a_dot_is_part_of_a_name_unless_it_is_an_images_suffix() -> None:
    names = ("a/scan.2024.01", "b.c/d", "e f.PNG", "site.north.tif", "png", ".png", "v.1.jpeg")
    assert [bare(n) for n in names] == [*names[:2], "e f", "site.north", "png", ".png", "v.1"]


def test_folders_of_pictures_are_apart_and_stay_as_they_were_for_plain_names() -> None:
    plain = ["old__a", "0016E5_08059", "a.b-c", "é"]
    assert [safe(name) for name in plain] == plain
    odd = ["a b", "a_b", "a/b", ".a", "a", "_a", "x" * 200, "x" * 201, "y" + "x" * 200, "a\nb"]
    made = [safe(name) for name in odd]
    assert len(set(made)) == len(odd)
    assert all(safe(name) == name and len(name) <= 100 and "/" not in name for name in made)


# ---- folders


@pytest.fixture
def nested(tmp_path: Path) -> DataConfig:
    names = ("seq0/a", "seq0/b.1", "seq1/a", "seq1/deep/c d")
    for folder, suffix in (("old", "png"), ("new", "jpg"), ("labels", "png")):
        images(tmp_path / folder, *(f"{name}.{suffix}" for name in names), ".hidden/x.png")
    places = {k: str(tmp_path / v) for k, v in (("root", "old"), ("target", "new"))}
    return DataConfig("pairs", **places, labels=str(tmp_path / "labels"))


def test_images_in_folders_below_match_by_their_path(nested: DataConfig) -> None:
    samples = load(nested, "train").samples
    assert [s.name for s in samples] == ["seq0/a", "seq0/b.1", "seq1/a", "seq1/deep/c d"]
    for s in samples:
        files = (f"old/{s.name}.png", f"labels/{s.name}.png", f"new/{s.name}.jpg")
        root = Path(nested.root).parent
        assert (s.x1, s.y1, s.x2) == tuple(root / file for file in files) and s.y2 == s.y1


def test_images_beside_folders_are_read_alone_which_is_said(
    nested: DataConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they were before folders below were read."""
    for folder, suffix in ((nested.root, "png"), (nested.target, "jpg")):
        images(Path(folder), f"top.{suffix}", "like.jfif", "moving.gif", "scan.jp2")
    assert [s.name for s in load(replace(nested, labels=""), "train").samples] == ["like", "top"]
    words = "only the images directly in it are read, not those in seq0/"
    said = capsys.readouterr().out
    assert f"{nested.root}: {words}" in said
    assert f"{nested.root}: 2 images are not read, such as moving.gif" in said


def test_an_old_image_with_several_new_ones_is_told_what_to_do(nested: DataConfig) -> None:
    for path in list(Path(nested.root).rglob("*.png")):
        path.unlink()
    images(Path(nested.root), "a.png")
    with pytest.raises(InputError, match=r"do not match by name.* list them: data.pairs=list.csv"):
        load(replace(nested, labels=""), "train")


def test_linked_folders_below_are_followed_where_told(nested: DataConfig, tmp_path: Path) -> None:
    config = replace(nested, labels="")
    outside = images(tmp_path / "outside", "z.png")
    (Path(config.root) / "linked").symlink_to(outside)
    with pytest.raises(
        InputError, match=r"old/linked: leads to a folder and not read without .*true"
    ):
        load(config, "train")
    images(Path(config.target), "linked/z.png")
    assert "linked/z" in [s.name for s in load(replace(config, follow_links=True), "train").samples]
    (Path(config.root) / "seq0/up").symlink_to(config.root)
    with pytest.raises(InputError, match="seq0/up: leads to a folder that it lies in"):
        load(replace(config, follow_links=True), "train")


# ---- long lists


def samples_of(count: int, scenes: int) -> list[Sample]:
    """Shuffled, `scenes` different x1, some with labels."""
    rng = np.random.default_rng(0)
    found = []
    for i in rng.permutation(count):
        y1 = Path(f"/y/{i}.png") if i % 3 else None
        found.append(Sample(f"n{i:03d}\udcff é", Path(f"old/{i % scenes}"), y1, Path(f"new/{i}")))
    return found


def table_of(samples: Sequence[Sample]) -> Table:
    fields = ("name", "x1", "y1", "x2")
    return Table({field: Texts(column(samples, field)) for field in fields})


def test_a_table_is_its_samples() -> None:
    samples, places = samples_of(40, 40), np.array([3, 39, 0, 7])
    table = table_of(samples)
    assert table == samples and table[-1] == samples[-1] and table[1:4] == samples[1:4]
    assert column(table, "valid") == column(samples, "valid") == [""] * 40
    some = chosen(chosen(table, np.arange(40)[::-1]), places)
    assert some == [samples[39 - place] for place in places]
    with pytest.raises(IndexError):
        table[40]
    with pytest.raises(IndexError):
        some[4]


def test_parts_and_digest_are_those_of_version_0_1(tmp_path: Path) -> None:
    """Written out plainly, for samples and for a table."""
    samples, parts = samples_of(101, 101), {"a": 0.5, "b": 0.3, "c": 0.2}
    by_name = sorted(samples, key=lambda s: s.name)
    order = np.random.default_rng(4).permutation(101)
    edges = np.round(np.cumsum([0.0, 0.5, 0.3, 0.2]) * 101).astype(int)
    for position, part in enumerate(parts):
        names = {by_name[i].name for i in order[edges[position] : edges[position + 1]]}
        wanted = [s for s in samples if s.name in names]
        assert cut(samples, parts, 4, part) == wanted == cut(table_of(samples), parts, 4, part)
    images(tmp_path, *(f"{side}/{i}.png" for side in ("old", "new") for i in range(5)))
    for config in (DataConfig("pairs", str(tmp_path / "old"), str(tmp_path / "new")),):
        data = load(config, "train")
        rows = (
            f"{s.name}\0{s.x1}\0{s.y1}\0{s.x2}\0{s.y2}\0{s.valid}\0{s.label}" for s in data.samples
        )
        assert pairing(data.samples).endswith(hashlib.sha256("\n".join(rows).encode()).hexdigest())


@pytest.mark.parametrize("kind", [list, table_of])
def test_pairs_of_one_old_image_are_held_out_together(kind: Callable[..., object]) -> None:
    samples = kind(samples_of(120, 30))
    parts = {"train": 0.8, "val": 0.2}
    train, val = ({s.x1 for s in cut(samples, parts, 0, part)} for part in parts)  # type: ignore
    assert not train & val and (len(train), len(val)) == (24, 6)


def test_a_folder_is_listed_once_for_all_files_that_a_list_names(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10^6 rows begin within seconds: no call for each file (benchmarks/lists.py)."""
    many = [f"{i:03d}.png" for i in range(50)]
    images(root, *(f"{side}/{name}" for side in ("old", "new") for name in many))
    seen: list[str] = []
    scan, stat = os.scandir, os.stat
    monkeypatch.setattr(os, "scandir", lambda place: seen.append("scandir") or scan(place))
    monkeypatch.setattr(os, "stat", lambda *a, **k: seen.append("stat") or stat(*a, **k))
    read(root, "\n".join(["x1,x2", *(f"old/{n},new/{n}" for n in many)]).encode())
    assert seen.count("scandir") == 2 and seen.count("stat") < 40


def test_links_are_looked_at_one_by_one(root: Path, tmp_path: Path) -> None:
    """In a table as in a list, whose folder is read once."""
    images(tmp_path, "outside/z.png")
    (root / "old/in.png").symlink_to(root / "y.png")
    (root / "old/out.png").symlink_to(tmp_path / "outside/z.png")
    (found,) = read(root, b"x1,x2\nold/in.png,new/a.png\n")
    assert found.x1 == root / "old/in.png"
    with pytest.raises(InputError, match=r"csv:3: 'old/out.png' leads out of"):
        read(root, b"x1,x2\nold/a.png,new/a.png\nold/out.png,new/a.png\n")
    assert len(read(root, b"x1,x2\nold/a.png,new/a.png\nold/out.png,new/a.png\n", True)) == 2
    samples = table_of([Sample("a", root / "old/a.png"), Sample("b", root / "old/out.png")])
    assert [p.where for p in leading_out(samples, [root])] == [str(root / "old/out.png")]
    assert [*distinct(2, str, lambda i: "same", lambda i: f"other{i}")] == ["other0", "other1"]


def test_a_second_camera_of_twice_the_resolution_gives_the_same_run(
    world: Path, tmp_path: Path
) -> None:
    """Its images, shrunk by area, are the first one's to the bit, wherever they lie."""
    rng = np.random.default_rng(0)
    for i in range(4):
        old, new = rng.integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
        for home, image in (("old", old), ("new", new), ("big/old/seq", old)):
            write_png(tmp_path / home / f"{i}.png", image)
        large = np.kron(new, np.ones((2, 2, 1), np.uint8))
        write_png(tmp_path / f"big/new/seq/{i}.png", large)
    runs = []
    for home, resize in ((tmp_path, []), (tmp_path / "big", [40, 56])):
        data = DataConfig("pairs", str(home / "old"), str(home / "new"), resize=resize)
        run = train(adapting(world, tmp_path / f"run{len(runs)}", data=data, steps=3))
        runs.append([entry["loss"] for entry in curve(run) if "loss" in entry])
    assert runs[0] == runs[1] and len(runs[0]) == 3
