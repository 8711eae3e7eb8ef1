"""The command: rig, planted shifts, table, twin, restart."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run, warm
from textures import of_other_sensor, pair, texture, write_pairs

from adapt.align.command import Alignment, align, pairs_of
from adapt.align.estimate import Compared, Frame, estimate
from adapt.align.models import moved_by
from adapt.align.planted import apart, planted
from adapt.align.rig import Rig, medians, rig_of
from adapt.cli.align import align_and_report
from adapt.data import load
from adapt.data.copies import MANIFEST
from adapt.data.files import Sample
from adapt.data.images import IGNORE, read_image, read_indices, read_valid, write_png
from adapt.data.sampling import Decoder
from adapt.data.warp import COLUMNS, covered, read_transforms, warped
from adapt.disk.files import sha256
from adapt.errors import InputError, Stopped
from adapt.settings.align import AlignConfig
from adapt.settings.groups import DataConfig

SIZE = (120, 160)
RIG = moved_by(7, -4)
PAIRS = 5
"""Of which the last is unrelated."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OLD and NEW, in which x2 lies (7, -4) off x1, LABELS, and what align makes of them, with a
    twin, in OUT."""
    root = write_pairs(tmp_path_factory.mktemp("home"), [RIG] * (PAIRS - 1), SIZE)
    write_png(root / "OLD/4.png", texture(50, SIZE))
    write_png(root / "NEW/4.png", of_other_sensor(texture(60, SIZE)))
    for number in range(PAIRS):
        stripes = np.tile(np.arange(SIZE[1], dtype=np.uint8) // 80, (SIZE[0], 1))
        write_png(root / f"LABELS/{number}.png", stripes)
    align(config(root, twin="x2"))
    return root


def config(root: Path, out: str = "OUT", **more: Any) -> AlignConfig:
    data = DataConfig(
        name="pairs",
        root=str(root / "OLD"),
        target=str(root / "NEW"),
        labels=str(root / "LABELS"),
        classes=["left", "right"],
        flip=False,
    )
    return AlignConfig(data, str(root / out), **{"workers": 1} | more)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table_has_every_pair_and_the_loader_takes_it(home: Path) -> None:
    rows = rows_of(home / "OUT/alignment.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["x1"], row["x2"]) for row in rows] == [(f"{n}.png",) * 2 for n in range(PAIRS)]
    assert [row["accepted"] for row in rows] == ["1", "1", "1", "1", "0"]
    matrices = [np.reshape(h, (3, 3)) for h in read_transforms(home / "OUT/alignment.csv").values()]
    assert all(apart(matrix, RIG, SIZE) < 0.3 for matrix in matrices)  # the last has the rig's
    assert all(float(row["score"]) > 0.8 for row in rows[:4]) and float(rows[4]["score"]) < 0.5
    data = replace(config(home).data, transforms=str(home / "OUT/alignment.csv"))
    found = load(data, "train")
    first = Decoder(found, data, ["x1", "x2", "valid"])(found.samples[0])
    x1, _ = pair(0, np.eye(3), SIZE)
    looks = of_other_sensor(x1, 0)  # as x2 would, had it been in its place
    inner = first["valid"] == 1
    assert 0.9 < inner.mean() < 0.95
    assert np.corrcoef(first["x2"][inner].ravel(), looks[inner].ravel())[0, 1] > 0.9


def test_the_twin_is_the_warp_and_reads_like_any_pairs(home: Path) -> None:
    out = home / "OUT/aligned_x2"
    twin = load(DataConfig(name="pairs", pairs=str(out / "pairs.csv"), classes=["a", "b"]), "train")
    table = read_transforms(home / "OUT/alignment.csv")
    for number, sample in enumerate(twin.samples):
        name = f"{number}.png"
        assert sample.x1.read_bytes() == (home / "OLD" / name).read_bytes()
        assert sample.y1 and sample.y1.read_bytes() == (home / "LABELS" / name).read_bytes()
        assert sample.x2 and sample.y2 and sample.valid
        matrix, x2 = np.reshape(table[name, name], (3, 3)), read_image(home / "NEW" / name)
        inside = covered(matrix, SIZE, SIZE)
        np.testing.assert_array_equal(read_image(sample.x2), warped(x2, matrix, SIZE))
        np.testing.assert_array_equal(read_valid(sample.valid), inside)
        shown = np.where(inside, read_indices(sample.y1), IGNORE)
        np.testing.assert_array_equal(read_indices(sample.y2), shown)
    digests = json.loads((out / MANIFEST).read_text())["sha256"]
    assert len(digests) == 5 * PAIRS
    assert all(sha256(out / name) == digest for name, digest in digests.items())


def test_x1_can_be_brought_to_x2_with_its_labels(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "x1"
    align(replace(config(home, twin="x1"), out=str(out)))
    data = DataConfig(name="pairs", pairs=str(out / "aligned_x1/pairs.csv"), classes=["a", "b"])
    sample = load(data, "train").samples[0]
    found = read_transforms(out / "alignment.csv")["0.png", "0.png"]
    matrix = np.linalg.inv(np.reshape(found, (3, 3)))
    x1, labels = read_image(home / "OLD/0.png"), read_indices(home / "LABELS/0.png")
    assert sample.x2 and sample.x2.read_bytes() == (home / "NEW/0.png").read_bytes()
    np.testing.assert_array_equal(read_image(sample.x1), warped(x1, matrix, SIZE))
    assert sample.y1 == sample.y2 and sample.y1
    np.testing.assert_array_equal(read_indices(sample.y1), warped(labels, matrix, SIZE, IGNORE))


def test_an_interrupted_call_goes_on_and_changes_nothing(home: Path, tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        files = (p for p in tmp_path.rglob("*") if p.is_file())
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in files}

    given = replace(config(home, twin="x2"), out=str(tmp_path / "out"))
    align(given)
    before = contents()
    out = tmp_path / "out"
    for gone in (f"aligned_x2/{MANIFEST}", "alignment.csv", "planted.json", "aligned_x2/x2/3.png"):
        (out / gone).unlink()
    journal = (out / "pairs.jsonl").read_bytes()
    (out / "pairs.jsonl").write_bytes(journal[: len(journal) // 2])  # within a line
    torn = out / "aligned_x2/x2/1.png"
    torn.write_bytes(torn.read_bytes()[:-30])
    align(given)
    assert contents() == before
    with pytest.raises(InputError, match=r"was made otherwise .* sample: 64 -> 3"):
        align(replace(given, sample=3))


def test_other_images_under_the_same_names_are_refused(tmp_path: Path) -> None:
    """Each would have got the transform of the pair that stood in its place."""
    root = write_pairs(tmp_path, [RIG] * 3, SIZE)
    data = DataConfig("pairs", str(root / "OLD"), target=str(root / "NEW"))
    given = AlignConfig(data, str(root / "OUT"), workers=1)
    align(given)
    with pytest.raises(InputError, match=r"was made otherwise .* bands: "):
        align(replace(given, data=replace(data, bands_x2=[1])))
    write_png(root / "NEW/2.png", pair(2, moved_by(-9, 6), SIZE)[1])
    with pytest.raises(InputError, match=r"was made otherwise .* written: "):
        align(given)
    for side in ("OLD", "NEW"):
        (root / side / "2.png").rename(root / side / "3.png")
    with pytest.raises(InputError, match=r"was made otherwise .* pairs: '3 samples, "):
        align(given)


def test_pairs_of_two_lists_may_have_one_name(tmp_path: Path, world: Path) -> None:
    """All count; a twin, whose files have these names, is refused."""
    for domain in ("d1", "d2"):
        tree = tmp_path / domain
        shutil.copytree(world / domain, tree)
        for folder in ("val", "valannot"):
            for path in sorted((tree / folder).iterdir()):
                path.rename(path.with_name(path.name.replace("val_", "train_")))
        (tree / "val.txt").write_text((tree / "val.txt").read_text().replace("val_", "train_"))
    data = DataConfig("camvid", str(tmp_path / "d1"), target=str(tmp_path / "d2"))
    assert len(pairs_of(data)) == 9
    with pytest.raises(InputError, match="twin: pairs of two lists have the same name"):
        align(AlignConfig(data, str(tmp_path / "out"), twin="x2", workers=1))


def test_a_twin_of_masks_in_colours_is_refused_before_a_pair_is_compared() -> None:
    with pytest.raises(InputError, match=r"twin: masks that mean classes by colours"):
        AlignConfig(DataConfig("pairs", colors=[[0, 0, 0], [255, 0, 0]]), "out", twin="x2")


def test_parts_make_the_same_bytes(home: Path, tmp_path: Path) -> None:
    """Each compares its pairs from the one rig; an interrupted one goes on."""
    given = replace(config(home, twin="x2"), out=str(tmp_path / "out"))
    for number in (2, 0):
        align_and_report(replace(given, part=f"{number}/3"))
    assert not (tmp_path / "out/alignment.csv").exists()
    journal = tmp_path / "out/parts/3-of-3.jsonl"  # which 0/3 is
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-30])
    with pytest.raises(InputError, match=r"out/parts lacks part=1/3, part=3/3: run what"):
        align(replace(given, part="all/3"))
    for number in (1, 3):
        align_and_report(replace(given, part=f"{number}/3"))
    assert journal.read_bytes() == whole
    align(replace(given, part="all/3"))
    made, wanted = (
        {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for out in (tmp_path / "out", home / "OUT")
    )
    parts = {p: made.pop(p) for p in [*made] if p.parts[0] == "parts"}
    assert made == wanted and len(parts) == 3


@pytest.mark.system
def test_parts_that_start_at_once_share_one_rig(home: Path, tmp_path: Path) -> None:
    """The tasks of an array: one finds the rig, the others wait for it; then the last call."""
    given = [
        "data=pairs", f"data.root={home}/OLD", f"data.target={home}/NEW", "workers=1", "out=out",
    ]  # fmt: skip
    tasks = [warm().start("align.py", *given, f"part={i}/2", cwd=tmp_path) for i in range(2)]
    assert [task.wait() for task in tasks] == [0, 0], [task.stderr for task in tasks]
    run("align.py", *given, "part=all/2", cwd=tmp_path)
    for name in ("alignment.csv", "rig.json", "pairs.jsonl", "planted.json"):
        assert (tmp_path / "out" / name).read_bytes() == (home / "OUT" / name).read_bytes()
    assert not (tmp_path / "out/lock").exists()


def test_unrelated_images_accept_nothing_and_say_so(tmp_path: Path) -> None:
    for number in range(4):
        write_png(tmp_path / f"OLD/{number}.png", texture(number, SIZE))
        write_png(tmp_path / f"NEW/{number}.png", of_other_sensor(texture(70 + number, SIZE)))
    given = AlignConfig(
        DataConfig(name="pairs", root=str(tmp_path / "OLD"), target=str(tmp_path / "NEW")),
        str(tmp_path / "out"),
        twin="x2",
        workers=1,
    )
    with pytest.raises(Stopped, match="nothing is aligned"):
        align_and_report(given)
    rows = rows_of(tmp_path / "out/alignment.csv")
    assert {row["accepted"] for row in rows} == {"0"} and not (tmp_path / "out/aligned_x2").exists()
    for row in rows:
        h = [float(row[name]) for name in COLUMNS[3:12]]
        np.testing.assert_allclose(h, np.eye(3).ravel(), atol=1e-9)
    assert "nothing is accepted of 4 pairs" in (tmp_path / "out/report.html").read_text()


def compared(number: int, matrix: np.ndarray) -> Compared:
    old, new = pair(number, matrix)
    sample = Sample(str(number), Path(), x2=Path())
    return Compared(sample, Frame(SIZE, SIZE, SIZE), estimate(old, new, np.eye(3)))


def test_a_rig_is_what_pairs_share_and_none_where_they_share_nothing() -> None:
    rng = np.random.default_rng(0)
    jitter = rng.uniform(-3, 3, (8, 2)).round()
    shaken = [compared(n, moved_by(*(np.array([9, 5]) + j))) for n, j in enumerate(jitter)]
    found = rig_of(shaken)
    assert found.kind == "shift"
    np.testing.assert_allclose(
        found.matrix[:2, 2], np.median(jitter + np.array([9, 5]), axis=0), atol=1.5
    )
    apart_from_each_other = [compared(n, moved_by(24 * (-1) ** n, 0)) for n in range(6)]
    assert rig_of(apart_from_each_other).kind == "none"
    assert rig_of(shaken[:3]).kind == "none"


def test_medians_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    matches = rng.uniform(0, [160, 120, 160, 120], (300, 4))
    expected = []
    for row in range(6):
        for column in range(8):
            inside = [m for m in matches if m[1] // 20 == row and m[0] // 20 == column]
            block = np.array(inside)
            place = block[:, :2].mean(0)
            shift = [np.median(block[:, k + 2] - block[:, k]) for k in (0, 1)]
            expected.append([*place, *(place + shift)])
    np.testing.assert_allclose(medians(matches, SIZE), expected)


def test_planted_shifts_tell_found_from_elsewhere(home: Path) -> None:
    data = config(home).data
    samples = load(data, "train").samples
    rig = Rig("shift", RIG, SIZE)
    size = Frame(SIZE, SIZE, SIZE)
    right = [Compared(s, size, replace(compared(0, RIG).found, matrix=RIG)) for s in samples[:4]]
    found = planted(right, data, rig, "", 1)
    assert [p.length for p in found] == [4, 8, 16]
    assert {(p.pairs, p.found, p.elsewhere) for p in found} == {(4, 4, 0)}
    wrong = [replace(c, found=replace(c.found, matrix=moved_by(30, 0))) for c in right]
    assert {(p.found, p.elsewhere) for p in planted(wrong, data, rig, "", 1)} == {(0, 4)}


def test_what_cannot_be_trusted_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted shifts that are found elsewhere."""
    from adapt.align import command

    def elsewhere(*_: object) -> list[command.Planted]:
        return [command.Planted(8, 10, 8, 2)]

    monkeypatch.setattr(command, "planted", elsewhere)
    found: Alignment = align(config(home, "TRUST"))
    assert found.refused.startswith("of the planted shifts 8 were found again and 2 elsewhere")
    assert not found.accepted and found.rig.kind == "none"


MATCHER = """
import numpy as np

def points(old, new):
    places = np.random.default_rng(0).uniform(0, [160, 120], (40, 2))
    return np.hstack([places, places])
"""


def test_a_matcher_of_ones_own_is_imported_from_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes all pairs for aligned is believed where edges do not gainsay it."""
    (tmp_path / "mine.py").write_text(MATCHER)
    monkeypatch.chdir(tmp_path)
    found = align(replace(config(home, matcher="mine:points"), out="mine"))
    assert {pair.found.kind for pair in found.pairs} == {found.rig.kind} == {"none"}
    assert {pair.found.score for pair in found.pairs} == {1.0}


@pytest.mark.system
def test_as_a_user_runs_it(home: Path, tmp_path: Path) -> None:
    data = ("data=pairs", f"data.root={home / 'OLD'}", f"data.target={home / 'NEW'}", "workers=1")
    done = run("align.py", *data, "data.bands=[1,2,3]", "out=ours", cwd=tmp_path)
    assert "rig: shift; x2 lies (+7.0, -4.0) px off x1 at the middle" in done.stdout
    assert "accepted: 4 of 5 pairs, 0 of them with a transform of their own" in done.stdout
    assert "found again within 3 px" in done.stdout
    following = f"fra adapt data=pairs {data[1]} {data[2]} 'data.bands=[1,2,3]' "
    following += "data.transforms=ours/alignment.csv teacher=… run=…"
    assert following in done.stdout
    page = (tmp_path / "ours/report.html").read_text()
    assert page.count("<figure>") == 4 * PAIRS and "Pairs that were not aligned" in page
    lost = run("align.py", *data, "out=no", "matcher=mine:points", cwd=tmp_path, status=2)
    assert "error: matcher=mine:points: No module named 'mine'" in lost.stderr
