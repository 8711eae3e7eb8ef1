"""Pairs in tar archives: the same samples, pixels and runs as from folders, and what is refused."""

import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scans import report
from tiny import adapting, curve, interrupted, same
from trees import scene

from adapt.data import load
from adapt.data.archives import Part, members, opened, part
from adapt.data.images import image_size, png, read_image, read_indices, read_mask, read_valid
from adapt.data.pairs import read_shards
from adapt.data.samples import pairing
from adapt.errors import InputError
from adapt.settings.groups import DataConfig
from adapt.training.train import train

ROOT = Path(__file__).resolve().parents[2]
COUNT = 12
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """old/*.jpg, new/*.jpg and labels/*.png of CamVid's eleven classes."""
    root, rng = tmp_path_factory.mktemp("folders"), np.random.default_rng(4)
    for side in ("old", "new", "labels"):
        (root / side).mkdir()
    for i in range(COUNT):
        image, mask = scene(rng, labels=11, void=255)
        (root / f"old/p{i:03d}.jpg").write_bytes(jpeg(image))
        (root / f"new/p{i:03d}.jpg").write_bytes(jpeg(255 - image))
        Image.fromarray(mask).save(root / f"labels/p{i:03d}.png")
    return root


def documented(folder: Path, pairs: int, labels: bool) -> None:
    """Make shards in the folder's copy by the command of docs/data.md."""
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    script = text.split("```bash\n")[1].split("```")[0].replace("--lines 1000", f"--lines {pairs}")
    if labels:
        ((listing, renaming),) = re.findall(r"`('s,[^`]*')`, and\s`(;s,[^`]*,)`", text)
        script = script.replace(r"'s,.*,old/&\nnew/&,'", listing)
        script = script.replace(r"\1.x2.\2,'", rf"\1.x2.\2,{renaming}'")
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True, timeout=60)


@pytest.fixture(scope="module")
def shards(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in three shards, labels included, without the folders that they were made of."""
    root = tmp_path_factory.mktemp("shards")
    shutil.copytree(folders, root, dirs_exist_ok=True)
    documented(root, pairs=5, labels=True)
    for side in ("old", "new", "labels"):
        shutil.rmtree(root / side)
    return root


CLASSES = [f"class {i}" for i in range(11)]


def config(folders: Path | None = None, shards: Path | str = "", **changes: object) -> DataConfig:
    given: dict[str, object] = {"name": "pairs", "classes": CLASSES, "shards": str(shards)}
    if folders is not None:
        given |= {"root": str(folders / "old"), "target": str(folders / "new")}
        given |= {"labels": str(folders / "labels")}
    return DataConfig(**given | changes)  # type: ignore[arg-type]


def archive(path: Path, files: dict[str, bytes], kind: str = "gnu") -> Path:
    with tarfile.open(path, "w", format=FORMATS[kind]) as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def pair(key: str, *fields: str) -> dict[str, bytes]:
    image = jpeg(np.zeros((40, 56, 3), np.uint8))
    return {f"{key}.{field}.jpg": image for field in fields or ("x1", "x2")}


# The same as folders


@pytest.mark.system
def test_the_documented_commands_make_shards_of_the_same_pixels(
    folders: Path, shards: Path, tmp_path: Path
) -> None:
    assert sorted(p.name for p in shards.glob("*.tar")) == [f"shard-{i:05d}.tar" for i in range(3)]
    packed, loose = (load(c, "train").samples for c in (config(None, shards), config(folders)))
    assert [s.name for s in packed] == [s.name for s in loose] == [f"p{i:03d}" for i in range(12)]
    for a, b in zip(packed, loose, strict=True):
        assert a.y2 == a.y1 and a.valid is None
        for field, read in (("x1", read_image), ("x2", read_image), ("y1", read_indices)):
            assert np.array_equal(read(getattr(a, field)), read(getattr(b, field)))
        assert image_size(a.x1) == image_size(b.x1)
    documented(Path(shutil.copytree(folders, tmp_path / "bare")), pairs=COUNT, labels=False)
    bare = read_shards(str(tmp_path / "bare"))
    assert len(bare) == COUNT and all(s.y1 is None for s in bare)


def test_a_run_from_shards_is_a_run_from_folders(
    folders: Path, shards: Path, world: Path, tmp_path: Path
) -> None:
    """Losses and weights, bit for bit, resumed in the middle."""
    runs = []
    for name, data in (("loose", config(folders)), ("packed", config(None, shards))):
        given = replace(data, classes=[], crop=[32, 40], parts={"train": 0.7, "val": 0.3})
        runs.append(adapting(world, tmp_path / name, data=given, steps=6, checkpoint_every=3))
    train(runs[0])
    interrupted(runs[1], 4)
    train(runs[1])
    assert same(tmp_path / "loose", tmp_path / "packed")
    assert curve(tmp_path / "loose") == curve(tmp_path / "packed")


def test_a_run_is_not_resumed_on_other_shards(shards: Path, tmp_path: Path) -> None:
    """The place of a member is part of what a run's samples are."""
    kept = pairing(load(config(None, shards), "train").samples)
    here = Path(shutil.copytree(shards, tmp_path / "shards"))
    moved = pairing(load(config(None, here), "train").samples)
    content = contents(here / "shard-00001.tar")
    archive(here / "shard-00001.tar", dict(sorted(content.items(), key=lambda x: x[0][5:])))
    assert len({kept, moved, pairing(load(config(None, here), "train").samples)}) == 3


def contents(path: Path) -> dict[str, bytes]:
    whole = path.read_bytes()
    return {name: whole[at : at + size] for name, at, size in members(path)}


def test_scan_looks_into_shards(folders: Path, shards: Path, tmp_path: Path) -> None:
    parts = {"parts": {"train": 0.7, "val": 0.3}}
    loose = report(tmp_path / "a.json", config(folders, **parts))
    packed = report(tmp_path / "b.json", config(None, shards, **parts))
    assert packed["findings"] == loose["findings"] == []
    archive(tmp_path / "one.tar", pair("a") | pair("b", "x1") | {"c.x1.jpg": b"", "c.x2.jpg": b"x"})
    found = report(tmp_path / "c.json", config(None, tmp_path / "one.tar"))["findings"]
    kinds = {(f["kind"], Path(f["file"]).name) for f in found if f["severity"] == "error"}
    assert {("missing", "one.tar"), ("unreadable", "c.x1.jpg"), ("unreadable", "c.x2.jpg")} <= kinds


# Which archives


def test_shards_are_named_in_four_ways(shards: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "disk1", tmp_path / "disk2"
    for place, number in ((one, 0), (two, 1), (two, 2)):
        place.mkdir(exist_ok=True)
        shutil.copy(shards / f"shard-{number:05d}.tar", place)
    (tmp_path / "list.txt").write_text(
        "disk1/shard-00000.tar\n\ndisk2/shard-00001.tar\ndisk2/shard-00002.tar\n"
    )
    every = [s.name for s in read_shards(str(shards))]
    assert [s.name for s in read_shards(f"{tmp_path}/disk*/shard-*.tar")] == every
    assert [s.name for s in read_shards(str(tmp_path / "list.txt"))] == every
    assert [s.name for s in read_shards(str(one / "shard-00000.tar"))] == every[:5]
    assert [s.name for s in read_shards(str(two))] == every[5:]


def test_what_leads_out_of_its_folder_is_read_only_where_the_user_says_so(
    shards: Path, tmp_path: Path
) -> None:
    wanted, listed = str(shards / "shard-00000.tar"), tmp_path / "list.txt"
    for line in (f"../{shards.name}/shard-00000.tar", wanted):
        listed.write_text(line + "\n")
        with pytest.raises(InputError, match=r"list\.txt:1: .*(must be a path relative|leads out)"):
            read_shards(str(listed))
    assert len(read_shards(str(listed), follow_links=True)) == 5
    (tmp_path / "a.tar").symlink_to(wanted)
    for where in (tmp_path, tmp_path / "a.tar", f"{tmp_path}/*.tar"):
        with pytest.raises(InputError, match=r"a\.tar: is a link to .*data\.follow_links=true"):
            read_shards(str(where))
        assert len(read_shards(str(where), follow_links=True)) == 5


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("empty", r"data\.shards: no \.tar files in .*empty"),
        ("gone.tar", r"data\.shards: no \.tar file: .*gone\.tar"),
        ("gone", r"data\.shards: no such folder, archive or list: .*gone"),
        ("twice.txt", r"twice\.txt: listed twice: .*a\.tar"),
        ("bare.tar", r"data\.shards: no pairs in the archives of .*bare\.tar"),
    ],
)
def test_shards_that_are_not_there_are_named(tmp_path: Path, where: str, message: str) -> None:
    archive(tmp_path / "a.tar", pair("a"))
    archive(tmp_path / "bare.tar", {"README": b"x", "a.json": b"{}", "._a.x1.jpg": b"Mac"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice.txt").write_text("a.tar\na.tar\n")
    with pytest.raises(InputError, match=message):
        load(config(None, tmp_path / where), "train")


def test_shards_belong_to_pairs_and_are_one_of_two_lists(shards: Path) -> None:
    with pytest.raises(InputError, match=r"data\.shards is for data=pairs only; data is camvid"):
        load(DataConfig(name="camvid", shards=str(shards)), "train")
    both = replace(config(None, shards), pairs="list.csv")
    with pytest.raises(InputError, match=r"data\.shards is .*, but list\.csv names .*give one"):
        load(both, "train")


# Members


@pytest.mark.parametrize("kind", FORMATS)
def test_members_have_the_bytes_that_were_packed(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    files = {f"{i}.x1.jpg": rng.bytes(int(n)) for i, n in enumerate(rng.integers(0, 3000, 40))}
    files |= {"d" * 90 + "/" + "n" * 60 + ".x2.jpg": b"prefix", "é ü.x1.png": b"accents"}
    if kind != "ustar":
        files |= {"long/" * 60 + "n.x1.jpg": b"long name", "./dot.x1.jpg": b"dot"}
    path = archive(tmp_path / "a.tar", files, kind)
    with tarfile.open(path, "a", format=FORMATS[kind]) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    found, wanted = contents(path), {n.removeprefix("./"): content for n, content in files.items()}
    assert found == wanted and list(found) == list(wanted), "in their order"


def test_valid_and_second_labels_are_read(tmp_path: Path) -> None:
    """Also where the sides lie in two archives, in folders."""
    fields = enumerate(("y", "y2", "valid"))
    masks = {f"d/a.{field}.png": png(np.full((40, 56), n, np.uint8)) for n, field in fields}
    archive(tmp_path / "a.tar", masks | pair("d/a", "x1"))
    archive(tmp_path / "b.tar", pair("d/a", "x2"))
    (sample,) = read_shards(str(tmp_path))
    assert sample.name == "d__a" and sample.y1 and sample.y2 and sample.valid
    assert read_mask(sample.y1, 2).max() == 0 and read_mask(sample.y2, 2).min() == 1
    assert read_valid(sample.valid).min() == 1


def test_a_header_costs_a_fraction_of_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes of a million images are not read by reading the images."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    path = archive(tmp_path / "a.tar", {"a.x1.jpg": jpeg(noise)})
    ((_, offset, size),) = members(path)
    taken, readinto = [0], Part.readinto

    def counted(file: Part, buffer: memoryview) -> int:
        found = readinto(file, buffer)
        taken[0] += found
        return found

    monkeypatch.setattr(Part, "readinto", counted)
    assert image_size(part(path, offset, size, "a.jpg")) == (400, 500)
    assert 0 < taken[0] < size / 10


def linked(kind: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            about = tarfile.TarInfo("a.x1.jpg")
            about.type, about.linkname = kind, "b.x1.jpg"
            tar.addfile(about)

    return make


def named(name: str) -> Callable[[Path], None]:
    return lambda path: archive(path, {name: b"x"}) and None


def changed(change: Callable[[bytearray], bytes | bytearray]) -> Callable[[Path], None]:
    """An archive of two members, 1024 bytes each, whose bytes are then changed."""

    def make(path: Path) -> None:
        content = archive(path, {"a.x1.jpg": b"1", "a.x2.jpg": b"2"}).read_bytes()
        path.write_bytes(change(bytearray(content)))

    return make


KINDS = {"symbolic link": tarfile.SYMTYPE, "GNU sparse": tarfile.GNUTYPE_SPARSE}
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    **{what: (linked(kind), "'a.x1.jpg' is a link, a device or a sparse file; tar --dereference")
       for what, kind in KINDS.items()},
    "absolute": (named("/etc/a.x1.jpg"), "'/etc/a.x1.jpg' leads out of the archive"),
    "above": (named("b/../../a.x1.jpg"), "leads out of the archive"),
    "checksum": (changed(lambda c: c[:1024] + b"!" + c[1025:]), "no member and no end at"),
    "cut in a header": (changed(lambda c: c[:1200]), "cut off or damaged: .* byte 1024"),
    "cut in a member": (changed(lambda c: c[:1540]), "no plain tar archive, or cut off"),
    "joined by cat": (changed(lambda c: c + c), "more follows its end"),
    "packed": (lambda p: p.write_bytes(gzip.compress(b"x" * 2000)), "unpack a .tar.gz first"),
    "text": (lambda p: p.write_bytes(b"version " * 200), "no plain tar archive"),
    "pipe": (os.mkfifo, r"no \.tar file"),
    "no sample": (named("0017.jpg"), r"'0017\.jpg' belongs to no sample; names are KEY\.x1\.jpg"),
    "half": (
        lambda p: archive(p, pair("a", "x1") | pair("b") | pair("c", "x2")),
        r"2 files are missing: .*no x1 of 'c' beside its c\.x2\.jpg, .*no x2 of 'a' beside its",
    ),
    "label alone": (lambda p: archive(p, pair("a", "y") | pair("b")), "no x1 and no x2 of 'a'"),
    "second suffix": (
        lambda p: archive(p, pair("a") | {"a.x1.png": b"x"}),
        r"1 name is there twice: .*a second x1 of 'a'; the first is in .*hostile\.tar",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_shard_is_refused_by_name(tmp_path: Path, what: str) -> None:
    make, message = REFUSED[what]
    make(tmp_path / "hostile.tar")
    with pytest.raises(InputError, match=message) as refusal:
        load(config(None, tmp_path / "hostile.tar"), "train")
    assert "hostile.tar" in str(refusal.value)


def test_a_member_that_is_not_there_any_more(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", pair("a"))
    (sample,) = read_shards(str(path))
    with pytest.raises(InputError, match=r"a\.x1\.jpg: 300000000 bytes; at most 268435456 are"):
        opened(part(path, 512, 300_000_000, "a.x1.jpg"), 1 << 28)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(InputError, match=r"a\.x1\.jpg: .* its archive has become shorter"):
        read_image(sample.x1)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tar: no such shard"):
        read_image(sample.x1)
