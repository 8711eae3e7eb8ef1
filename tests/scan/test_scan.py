"""scan: each planted defect is found and named, and a clean set gives no finding."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import run
from PIL import Image
from scans import report

from adapt.data.scenes import draw_scene
from adapt.errors import InputError, Stopped
from adapt.scan.command import scan, show
from adapt.scan.measure import measure, of_all
from adapt.scan.members import error, warning
from adapt.settings.commands import ScanConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import build


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 + 6 scenes and an inverted, displaced twin in CamVid's layout, below d1 and d2."""
    home = tmp_path_factory.mktemp("whole")
    for split, first, count in (("train", 0, 20), ("val", 20, 6)):
        rows = []
        for index in range(first, first + count):
            image, mask = draw_scene(7, index, (48, 64))
            rows.append(f"{split}/{index:03d}.png {split}annot/{index:03d}.png\n")
            for root, shown in (("d1", image), ("d2", np.roll(255 - image, 2, axis=1))):
                for folder, array in ((split, shown), (f"{split}annot", every_class(mask))):
                    (home / root / folder).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(home / root / folder / f"{index:03d}.png")
        for root in ("d1", "d2"):
            (home / root / f"{split}.txt").write_text("".join(rows))
    return home


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "sets")


def every_class(mask: np.ndarray) -> np.ndarray:
    """The mask with all 11 classes of CamVid in its corner, and its void."""
    mask = np.where(mask == 255, 11, mask)
    mask[0, :12] = np.arange(12)
    return mask.astype(np.uint8)


def data(tree: Path, **changes: Any) -> DataConfig:
    given = {"name": "camvid", "root": str(tree / "d1"), "target": str(tree / "d2")} | changes
    return DataConfig(**given)  # type: ignore[arg-type]


def test_a_clean_set_gives_no_finding(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(tree / "scan.json", data(tree))
    text = capsys.readouterr()
    assert text.err == "", "no bars where nobody watches"
    assert "26 samples (train 20, val 6), 104 files" in text.out
    assert "scan.json: 0 errors, 0 warnings" in text.out
    assert found["findings"] == []
    assert found["sizes"] == {"64x48": 52}
    assert found["modes"] == {"image RGB": 52, "label L": 52}
    assert found["pairs"]["pairs"] == 26 and found["pairs"]["in_doubt"] == 0
    for split in ("train", "val"):
        masks = [np.array(Image.open(p)) for p in (tree / "d1" / f"{split}annot").iterdir()]
        pixels = np.bincount(np.stack(masks).ravel(), minlength=12)
        percent = [*(100 * pixels / pixels.sum()), 0]  # the classes, void, other values
        assert [*found["labels"][split].values()] == pytest.approx(percent, abs=1e-4)


def test_statistics_are_those_of_all_pixels_of_the_training_images(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As network.mean and network.std take them, of either side; the evaluated are left out."""
    found = report(tree / "scan.json", data(tree), statistics=True, pairs=False)
    text = capsys.readouterr().out
    for side, root in (("x1", "d1"), ("x2", "d2")):
        files = sorted((tree / root / "train").iterdir())
        values = np.concatenate([np.array(Image.open(p)).reshape(-1, 3) for p in files]) / 255
        mean, std = (found["statistics"][side][k] for k in ("mean", "std"))
        assert mean == pytest.approx(values.mean(0), abs=1e-4)
        assert std == pytest.approx(values.std(0), abs=1e-4)
        assert f"{side}     network.mean=[{','.join(map(str, mean))}] network.std=" in text


def test_parts_make_the_same_report(tree: Path) -> None:
    """Of good and of broken files, with pairs and statistics; what is missing or other is named."""
    half(tree / "d1/train/003.png")
    twice(tree)
    given, out = data(tree), tree / "parts.json"
    report(tree / "scan.json", given, statistics=True)
    for number in (1, 0):
        scan(ScanConfig(given, statistics=True, out=str(out), part=f"{number}/3"))
    assert not out.exists()
    with pytest.raises(InputError, match=r"parts.json.parts lacks part=2/3"):
        scan(ScanConfig(given, statistics=True, out=str(out), part="all/3"))
    scan(ScanConfig(given, out=str(out), part="2/3"))
    with pytest.raises(InputError, match=r"part=2/3: .* otherwise: statistics: False -> True"):
        scan(ScanConfig(given, statistics=True, out=str(out), part="all/3"))
    scan(ScanConfig(given, statistics=True, out=str(out), part="2/3"))
    report(out, given, statistics=True, part="all/3")
    assert out.read_bytes() == (tree / "scan.json").read_bytes()
    (tree / "d1/train.txt").write_text((tree / "d1/train.txt").read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match=r"part=1/3: .*1-of-3.json is of other files"):
        scan(ScanConfig(given, statistics=True, out=str(out), part="all/3"))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def twice(tree: Path) -> None:
    """Sample 010 again under the name 011."""
    for folder in ("d1/train", "d1/trainannot", "d2/train", "d2/trainannot"):
        copy(tree / folder / "010.png", tree / folder / "011.png")


def in_both_lists(tree: Path) -> None:
    for root in ("d1", "d2"):
        with (tree / root / "val.txt").open("a") as stream:
            stream.write("train/001.png trainannot/001.png\n")


def recoded(source: Path, target: Path) -> None:
    Image.open(source).resize((56, 42)).save(target, "JPEG")


def enlarged(array: np.ndarray) -> np.ndarray:
    return array.repeat(2, 0).repeat(2, 1)


def relabelled(mask: np.ndarray) -> np.ndarray:
    mask[5:7, 5:10] = 77
    return mask


def without_pedestrians(tree: Path) -> None:
    for path in (tree / "d1/valannot").iterdir():
        rewrite(path, lambda a: np.where(a == 9, 11, a).astype(np.uint8))


SEEN = "d1/train/012.png"
PLANTED: dict[str, tuple[Callable[[Path], object], str, str, str, str]] = {
    "truncated": (
        lambda d: half(d / "d1/train/003.png"),
        "error", "unreadable", "d1/train/003.png", "broken image",
    ),
    "colour mask": (
        lambda d: rewrite(d / "d1/trainannot/004.png", lambda a: np.stack([a, a, 1 - a], axis=2)),
        "error", "unreadable", "d1/trainannot/004.png", "class indices",
    ),
    "label of another size": (
        lambda d: rewrite(d / "d1/trainannot/005.png", enlarged),
        "error", "size", "d1/trainannot/005.png", "128x96",
    ),
    "grey image": (
        lambda d: rewrite(d / "d1/train/006.png", lambda a: cv2.cvtColor(a, cv2.COLOR_RGB2GRAY)),
        "warning", "mode", "d1/train/006.png", "mode L, but",
    ),
    "unknown label": (
        lambda d: rewrite(d / "d1/trainannot/007.png", relabelled),
        "error", "label", "d1/trainannot/007.png",
        "77 (10 pixels); void is [11, 255]; classes are 0..10",
    ),
    "void label": (
        lambda d: rewrite(d / "d1/trainannot/008.png", lambda a: np.full_like(a, 11)),
        "warning", "label", "d1/trainannot/008.png", "void everywhere",
    ),
    "class that never occurs": (
        without_pedestrians,
        "warning", "class", "d1/valannot", "pedestrian (value 9) occurs in no label of the list",
    ),
    "flat image": (
        lambda d: rewrite(d / "d1/train/009.png", lambda a: np.full_like(a, 90)),
        "warning", "blank", "d1/train/009.png", "one flat tone",
    ),
    "the same image twice": (
        twice,
        "warning", "duplicate", "d1/train/010.png", "the same pixels as",
    ),
    "the same image with two labels": (
        lambda d: copy(d / "d1/train/010.png", d / "d1/train/011.png"),
        "error", "duplicate", "d1/train/010.png", "but another label",
    ),
    "a training image in val": (
        lambda d: copy(d / SEEN, d / "d1/val/024.png"),
        "error", "leak", "d1/val/024.png", "the same pixels as",
    ),
    "a training image in val, recoded": (
        lambda d: recoded(d / SEEN, d / "d1/val/024.png"),
        "error", "leak", "d1/val/024.png", "nearly the training image",
    ),
    "a training image in val, mirrored": (
        lambda d: copy(d / SEEN, d / "d1/val/024.png") or rewrite(d / "d1/val/024.png", np.fliplr),
        "error", "leak", "d1/val/024.png", "mirrored, nearly the training image",
    ),
    "an image of the old domain among the new": (
        lambda d: copy(d / "d1/train/013.png", d / "d2/train/013.png"),
        "warning", "unshifted", "d2/train/013.png", "the same pixels as its partner",
    ),
    "a listed image that is not there": (
        lambda d: (d / "d1/train/014.png").unlink(),
        "error", "missing", "d1/train.txt:15", "no file named '014'",
    ),
    "a name on one side only": (
        lambda d: (d / "d2/val.txt").write_text(
            "".join(f"val/{i:03d}.png valannot/{i:03d}.png\n" for i in range(20, 25))
        ),
        "error", "unpaired", "d1", "'025' has no partner in",
    ),
    "a name in two lists": (
        in_both_lists,
        "error", "leak", "d1/train/001.png", "stands in the training list as well",
    ),
    "a list that cannot be read": (
        lambda d: (d / "d1/val.txt").write_text("three columns here\n"),
        "error", "list", "d1", "expected 'image label'",
    ),
}  # fmt: skip

ALONGSIDE = {"a training image in val, recoded": {"size"}, "a name in two lists": {"leak"}}
"""Kinds that a defect rightly causes besides its own. What changes the content of an image may also
make it misfit its partner."""


@pytest.mark.parametrize("defect", PLANTED)
def test_every_planted_defect_is_found_and_named(tree: Path, defect: str) -> None:
    plant, severity, kind, file, words = PLANTED[defect]
    plant(tree)
    found = report(tree / "s.json", data(tree))["findings"]
    named = [
        f
        for f in found
        if (f["severity"], f["kind"], f["file"]) == (severity, kind, str(tree / file))
        and words in f["problem"] + "; " + f["remedy"]
    ]
    assert len(named) == 1, found
    assert named[0]["remedy"]
    assert {f["kind"] for f in found} <= {kind, "pair", *ALONGSIDE.get(defect, ())}


def test_all_defects_at_once_by_the_command(tree: Path) -> None:
    """Those that touch different files; every one is a line on the terminal, the status is 1."""
    together = ["truncated", "colour mask", "label of another size", "grey image", "unknown label",
                "void label", "flat image", "the same image twice", "a training image in val",
                "an image of the old domain among the new", "a name on one side only"]  # fmt: skip
    for defect in together:
        PLANTED[defect][0](tree)
    done = run("scan.py", f"data.root={tree / 'd1'}", f"data.target={tree / 'd2'}", "data=camvid",
               "workers=2", "out=reports/all.json", cwd=tree, status=1)  # fmt: skip
    for _, severity, kind, file, words in (PLANTED[defect] for defect in together):
        start = f"{severity}: {kind}: {tree / file}: "
        assert any(line.startswith(start) and words in line for line in done.stdout.splitlines())
    found = json.loads((tree / "reports/all.json").read_text())
    assert f"all.json: {found['errors']} errors, {found['warnings']} warnings" in done.stderr
    assert "Traceback" not in done.stderr
    assert report(tree / "one.json", data(tree)) == found, "the number of workers changes nothing"


def test_classes_have_the_codes_of_the_data_set(tmp_path: Path) -> None:
    """In Cityscapes the road is 7: nothing else is there, and nothing is wrong."""
    for number, place in enumerate(("train/ulm", "val/bern")):
        for folder, end in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            image, mask = draw_scene(9, number, (48, 64))
            array = image if folder == "leftImg8bit" else np.where(mask, 7, 0).astype(np.uint8)
            file = tmp_path / folder / place / f"{Path(place).name}_000000_000019_{end}.png"
            file.parent.mkdir(parents=True)
            Image.fromarray(array).save(file)
    found = report(tmp_path / "c.json", DataConfig(name="cityscapes", root=str(tmp_path)))
    assert found["lists"] == {"train": 1, "val": 1}
    assert [f["kind"] for f in found["findings"]] == ["class"] * 2 * 18
    assert found["labels"]["val"]["road"] + found["labels"]["val"]["void"] == 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"doubt": 0.3}, "doubt is 0.3 and wrong 0.2"),
        ({"data": {"name": "camvid"}}, "data.root is empty"),
        ({"data": {"name": "camvid", "root": "nowhere"}}, "nowhere"),
        ({"data": {"name": "kitti", "root": "."}}, "'kitti' is not known"),
        ({"data": {"name": "pairs", "pairs": "nowhere/a.csv"}}, "nowhere"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(words)):
        scan(build(ScanConfig, {"data": {"name": "camvid", "root": "."}, **changes}))
    assert not (tmp_path / "scan.json").exists()


def test_a_thermal_camera_that_fills_little_of_16_bits_is_not_blank(tmp_path: Path) -> None:
    image, _ = draw_scene(7, 0, (48, 64))
    warm = 7000 + 2 * image[..., 0].astype(np.uint16)
    twice = 2 * warm - 7000  # the same scene at twice the span
    for name, values in (("warm", warm), ("twice", twice), ("cap", np.full_like(warm, 7000))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), values)
    one, other, cap = (
        measure((tmp_path / f"{name}.png", "image", False, ((), ())))
        for name in ("warm", "twice", "cap")
    )
    assert not one.flat and not other.flat and cap.flat
    assert np.bitwise_count(one.hashes[0] ^ other.hashes[0]).sum() <= 24, "near-duplicates"


def test_a_record_keeps_no_pixels(tmp_path: Path) -> None:
    """What 100,000 files need: a record does not grow with the image."""
    path, rng = tmp_path / "noise.png", np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (1024, 1024, 3), np.uint8)).save(path)
    assert len(pickle.dumps(measure((path, "image", True, ())))) < 2500


def test_only_some_findings_of_a_kind_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [warning("blank", f"{i}.png", "flat", "look") for i in range(7)]
    show([*findings, error("leak", "x.png", "seen", "take it out")], 3, "s.json")
    assert capsys.readouterr().out.splitlines() == [
        "error: leak: x.png: seen; take it out",
        *[f"warning: blank: {i}.png: flat; look" for i in range(3)],
        "warning: blank: and 4 more, all in s.json",
    ]


class Deadly:
    """A job that ends the process that unpickles it, as the system does when memory runs out."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


def test_a_dead_worker_ends_the_scan() -> None:
    with pytest.raises(Stopped, match="a worker process died"):
        of_all(measure, [Deadly(), Deadly()], 2, "scan")  # type: ignore[list-item]
