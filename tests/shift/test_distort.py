"""make_distorted_voc: the twin's layout, its independence of order and workers, its refusals."""

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import settings_of
from PIL import Image
from scipy.io import savemat

from adapt.data import load
from adapt.data.archives import members
from adapt.data.images import read_image, read_indices, write_png
from adapt.data.sampling import image_seed
from adapt.disk.files import read_json
from adapt.errors import InputError
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from transforms import FILTERS, SOURCES

CUBISM = ShiftConfig("cubism", {"tile_size": 4.0})


def distort(root: Path, out: Path, shift: ShiftConfig = CUBISM, **more: Any) -> Path:
    data = DataConfig(name="camvid", root=str(root))
    return make_distorted(
        DistortConfig(data=data, shift=shift, out=str(out), **{"workers": 1} | more)
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, camvid_tree: Callable[..., Path]) -> Path:
    return camvid_tree(tmp_path_factory.mktemp("source") / "d1")


@pytest.fixture(scope="module")
def twin(source: Path) -> Path:
    out = source.parent / "twin"
    distort(source, out)
    return out


def test_the_twin_is_the_same_data_set_and_its_manifest_has_every_file(
    source: Path, twin: Path
) -> None:
    for split in ("train", "val"):
        old = load(DataConfig(name="camvid", root=str(source)), split)
        new = load(DataConfig(name="camvid", root=str(twin)), split)
        assert [s.name for s in new.samples] == [s.name for s in old.samples]
        for a, b in zip(old.samples, new.samples, strict=True):
            assert a.y1 and b.y1 and a.y1.read_bytes() == b.y1.read_bytes()
            assert b.x1.suffix == ".png"
    manifest = json.loads((twin / "manifest.json").read_text())
    assert manifest["sha256"] == {k: v for k, v in digests(twin).items() if k.endswith(".png")}
    assert manifest["parameters"] == {"tile_size": 4.0}
    assert manifest["splits"] == {"train": 6, "val": 3}


def test_workers_and_interruption_do_not_change_a_byte(
    source: Path, twin: Path, tmp_path: Path
) -> None:
    """Also where a power failure has left empty, torn or half-copied files."""
    out = tmp_path / "a"
    distort(source, out, workers=2)
    assert digests(out) == digests(twin)
    for gone in (out / "manifest.json", out / "train.txt", sorted((out / "train").iterdir())[-1]):
        gone.unlink()
    images, labels = sorted((out / "train").iterdir()), sorted((out / "trainannot").iterdir())
    images[0].write_bytes(b"")
    images[1].write_bytes(images[1].read_bytes()[:-40])
    labels[0].write_bytes(labels[1].read_bytes()[:50])
    distort(source, out)
    assert digests(out) == digests(twin)


def test_parts_make_the_twin_byte_for_byte(
    source: Path, twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More of them than there are images; a missing one is named, and one can be made again."""
    out, count = tmp_path / "a", 12
    with pytest.raises(InputError, match=r"a/parts lacks part=1/12, part=2/12"):
        distort(source, out, part=f"all/{count}")
    assert not out.exists()
    for number in (3, 7, *range(count)):
        distort(source, out, part=f"{number}/{count}")
    assert "part=12/12, 2 files" in capsys.readouterr().out, "0/12 is the last"
    assert not {p.name for p in out.iterdir()} & {"manifest.json", "train.txt"}
    (out / "parts/7-of-12.json").rename(tmp_path / "kept")
    with pytest.raises(InputError, match=r"lacks part=7/12: run what is missing, then part=all/12"):
        distort(source, out, part=f"all/{count}")
    (out / "parts/6-of-12.json").rename(out / "parts/7-of-12.json")
    (tmp_path / "kept").rename(out / "parts/6-of-12.json")
    with pytest.raises(InputError, match=r"part=6/12: .*6-of-12.json is of other files"):
        distort(source, out, part=f"all/{count}")
    for number in (6, 7):
        distort(source, out, part=f"{number}/{count}")
    distort(source, out, part=f"all/{count}")
    made = {k: v for k, v in digests(out).items() if not k.startswith("parts/")}
    assert made == digests(twin)


def contents(archive: Path) -> dict[str, bytes]:
    whole = archive.read_bytes()
    return {name: whole[at : at + size] for name, at, size in members(archive)}


@pytest.mark.parametrize("labels", ["given", "moved"])
def test_archives_hold_the_source_and_the_twin_byte_for_byte(
    source: Path, tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old and new images and labels under keys that data.shards reads; interrupted or in parts."""
    loose, out, parts = (tmp_path / name for name in ("loose", "out", "parts"))
    distort(source, loose, labels=labels)
    distort(source, out, labels=labels, shards=4)
    line = next(li for li in capsys.readouterr().out.splitlines() if li.startswith("to read"))
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.tar")) == [
        "train/000000.tar", "train/000001.tar", "val/000000.tar",
    ]  # fmt: skip
    given = shlex.split(line.removeprefix("to read its pairs: "))
    train = settings_of("scan", *given).data
    for split, data in (("train", train), ("val", replace(train, shards=str(out / "val")))):
        wanted = load(DataConfig(name="camvid", root=str(source), target=str(loose)), split)
        found = load(replace(data, parts={}, part=""), "train")
        assert (found.classes, found.void, len(found.samples)) == (
            wanted.classes, wanted.void, len(wanted.samples),
        )  # fmt: skip
        kept = {k: v for tar in sorted((out / split).iterdir()) for k, v in contents(tar).items()}
        for a, b in zip(found.samples, wanted.samples, strict=True):
            assert a.name == b.name
            for field in ("x1", "x2", "y1", "y2"):
                member, file = (getattr(sample, field) for sample in (a, b))
                assert kept[member.name] == file.read_bytes()
    before = digests(out)
    torn = out / "train/000001.tar"
    torn.write_bytes(torn.read_bytes()[:-9000])
    distort(source, out, labels=labels, shards=4)
    assert digests(out) == before
    for part in ("0/2", "1/2", "all/2"):
        distort(source, parts, labels=labels, shards=4, part=part)
    assert {k: v for k, v in digests(parts).items() if not k.startswith("parts/")} == before
    with pytest.raises(InputError, match=r"shards: 4 -> 5"):
        distort(source, out, labels=labels, shards=5)


@pytest.mark.parametrize("name", ["voc", "camvid"])
@pytest.mark.parametrize(
    "shift",
    [
        CUBISM,
        ShiftConfig("ripple", {"amplitude": 5.0, "period": 9.0, "sampler_type": "linear"}),
        ShiftConfig("ripple", {"amplitude": 9.0, "period": 9.0, "abyss_policy": "black"}),
    ],
    ids=["cubism", "ripple", "black"],
)
def test_labels_move_with_the_image(
    request: pytest.FixtureRequest, tmp_path: Path, shift: ShiftConfig, name: str
) -> None:
    """Where an image is its own label, both go the same way."""
    root = request.getfixturevalue(f"{name}_tree")(tmp_path / "d1")
    void = {"voc": 255, "camvid": 11}[name]
    old = load(DataConfig(name=name, root=str(root)), "val")
    data = DataConfig(name=name, root=str(root), train_split="train")
    out = tmp_path / "moved"
    make_distorted(DistortConfig(data=data, shift=shift, out=str(out), workers=1, labels="moved"))
    new = load(DataConfig(name=name, root=str(out)), "val")
    changed = 0
    for a, b in zip(old.samples, new.samples, strict=True):
        assert a.y1 and b.y1
        given, found = read_indices(a.y1), read_indices(b.y1)
        seeded = {"seed": image_seed(0, a.name)} if shift.name == "cubism" else {}
        known = {k: v for k, v in shift.parameters.items() if k != "sampler_type"}
        sources = SOURCES[shift.name](given.shape, **known, **seeded)
        x, y = sources[..., 0], sources[..., 1]
        expected = np.where(x < 0, void, given[y, x])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(
            read_image(b.x1), FILTERS[shift.name](read_image(a.x1), **shift.parameters, **seeded)
        )
        changed += int((found != given).sum())
    assert changed
    paired = load(DataConfig(name=name, root=str(root), target=str(out)), "val")
    assert [s.y2 for s in paired.samples] == [s.y1 for s in new.samples]
    with pytest.raises(InputError, match="labels: 'moved' -> 'given'"):
        make_distorted(DistortConfig(data=data, shift=shift, out=str(out), workers=1))


def test_a_camera_has_other_noise_in_each_image(source: Path, tmp_path: Path) -> None:
    """It is drawn from the image's name; labels stay."""
    out = tmp_path / "a"
    distort(source, out, ShiftConfig("camera", {"noise": 30.0}), labels="moved")
    sets = (load(DataConfig(name="camvid", root=str(root)), "train") for root in (source, out))
    for old, new in zip(*(one.samples for one in sets), strict=True):
        assert old.y1 and new.y1 and old.y1.read_bytes() == new.y1.read_bytes()
        expected = FILTERS["camera"](read_image(old.x1), noise=30.0, seed=image_seed(0, old.name))
        np.testing.assert_array_equal(read_image(new.x1), expected)


def test_photocopies_move_no_labels(source: Path, tmp_path: Path) -> None:
    distort(source, tmp_path / "a", ShiftConfig("photocopy"), labels="moved")
    for label in (source / "valannot").iterdir():
        assert (tmp_path / "a" / "valannot" / label.name).read_bytes() == label.read_bytes()


def test_labels_of_another_size_cannot_follow(
    camvid_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = camvid_tree(tmp_path / "d1")
    victim = sorted((root / "trainannot").iterdir())[2]
    Image.open(victim).resize((20, 10)).save(victim)
    with pytest.raises(InputError, match=rf"labels=moved: .*{victim.name} is 20x10, its image"):
        distort(root, tmp_path / "a", labels="moved")
    assert not (tmp_path / "a").exists()


def test_source_is_never_written(source: Path, tmp_path: Path) -> None:
    before = digests(source)
    distort(source, tmp_path / "a", ShiftConfig("photocopy", {}))
    assert digests(source) == before
    for out in (source, source / "inside", source.parent):
        with pytest.raises(InputError, match="must not contain each other"):
            distort(source, out)
    assert digests(source) == before


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (ShiftConfig("ripple", {"amplitud": 3.0}), "Did you mean 'amplitude'"),
        (ShiftConfig("ripple", {"amplitude": -3.0}), "amplitude.*-3"),
        (ShiftConfig("cubism", {"seed": 3}), "seed"),
    ],
)
def test_wrong_filter_is_refused_before_anything_is_made(
    source: Path, tmp_path: Path, shift: ShiftConfig, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        distort(source, tmp_path / "a", shift)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["resize", "share", "fit", "part", "jitter_x1"])
def test_what_becomes_of_read_images_is_no_setting_of_a_twin(
    source: Path, tmp_path: Path, name: str
) -> None:
    data = DataConfig(name="camvid", root=str(source), explicit=["root", name])
    with pytest.raises(InputError, match=rf"data\.{name}: a twin has all images, at their own"):
        make_distorted(DistortConfig(data=data, shift=CUBISM, out=str(tmp_path / "a")))


def test_other_parameters_do_not_overwrite_a_twin(source: Path, twin: Path) -> None:
    before = digests(twin)
    with pytest.raises(InputError, match=r"parameters\.tile_size: 4\.0 -> 5\.0"):
        distort(source, twin, ShiftConfig("cubism", {"tile_size": 5.0}))
    assert digests(twin) == before


def test_what_the_source_says_now_is_in_the_twin(source: Path, tmp_path: Path) -> None:
    """A changed image is made again; another root or reading is refused, also where an earlier
    version has recorded neither."""
    old, out, record = tmp_path / "old", tmp_path / "out", tmp_path / "out/shift.json"
    shutil.copytree(source, old)
    distort(old, out)
    images = sorted((old / "train").iterdir())
    Image.open(images[1]).save(images[0])
    distort(old, out)
    distort(old, tmp_path / "fresh")
    made = (digests(place) for place in (out, tmp_path / "fresh"))
    assert next(made) == next(made)
    with pytest.raises(InputError, match=r"source\.root: .*old' -> .*d1'"):
        distort(source, out)
    record.write_text(json.dumps({k: v for k, v in read_json(record).items() if k != "source"}))
    data = DataConfig(name="camvid", root=str(source), bands=[3, 2, 1])
    with pytest.raises(InputError, match=r"given\): source\.bands: \[\] -> \[3, 2, 1\]$"):
        make_distorted(DistortConfig(data=data, shift=CUBISM, out=str(out), workers=1))


def test_images_of_two_lists_may_have_one_name(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "d1"
    shutil.copytree(source, root)
    rows = (root / "train.txt").read_text().replace("/train_", "/NAME_")
    (root / "val.txt").write_text(rows.replace("train", "val").replace("NAME", "train"))
    for folder in ("", "annot"):
        shutil.rmtree(root / f"val{folder}")
        shutil.copytree(root / f"train{folder}", root / f"val{folder}")
    distort(root, tmp_path / "a")
    assert len(load(DataConfig(name="camvid", root=str(tmp_path / "a")), "val").samples) == 6


@pytest.fixture
def nested(tmp_path: Path) -> DataConfig:
    """Two folders of images, with masks of 0 and 255 in a folder of their own."""
    for number in (0, 1):
        write_png(tmp_path / f"old/seq{number}/a.png", np.full((8, 8, 3), 99, np.uint8))
        write_png(tmp_path / f"masks/seq{number}/a.png", np.full((8, 8), 255 * number, np.uint8))
    places = {"root": str(tmp_path / "old"), "labels": str(tmp_path / "masks")}
    return DataConfig("pairs", **places, classes=["ground", "crack"], codes=[0, 255])


def test_masks_from_elsewhere_keep_their_folders(nested: DataConfig, tmp_path: Path) -> None:
    """And do not stand among the twin's images."""
    out = tmp_path / "out"
    make_distorted(DistortConfig(data=nested, shift=CUBISM, out=str(out), workers=1))
    assert load(replace(nested, target=str(out)), "train").paired
    twin = load(replace(nested, root=str(out), labels=str(out / ".labels")), "train")
    assert [np.unique(read_indices(s.y1)).tolist() for s in twin.samples] == [[0], [255]]
    with pytest.raises(InputError, match=r"list\.csv: lists of pairs have no twin"):
        bare = DataConfig("pairs", root=nested.root, pairs="list.csv")
        make_distorted(DistortConfig(data=bare, shift=CUBISM, out=str(out), workers=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({}, "get 255 .* means a class"), ({"codes": [], "colors": [[0] * 3, [9] * 3]}, "no colour")],
)
def test_moved_labels_never_get_a_class_where_they_say_nothing(
    nested: DataConfig, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    data = replace(nested, **changes)
    config = DistortConfig(data, CUBISM, str(tmp_path / "out"), labels="moved", workers=1)
    with pytest.raises(InputError, match=message):
        make_distorted(config)
    assert not (tmp_path / "out").exists()


def test_foreign_folder_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        distort(source, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_twin_of_voc_with_sbd_labels(voc_tree: Callable[..., Path], tmp_path: Path) -> None:
    """trainaug's extra labels are .mat files outside the root; the twin stands on its own."""
    root, sbd = voc_tree(tmp_path / "VOC2012"), tmp_path / "sbd"
    (sbd / "cls").mkdir(parents=True)
    lists = root / "ImageSets" / "Segmentation"
    names = (lists / "train.txt").read_text().split()
    extra = names.pop()
    (lists / "train.txt").write_text("".join(f"{n}\n" for n in names))
    mask = np.array(Image.open(root / "SegmentationClass" / f"{extra}.png"))
    (root / "SegmentationClass" / f"{extra}.png").unlink()
    savemat(sbd / "cls" / f"{extra}.mat", {"GTcls": {"Segmentation": mask}})
    for split, listed in (("train", [extra]), ("val", names[:1])):
        (sbd / f"{split}.txt").write_text("".join(f"{n}\n" for n in listed))
    data = DataConfig(name="voc", root=str(root), sbd=str(sbd))
    config = DistortConfig(data=data, shift=CUBISM, out=str(tmp_path / "twin"), workers=1)
    make_distorted(config)
    old = load(data, "train")
    new = load(DataConfig(name="voc", root=str(tmp_path / "twin")), "train")
    make_distorted(replace(config, out=str(tmp_path / "packed"), shards=9))
    packed = DataConfig(name="pairs", shards=str(tmp_path / "packed/trainaug"))
    for sample in load(packed, "train").samples:  # in archives they are images
        assert sample.name != extra or np.array_equal(read_indices(sample.y1), mask)
    assert [s.name for s in new.samples] == [s.name for s in old.samples]
    assert extra in {s.name for s in new.samples}
    for a, b in zip(old.samples, new.samples, strict=True):
        assert a.y1 and b.y1 and a.y1.read_bytes() == b.y1.read_bytes()
    paired = replace(data, target=str(tmp_path / "twin"))
    assert load(paired, "val").paired and load(paired, "train").paired


def test_broken_image_is_named(
    source: Path, camvid_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = camvid_tree(tmp_path / "d1")
    victim = sorted((root / "train").iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(InputError, match=victim.name):
        distort(root, tmp_path / "a")
    assert not (tmp_path / "a" / "manifest.json").exists()
