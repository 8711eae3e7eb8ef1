"""Cityscapes (Cordts et al. 2016): 19 classes for training, fine and coarse labels.

    leftImg8bit/{train,train_extra,val,test}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    gtFine/{train,val}/<city>/…_gtFine_labelIds.png
    gtCoarse/train_extra/<city>/…_gtCoarse_labelIds.png

Sets of the same frames under other names, such as leftImg8bit_foggy or leftImg8bit_rain, serve as
the new domain.
"""

from pathlib import Path

from adapt.data.files import Lookup, folder
from adapt.data.sample import Layout, Sample
from adapt.errors import InputError, listing
from adapt.settings.groups import DataConfig

LABELS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip
"""Value in labelIds files -> class, in the order of the 19 train ids. The other values of 0..33 are
not scored."""
CODES = tuple(LABELS)
VOID = tuple(value for value in range(34) if value not in LABELS)
SPLITS = ("train", "val", "test")
EXTRA = "train_extra"


def images_of(root: Path) -> Path:
    """The one folder leftImg8bit*.

    Raises:
        InputError: none, or several (Foggy Cityscapes beside Cityscapes, say).
    """
    folder(root, "data.root (Cityscapes)")
    found = sorted(p for p in root.glob("leftImg8bit*") if p.is_dir())
    if len(found) != 1:
        shown = listing(p.name for p in found) or "none"
        raise InputError(f"{root}: one folder leftImg8bit* is expected; there: {shown}")
    return found[0]


def frame(stem: str) -> str:
    """<city>_<sequence>_<frame> of a file's name; cities have no underscore."""
    return "_".join(stem.split("_")[:3])


def frames(where: Path, lookup: Lookup, ending: str = "") -> dict[str, Path]:
    """Frame -> file below the city folders of `where`, of the files whose stems end so.

    Raises:
        InputError: no files, or several of one frame.
    """
    found: dict[str, Path] = {}
    for city in sorted(p for p in folder(where, "data (Cityscapes)").iterdir() if p.is_dir()):
        for stem, path in lookup.table(city).items():
            if not stem.endswith(ending):
                continue
            if (name := frame(stem)) in found:
                raise InputError(
                    f"{city}: {found[name].name} and {path.name} are the same frame; choose by the "
                    "end of their names, for example data.variant=beta_0.02"
                )
            found[name] = path
    if not found:
        what = f" that end in {ending!r}" if ending else ""
        raise InputError(f"{where}: no images in city folders{what}")
    return found


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Every frame of a split, by name; `train` with data.coarse also has train_extra's."""
    samples = samples_of(config, root, split, "gtFine")
    if split == "train" and config.coarse:
        samples += samples_of(config, root, EXTRA, "gtCoarse")
    return samples


def samples_of(config: DataConfig, root: Path, split: str, kind: str) -> list[Sample]:
    where = images_of(root) / split
    own = root == Path(config.root)  # data.variant is the new domain's
    lookup = Lookup()
    images = frames(where, lookup, "" if own else config.variant)
    kept_back = split == "test"  # its labels are with the test server
    if kept_back or not ((root / kind).is_dir() or own):
        return lookup.complete([Sample(name, path) for name, path in images.items()])
    labels = frames(root / kind / split, lookup, f"_{kind}_labelIds")
    found = {name: lookup.pick(labels, name, str(where)) for name in images}
    return lookup.complete([Sample(n, images[n], label) for n, label in found.items() if label])


def splits(root: Path) -> list[str]:
    return [name for name in SPLITS if (images_of(root) / name).is_dir()]


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    """Cityscapes has no lists."""


def home(root: Path) -> Path:
    images_of(root)
    return root


CITYSCAPES = Layout(
    tuple(LABELS.values()), VOID, "train", home, splits, read, write_list, codes=CODES
)
