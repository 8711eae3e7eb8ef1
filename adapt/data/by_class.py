"""Images in a folder for each class: one label an image, the class's place among sorted names."""

from collections.abc import Callable
from pathlib import Path

from adapt.data.files import folder, stems, unique
from adapt.data.sample import Layout, Sample
from adapt.errors import InputError, listing, unknown
from adapt.settings.groups import DataConfig


def classes_in(where: Path) -> tuple[str, ...]:
    """Sorted names of the folders in `where`.

    Raises:
        InputError: no such folder, or none in it.
    """
    found = sorted(p.name for p in folder(where, "data.root").iterdir() if p.is_dir())
    names = tuple(name for name in found if not name.startswith("."))
    if not names:
        raise InputError(f"{where}: no folders inside; every class of images has one")
    return names


def samples_below(where: Path, classes: tuple[str, ...]) -> list[Sample]:
    """Every image of the class folders of `where`, in order of classes and names; a class may lack
    its folder."""
    return [
        Sample(f"{name}/{stem}", path, label=label)
        for label, name in enumerate(classes)
        if (where / name).is_dir()
        for stem, path in stems(where / name).items()
    ]


def samples_listed(source: Path, entries: list[str], images: Path) -> list[Sample]:
    """The images that a list names as `<class>/<file>`, below the folder `images`; files match by
    stem, so that lists without a suffix and shifted twins (PNG) serve as well.

    Raises:
        InputError: with the entry's number, for a class or an image that is not there.
    """
    label_of = {name: label for label, name in enumerate(classes_in(images))}
    tables: dict[str, dict[str, Path]] = {}
    samples = []
    for number, entry in enumerate(entries, 1):
        where = f"{source}:{number}"
        name, file = Path(entry).parent.name, Path(entry)
        if name not in label_of:
            raise unknown(f"{where}: class", name, label_of)
        if name not in tables:
            tables[name] = stems(images / name)
        stem = file.stem if file.suffix else file.name
        if stem not in tables[name]:
            raise InputError(f"{where}: no image {stem!r} in {images / name}")
        samples.append(Sample(f"{name}/{stem}", tables[name][stem], label=label_of[name]))
    unique([s.name for s in samples], source)
    return samples


def home_of(marker: str, *inside_root: str) -> Callable[[Path], Path]:
    """The folder in which `marker` lies: the given root, or one of the folders below it that
    archives and torchvision make."""

    def home(root: Path) -> Path:
        folder(root, "data.root")
        for candidate in (root, *(root / name for name in inside_root)):
            if (candidate / marker).is_dir():
                return candidate
        also = f" (nor in {listing(inside_root)} below it)" if inside_root else ""
        raise InputError(f"data.root: no folder {marker} in {root}{also}")

    return home


def no_list(root: Path, split: str, samples: list[Sample]) -> None:
    """A data set whose splits are not lists."""


def home(root: Path) -> Path:
    return folder(root, "data.root (folders)")


def splits(root: Path) -> list[str]:
    return list(classes_in(root))


def find(config: DataConfig, root: Path) -> tuple[str, ...]:
    """The classes of the training split's folders."""
    return classes_in(root / (config.train_split or FOLDERS.train_split))


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Every image of <split>/<class>/, as torchvision.datasets.ImageFolder reads it.

    Raises:
        InputError: no such split, or a class in it that the training split lacks.
    """
    if split not in splits(root):
        raise unknown(f"data split of {root}", split, splits(root))
    classes = find(config, root)
    if extra := set(classes_in(root / split)) - set(classes):
        raise InputError(
            f"{root / split}: no class of the training split: {listing(extra)}; "
            f"it has {listing(classes)}"
        )
    return samples_below(root / split, classes)


FOLDERS = Layout((), (), "train", home, splits, read, no_list, find=find)
