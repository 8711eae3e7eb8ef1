"""Data sets with one label a pixel: CamVid, PASCAL VOC and what else is annotated of it, LIP, and
Cityscapes.

camvid       {split}.txt, {split}/, {split}annot/, as in SegNet (Badrinarayanan et al. 2017)
voc          JPEGImages/, SegmentationClass/ or SegmentationClassAug/, ImageSets/Segmentation/;
             SBD (Hariharan et al. 2011) adds the masks of `trainaug`
scenes       the embedded scenes, which lie on disk as VOC does
context      PASCAL Context (Mottaghi et al. 2014) as mmsegmentation's converter writes it: VOC
             2010's JPEGImages/, SegmentationClassContext/, ImageSets/SegmentationContext/
person_part  PASCAL-Person-Part (Chen et al. 2014): VOC's JPEGImages/, ImageSets/Person/ with the
             lists and gt/
d3           PASCAL-Person-Part and SBD of the same images: D3 of Dai's thesis (2018)
lip          the multi-person part of Look into Person (Gong et al. 2017): Training/, Validation/,
             each with Images/, Category_ids/ and its list
cityscapes   leftImg8bit/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png,
             gtFine/…_gtFine_labelIds.png, gtCoarse/train_extra/…  (Cordts et al. 2016)
"""

from collections.abc import Callable
from pathlib import Path

from adapt.data.files import (
    Layout,
    Lookup,
    bare,
    folder,
    home_of,
    inside,
    lines,
    list_file,
    numbered,
    say_once,
    unique,
    write_lines,
)
from adapt.data.samples import Sample, Task
from adapt.data.scenes import CLASSES as SCENE_CLASSES
from adapt.errors import InputError, listing
from adapt.settings.groups import DataConfig

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip
CITYSCAPES_LABELS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip
"""Value in labelIds files -> class, in the order of the 19 train ids. The other values of 0..33 are
not scored."""

CONTEXT_CLASSES = (
    "background", "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat",
    "book", "bottle", "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth",
    "computer", "cow", "cup", "curtain", "dog", "door", "fence", "floor", "flower", "food", "grass",
    "ground", "horse", "keyboard", "light", "motorbike", "mountain", "mouse", "person", "plate",
    "platform", "potted plant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky",
    "snow", "sofa", "table", "track", "train", "tree", "truck", "tv monitor", "wall", "water",
    "window", "wood",
)  # fmt: skip
PART_CLASSES = (
    "background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs",
)  # fmt: skip
LIP_CLASSES = (
    "background", "hat", "hair", "gloves", "sunglasses", "upper clothes", "dress", "coat", "socks",
    "pants", "torso skin", "scarf", "skirt", "face", "left arm", "right arm", "left leg",
    "right leg", "left shoe", "right shoe",
)  # fmt: skip

LISTS = Path("ImageSets/Segmentation")
TRAIN, VAL, TRAINAUG = 1464, 1449, 10582
"""Sizes of VOC 2012's lists and of the union with SBD."""


def camvid(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Lines are `image label`. Whatever precedes the last folder is ignored, as in the public
    lists' `/SegNet/CamVid/train/…`, and files match by stem, so png and jpg both serve."""
    source = list_file(CAMVID.home(root), f"{split}.txt", config.follow_links)
    tables: dict[str, dict[str, Path]] = {}
    samples, lookup = [], Lookup()
    for number, line in numbered(source):
        where = f"{source}:{number}"
        entries = line.split()
        if len(entries) != 2:
            raise InputError(f"{where}: expected 'image label', got {line!r}")
        files = []
        for entry in entries:
            parent, stem = Path(entry).parent.name, bare(Path(entry).name)
            if parent not in tables:
                place = inside(root, parent, where, config.follow_links)
                tables[parent] = lookup.table(folder(place, f"{where}: {entry!r}"))
            files.append(lookup.pick(tables[parent], stem, where))
        if files[0] and files[1]:
            samples.append(Sample(bare(Path(entries[0]).name), files[0], files[1]))
    unique([s.name for s in samples], source)
    return lookup.complete(samples)


def write_camvid(root: Path, split: str, samples: list[Sample]) -> None:
    files = ([f.relative_to(root).as_posix() for f in (s.x1, s.y1) if f] for s in samples)
    write_lines(root / f"{split}.txt", [" ".join(row) for row in files])


CAMVID = Layout(
    CAMVID_CLASSES, (11,), "train", lambda root: folder(root, "data.root (CamVid)"),
    lambda root: sorted(p.stem for p in root.glob("*.txt") if (root / p.stem).is_dir()),
    camvid, write_camvid,
)  # fmt: skip


voc_home = home_of("JPEGImages", "VOC2012", "VOCdevkit/VOC2012")


def voc_splits(root: Path) -> list[str]:
    names = ("train", "val", "trainval", "test")
    return [name for name in names if (voc_home(root) / LISTS / f"{name}.txt").is_file()]


def voc_names(source: Path) -> list[str]:
    """`2007_000032` also from public lists' `/JPEGImages/2007_000032.jpg /Segmentation….png`."""

    def image(line: str) -> str:
        cells = line.split(maxsplit=1)
        return cells[0] if len(cells) == 2 and all(Path(cell).suffix for cell in cells) else line

    return [bare(Path(image(line)).name) for line in lines(source)]


def trainaug(config: DataConfig, root: Path) -> list[str]:
    """VOC train united with SBD's train and val, without VOC val: 10,582 names."""
    listed = list_file(root, LISTS / "trainaug.txt", config.follow_links)
    if listed.is_file():
        return voc_names(listed)
    if not config.sbd:
        raise InputError(
            f"{listed}: no such list; give it, or data.sbd=DIR (SBD's benchmark_RELEASE/dataset), "
            "or data.train_split=train"
        )

    def names_in(place: Path, split: str) -> list[str]:
        return voc_names(list_file(place, f"{split}.txt", config.follow_links))

    sbd = folder(Path(config.sbd), "data.sbd")
    train, val = (names_in(root / LISTS, s) for s in ("train", "val"))
    union = set(train).union(*(names_in(sbd, s) for s in ("train", "val")))
    names = sorted(union - set(val))
    if (len(train), len(val)) == (TRAIN, VAL) and len(names) != TRAINAUG:
        raise InputError(f"data.sbd: the union without val has {len(names)} names, not {TRAINAUG}")
    return names


def label_tables(config: DataConfig, root: Path, lookup: Lookup) -> list[dict[str, Path]]:
    """The tables in which a label is looked for; the first that has it wins."""
    suffixes = (".png", ".mat")
    sbd = [Path(config.sbd) / "cls"] if config.sbd else []
    places = [root / "SegmentationClassAug", root / "SegmentationClass", *sbd]
    found = [lookup.table(place, suffixes) for place in places if place.is_dir()]
    if not found:
        raise InputError(f"data.root: no SegmentationClass folder in {root}")
    return found


def voc(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """The images of a list with their masks; those of `test` are with the test server."""
    root = voc_home(root)
    source = list_file(root, LISTS / f"{split}.txt", config.follow_links)
    names = trainaug(config, root) if split == "trainaug" else voc_names(source)
    unique(names, source)
    samples, lookup = [], Lookup()
    images = lookup.table(root / "JPEGImages")
    if split == "test":
        found = {name: lookup.pick(images, name, str(source)) for name in names}
        return lookup.complete([Sample(name, image) for name, image in found.items() if image])
    labels = label_tables(config, root, lookup)
    for name in names:
        image = lookup.pick(images, name, str(source))
        table = next((t for t in labels if name in t), labels[0])
        label = lookup.pick(table, name, str(source))
        if image and label:
            samples.append(Sample(name, image, label))
    return lookup.complete(samples)


def write_voc(root: Path, split: str, samples: list[Sample]) -> None:
    write_lines(root / LISTS / f"{split}.txt", [s.name for s in samples])


VOC = Layout(VOC_CLASSES, (), "trainaug", voc_home, voc_splits, voc, write_voc)
SCENES = Layout(SCENE_CLASSES, (), "train", voc_home, voc_splits, voc, write_voc)


def named(
    classes: tuple[str, ...],
    home: Callable[[Path], Path],
    places: Callable[[str], tuple[str, str, str]],
    sizes: dict[str, int],
) -> Layout:
    """A data set with a list of names for each split, which images and masks have as stems.

    Args:
        classes: in the order of their values in the masks.
        home: finds the folder that everything lies below.
        places: split -> its list, its folder of images and that of its masks.
        sizes: how many names the published list of each split has. A line says where another one
            has more or fewer, because figures of others do not compare then.
    """

    def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
        root = home(root)
        listed, *folders = places(split)
        source, lookup = list_file(root, listed, config.follow_links), Lookup()
        names = voc_names(source)
        unique(names, source)
        if len(names) != sizes.get(split, len(names)):
            say_once(f"{source}: it has {len(names)} names, the published list {sizes[split]}")
        tables, samples = [lookup.table(root / place) for place in folders], list[Sample]()
        for name in names:
            image, mask = (lookup.pick(table, name, str(source)) for table in tables)
            if image and mask:
                samples.append(Sample(name, image, mask))
        return lookup.complete(samples)

    def write(root: Path, split: str, samples: list[Sample]) -> None:
        write_lines(root / places(split)[0], [s.name for s in samples])

    return Layout(
        classes, (), "train", home,
        lambda root: [split for split in sizes if (home(root) / places(split)[0]).is_file()],
        read, write,
    )  # fmt: skip


CONTEXT = named(
    CONTEXT_CLASSES,
    home_of("SegmentationClassContext", "VOC2010", "VOCdevkit/VOC2010"),
    lambda split: (
        f"ImageSets/SegmentationContext/{split}.txt", "JPEGImages", "SegmentationClassContext",
    ),
    {"train": 4998, "val": 5105},
)  # fmt: skip
PERSON_PART = named(
    PART_CLASSES,
    voc_home,
    lambda split: (f"ImageSets/Person/{split}.txt", "JPEGImages", "ImageSets/Person/gt"),
    {"train": 1716, "val": 1817},
)


def d3(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """The images that PASCAL-Person-Part and SBD both have in a split, with the parts of the one
    and the classes of the other."""
    if not config.sbd:
        raise InputError("data=d3 needs data.sbd=DIR (SBD's benchmark_RELEASE/dataset)")
    sbd, lookup = folder(Path(config.sbd), "data.sbd"), Lookup()
    source = list_file(sbd, f"{split}.txt", config.follow_links)
    both, masks = set(voc_names(source)), lookup.table(sbd / "cls", (".mat",))
    samples = list[Sample]()
    for sample in PERSON_PART.read(config, root, split):
        mask = lookup.pick(masks, sample.name, str(source)) if sample.name in both else None
        if mask and sample.y1:
            maps = {"y1_semantic": mask, "y1_parts": sample.y1}
            samples.append(Sample(sample.name, sample.x1, maps=maps))
    return lookup.complete(samples)


D3 = Layout(
    (), (), "train", voc_home, PERSON_PART.splits, d3, PERSON_PART.write_list,
    tasks={"semantic": Task(VOC_CLASSES), "parts": Task(PART_CLASSES)},
)  # fmt: skip


def lip_places(split: str) -> tuple[str, str, str]:
    folder = {"train": "Training", "val": "Validation"}.get(split, split)
    return f"{folder}/{split}_id.txt", f"{folder}/Images", f"{folder}/Category_ids"


LIP = named(
    LIP_CLASSES, home_of("Training", "instance-level_human_parsing"), lip_places,
    {"train": 28280, "val": 5000},
)  # fmt: skip


def images_of(root: Path) -> Path:
    """Cityscapes' folder leftImg8bit, or its one folder leftImg8bit*: sets of the same frames under
    other names, such as leftImg8bit_foggy, serve as the new domain. None, or several others, are an
    InputError."""
    folder(root, "data.root (Cityscapes)")
    found = sorted(p for p in root.glob("leftImg8bit*") if p.is_dir())
    if len(found) > 1 and found[0].name == "leftImg8bit":
        return found[0]
    if len(found) != 1:
        there = listing(p.name for p in found) or "none"
        raise InputError(f"{root}: one folder leftImg8bit* is expected; there: {there}")
    return found[0]


def frames(where: Path, lookup: Lookup, ending: str = "") -> dict[str, Path]:
    """<city>_<sequence>_<frame> -> file below the city folders of `where`, of the files whose stems
    end in `ending`; raises InputError for none, or for two files of one frame. Cities have no
    underscore in their names."""
    found: dict[str, Path] = {}
    for city in sorted(p for p in folder(where, "data (Cityscapes)").iterdir() if p.is_dir()):
        for stem, path in lookup.table(city).items():
            if not stem.endswith(ending):
                continue
            if (name := "_".join(stem.split("_")[:3])) in found:
                text = f"{found[name].name} and {path.name} are the same frame; choose by the end"
                raise InputError(f"{city}: {text} of their names: data.variant=beta_0.02, say")
            found[name] = path
    if not found:
        what = f" that end in {ending!r}" if ending else ""
        raise InputError(f"{where}: no images in city folders{what}")
    return found


def cityscapes(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Every frame of a split, by name; `train` with data.coarse also has train_extra's."""
    if config.target and Path(config.target) == Path(config.root):
        raise InputError(f"data.target is {config.target}, as data.root: new images need their own")
    samples = labelled_frames(config, root, split, "gtFine")
    if split == "train" and config.coarse:
        samples += labelled_frames(config, root, "train_extra", "gtCoarse")
    return samples


def labelled_frames(config: DataConfig, root: Path, split: str, kind: str) -> list[Sample]:
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


CITYSCAPES = Layout(
    tuple(CITYSCAPES_LABELS.values()),
    tuple(value for value in range(34) if value not in CITYSCAPES_LABELS), "train",
    lambda root: images_of(root).parent,
    lambda root: [s for s in ("train", "val", "test") if (images_of(root) / s).is_dir()],
    cityscapes, codes=tuple(CITYSCAPES_LABELS),
)  # fmt: skip
