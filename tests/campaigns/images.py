"""Images, masks and lists that are broken in thousands of ways, through everything that reads them.

    python tests/campaigns/images.py --count 20000 [--real DIR] [--out results/campaign_images.json]

Allowed is an array of the documented type and shape, or an InputError that names the file. All
else is a failure, whose file is kept in --keep: another exception, a crash, a hang, more memory
than --memory, a word on stderr, a cut-off file or a PNG with a changed byte that is accepted, and a
list that makes a file outside of its tree be opened. Case k of a seed is always the same.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests" / "helpers")) if p not in sys.path]

import numpy as np
from campaigns.mutations import Original, mutant, mutated_text, originals, pick

DEADLINE = 120.0
"""Seconds that one file may take in all readers together, on a busy machine."""
MEMORY = 2048
"""MiB that a worker may grow by. Of an image of 100 million pixels four bytes each are decoded, as
many converted and three returned, 1.1 GB."""
CLASSES = 21
LISTS = 0.1
"""Share of the cases that are lists."""
Outcome = dict[str, Any]


# ---- in a worker process


def check_image(array: Any) -> None:
    assert array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size


def check_mask(array: Any) -> None:
    assert array.dtype == np.uint8 and array.ndim == 2 and array.size


def check_names(names: Any) -> None:
    assert all(isinstance(name, str) for name in names)


def readers() -> dict[str, Callable[[Path], None]]:
    """Everything that reads a file of a stranger; each checks what it gets."""
    from adapt.data.dogs120 import entries
    from adapt.data.images import (
        IGNORE,
        image_header,
        read_image,
        read_indices,
        read_mask,
        read_valid,
    )
    from adapt.errors import InputError
    from adapt.scan.measure import IMAGE, LABEL, VALID, measure

    def image(path: Path) -> None:
        array = read_image(path)
        check_image(array)
        assert image_header(path)[1] == array.shape[:2], "header and pixels differ in size"

    def mask(path: Path) -> None:
        array = read_mask(path, CLASSES)
        check_mask(array)
        assert ((array < CLASSES) | (array == IGNORE)).all()

    def measured(role: str) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            record = measure((path, role, True))
            assert bool(record.error) != bool(record.digest)
            if record.error:
                raise InputError(f"{path}: {record.error}")

        return read

    def header(path: Path) -> None:
        assert min(image_header(path)[1]) > 0

    def valid(path: Path) -> None:
        array = read_valid(path)
        check_mask(array)
        assert array.max() <= 1

    return {
        "read_image": image, "image_header": header, "read_mask": mask,
        "read_indices": lambda p: check_mask(read_indices(p)), "read_valid": valid,
        "scan image": measured(IMAGE), "scan label": measured(LABEL), "scan valid": measured(VALID),
        "list .mat": lambda p: check_names(entries(p)),
    }  # fmt: skip


def tree(place: Path) -> None:
    """A small data set with links in it, as every layout that reads a list wants it."""
    from PIL import Image

    outside = place.with_name(f"{place.name}-outside")
    outside.mkdir(exist_ok=True)
    for file in ("out.png", "out.txt"):
        Image.new("L", (4, 4)).save(outside / file, format="PNG")
    names = [f"{i:03d}" for i in range(6)]
    for folder in ("train", "trainannot", "JPEGImages", "SegmentationClass", "Images/kitchen"):
        (place / folder).mkdir(parents=True)
        for name in names:
            Image.new("L", (4, 4)).save(place / folder / f"{name}.png")
    (place / "ImageSets/Segmentation").mkdir(parents=True)
    (place / "link").symlink_to(outside)
    (place / "train/link.png").symlink_to(outside / "out.png")
    (place / "train/loop.png").symlink_to(place / "train/loop.png")


def lists() -> dict[str, tuple[str, str]]:
    """Data set -> its list's place and a valid one."""
    names = [f"{i:03d}" for i in range(6)]
    camvid = [f"/SegNet/CamVid/train/{n}.png /SegNet/CamVid/trainannot/{n}.png" for n in names]
    pairs = ["x1,x2,y1", *(f"train/{n}.png,JPEGImages/{n}.png,trainannot/{n}.png" for n in names)]
    return {
        "camvid": ("train.txt", "\n".join(camvid)),
        "voc": ("ImageSets/Segmentation/train.txt", "\n".join(names)),
        "indoor67": ("TrainImages.txt", "\n".join(f"kitchen/{n}.png" for n in names)),
        "pairs": ("pairs.csv", "\n".join(pairs)),
    }


class Spy:
    """Notes which files are opened outside of a tree."""

    def __init__(self, inside: Path) -> None:
        self.inside, self.on, self.opened = inside, False, list[str]()
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event != "open" or not isinstance(arguments[0], str):
            return
        path = Path(arguments[0])
        late_import = path.suffix in (".py", ".pyc", ".so")
        if not late_import and not path.resolve().is_relative_to(self.inside):
            self.opened.append(arguments[0])


def read_list(place: Path, name: str, spy: Spy) -> None:
    from adapt.data import load
    from adapt.settings.groups import DataConfig

    pairs = str(place / "pairs.csv") if name == "pairs" else ""
    config = DataConfig(name=name, root=str(place), pairs=pairs, train_split="train")
    spy.opened.clear()
    spy.on = True
    try:
        data = load(config, "all" if name == "pairs" else "train")
    finally:
        spy.on = False
        assert not spy.opened, f"opened {spy.opened}"
    for sample in data.samples:
        for path in (sample.x1, sample.x2, sample.y1):
            assert path is None or path.resolve().is_relative_to(place)


def worker(connection: Connection, place: Path, seed: int, files: list[Original]) -> None:
    """Answer every case number with its outcome."""
    from adapt.data.images import only_reading
    from adapt.errors import InputError

    own = place / f"worker-{os.getpid()}"
    tree(own)
    spy = Spy(own.resolve())
    words = place / f"{own.name}.stderr"
    descriptor = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    only_reading()  # as loaders' workers do
    read = readers()
    warm_up(read, own, spy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send({"ready": True})
    while (number := connection.recv()) is not None:
        started, size = time.monotonic(), words.stat().st_size
        outcome = case(number, seed, files, own, read, spy, InputError)
        outcome["ms"] = round(1000 * (time.monotonic() - started), 1)
        outcome["grown"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        sys.stderr.flush()
        if words.stat().st_size > size:
            said = words.read_bytes()[size:].decode(errors="replace")
            outcome["failures"].append(f"on stderr: {said[:500]}")
        connection.send(outcome)


def warm_up(read: dict[str, Callable[[Path], None]], own: Path, spy: Spy) -> None:
    """Import what is imported late, before memory and opened files are watched."""
    for reader in read.values():
        with contextlib.suppress(ValueError):
            reader(own / "train/000.png")
    for name, (file, text) in lists().items():
        (own / file).write_text(text)
        read_list(own, name, spy)


def case(
    number: int, seed: int, files: list[Original], own: Path,
    read: dict[str, Callable[[Path], None]], spy: Spy, refusal: type[Exception],
) -> Outcome:  # fmt: skip
    """Make a case's file and read it by everything that might."""
    rng = np.random.default_rng([seed, number, 1])
    failures: list[str] = []
    results: dict[str, str] = {}

    def attempt(what: str, path: Path, reader: Callable[[], object]) -> None:
        try:
            reader()
            results[what] = "decoded"
        except refusal as error:
            results[what] = "refused"
            if path.name not in str(error) and own.name not in str(error):
                failures.append(f"{what}: no file in {error}")
            if "\n" in str(error).strip():
                failures.append(f"{what}: several lines: {error}")
        except BaseException as error:  # noqa: BLE001
            results[what] = "failed"
            failures.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")

    if rng.random() < LISTS:
        name = pick(rng, list(lists()))
        file, text = lists()[name]
        content, mutation = mutated_text(rng, text)
        (own / file).write_bytes(content)
        attempt(f"list {name}", own / file, lambda: read_list(own, name, spy))
        (own / file).write_text(text)
        kept = own / file
        made = {"kind": f"list of {name}", "mutation": mutation, "file": file}
    else:
        broken = mutant(seed, number, files)
        kept = own / f"case{Path(broken.name).suffix}"
        kept.write_bytes(broken.content)
        for what, reader in read.items():
            if (what == "list .mat") <= (kept.suffix == ".mat"):
                attempt(what, kept, lambda reader=reader: reader(kept))  # type: ignore[misc]
        seen = {what: found for what, found in results.items() if what != "image_header"}
        if broken.refused and "decoded" in seen.values():
            failures.append(f"{broken.mutation} was accepted: {seen}")
        content = broken.content
        made = {"kind": broken.name, "mutation": broken.mutation, "file": broken.name}
    return {"number": number, "results": results, "failures": failures, **made,
            "content": content if failures else b""}  # fmt: skip


# ---- in the process that drives them


class Slot:
    """One worker process, replaced when it hangs or dies."""

    def __init__(self, place: Path, seed: int, files: list[Original], memory: int) -> None:
        self.given = (place, seed, files)
        self.memory, self.number, self.since = memory, -1, 0.0
        self.start()

    def start(self) -> None:
        self.connection, other = get_context("spawn").Pipe()
        self.process = get_context("spawn").Process(
            target=limited, args=(other, *self.given, self.memory), daemon=True
        )
        self.process.start()
        other.close()
        self.number, self.since = -1, time.monotonic()

    def give(self, number: int | None) -> None:
        self.connection.send(number)
        self.number, self.since = -1 if number is None else number, time.monotonic()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def limited(connection: Connection, *given: Any) -> None:
    """A worker whose address space cannot grow by more than twice what it may."""
    *rest, memory = given
    readers()  # what it imports does not count
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (2 * memory << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker(connection, *rest)


def outcomes(numbers: Iterator[int], slots: list[Slot], deadline: float) -> Iterator[Outcome]:
    """The outcomes of all cases in the order in which they end."""
    busy = list(slots)
    while busy:
        ready = wait([s.connection for s in busy], timeout=1.0)
        for slot in list(busy):
            late = time.monotonic() - slot.since > deadline
            if slot.connection not in ready and not late:
                continue
            try:
                found = slot.connection.recv() if slot.connection in ready else None
            except (EOFError, OSError):
                found = None
            if found is None:  # it hangs or is dead
                slot.process.join(2)
                what = "hung" if slot.process.exitcode is None else f"died {slot.process.exitcode}"
                number = slot.number
                slot.end()
                slot.start()
                if number < 0:
                    said = "".join(p.read_text()[-2000:] for p in slot.given[0].glob("*.stderr"))
                    raise RuntimeError(f"a worker {what} before its first case: {said}")
                yield {"number": number, "results": {}, "failures": [f"the process {what}"]}
                continue
            if "number" in found:
                if found["grown"] > slot.memory:
                    found["failures"].append(f"memory grew by {found['grown']} MiB")
                    slot.end()
                    slot.start()
                    yield found
                    continue
                yield found
            if (number := next(numbers, None)) is None:
                slot.give(None)
                busy.remove(slot)
            else:
                slot.give(number)


def run(
    count: int, seed: int, workers: int, keep: Path, *, real: Path | None = None,
    first: int = 0, memory: int = MEMORY, deadline: float = DEADLINE, bar: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run cases first .. first + count - 1; what failed lies in `keep`."""
    from tqdm import tqdm

    files = originals(np.random.default_rng(seed))
    if real is not None:
        photos = sorted(p for p in real.rglob("*") if p.suffix in (".jpg", ".png"))
        files += [Original(p.name, p.read_bytes()) for p in photos[:: max(1, len(photos) // 12)]]
    place = Path(tempfile.mkdtemp(prefix="campaign-"))
    tables = {name: Counter[str]() for name in ("reader", "mutation", "kind")}
    failed: list[dict[str, Any]] = []
    worst: dict[str, tuple[float, int]] = {"ms": (0.0, -1), "grown": (0, -1)}
    numbers = iter(range(first, first + count))
    slots = [Slot(place, seed, files, memory) for _ in range(workers)]
    try:
        for done in tqdm(outcomes(numbers, slots, deadline), total=count, disable=not bar):
            for reader, result in done["results"].items():
                tables["reader"][f"{reader}: {result}"] += 1
            tables["mutation"][done.get("mutation", "?").split("+")[0]] += 1
            tables["kind"][done.get("kind", "?")] += 1
            worst = {k: max(worst[k], (done.get(k, 0), done["number"])) for k in worst}
            if done["failures"]:
                if not done.get("content"):
                    broken = mutant(seed, done["number"], files)
                    done |= {"file": broken.name, "content": broken.content}
                keep.mkdir(parents=True, exist_ok=True)
                name = f"{seed}-{done['number']}-{Path(done['file']).name}"
                (keep / name).write_bytes(done.pop("content"))
                failed.append({k: done[k] for k in ("number", "failures")} | {"file": name})
    finally:
        for slot in slots:
            slot.end()
        shutil.rmtree(place)
    return {
        "count": sum(tables["kind"].values()), "seed": seed,
        "failures": len(failed), "failed": failed,
        "slowest_ms": worst["ms"][0], "slowest": worst["ms"][1],
        "memory_grown_mib": worst["grown"][0], "largest": worst["grown"][1],
        "originals": [f.name for f in files],
        **{name: dict(sorted(table.items())) for name, table in tables.items()},
    }  # fmt: skip


def about() -> dict[str, str]:
    import cv2
    import PIL

    from adapt.machine.runtime import processor

    versions = {"pillow": PIL.__version__, "numpy": np.__version__, "opencv": cv2.__version__}
    python = platform.python_version()
    return {"date": str(date.today()), "cpu": processor(), "python": python, **versions}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", type=int, default=MEMORY, help="MiB")
    parser.add_argument("--real", type=Path, help="folder of photographs to break as well")
    parser.add_argument("--keep", type=Path, default=Path("campaign_images"))
    parser.add_argument("--out", type=Path, default=ROOT / "results/campaign_images.json")
    given = parser.parse_args()
    found = run(given.count, given.seed, given.workers, given.keep, real=given.real,
                first=given.first, memory=given.memory, bar=True)  # fmt: skip
    for name, figure in found["reader"].items():
        print(f"{name:28}{figure:>9}")
    worst = f"{found['slowest_ms']} ms, memory grew by {found['memory_grown_mib']} MiB"
    print(f"{found['count']} cases, {found['failures']} failures; slowest {worst}")
    real = " --real DIR" if given.real else ""
    command = f"python tests/campaigns/images.py --count {given.count} --seed {given.seed}{real}"
    report = {"command": command, **about(), **found}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(1 if found["failures"] else 0)


if __name__ == "__main__":
    main()
