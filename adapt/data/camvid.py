"""CamVid in SegNet's layout: {split}.txt, {split}/, {split}annot/ (Badrinarayanan et al. 2017)."""

from pathlib import Path

from adapt.data.files import Lookup, folder, inside, lines, list_file, unique
from adapt.data.sample import Layout, Sample
from adapt.disk.files import write_whole
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def splits(root: Path) -> list[str]:
    return sorted(p.stem for p in root.glob("*.txt") if (root / p.stem).is_dir())


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Lines are `image label`. Whatever precedes the last folder is ignored, as in the public
    lists' `/SegNet/CamVid/train/…`, and files match by stem, so png and jpg both serve."""
    root = home(root)
    source = list_file(root, f"{split}.txt", config.follow_links)
    tables: dict[str, dict[str, Path]] = {}
    samples, lookup = [], Lookup()
    for number, line in enumerate(lines(source), 1):
        where = f"{source}:{number}"
        entries = line.split()
        if len(entries) != 2:
            raise InputError(f"{where}: expected 'image label', got {line!r}")
        files = []
        for entry in entries:
            parent, stem = Path(entry).parent.name, Path(entry).stem
            if parent not in tables:
                place = inside(root, parent, where, config.follow_links)
                tables[parent] = lookup.table(folder(place, f"{where}: {entry!r}"))
            files.append(lookup.pick(tables[parent], stem, where))
        if files[0] and files[1]:
            samples.append(Sample(name=Path(entries[0]).stem, x1=files[0], y1=files[1]))
    unique([s.name for s in samples], source)
    return lookup.complete(samples)


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    rows = [
        " ".join(f.relative_to(root).as_posix() for f in (s.x1, s.y1) if f is not None)
        for s in samples
    ]
    write_whole(root / f"{split}.txt", ("\n".join(rows) + "\n").encode())


def home(root: Path) -> Path:
    return folder(root, "data.root (CamVid)")


CAMVID = Layout(CLASSES, (11,), "train", home, splits, read, write_list)
