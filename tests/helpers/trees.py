"""Small data sets in the layouts of the real ones, for fixtures and for programs."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 56
CELL = 8


def scene(rng: np.random.Generator, labels: int, void: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy RGB (H, W, 3) whose blocks have a colour for each class, and their labels (H, W), in
    which each of 0..labels-1 and `void` occurs."""
    rows, columns = HEIGHT // CELL, WIDTH // CELL
    blocks = rng.integers(0, labels, rows * columns)
    blocks[: labels + 1] = [*range(labels), void]
    blocks = rng.permutation(blocks).reshape(rows, columns)
    mask = np.kron(blocks, np.ones((CELL, CELL), int)).astype(np.uint8)
    colours = np.random.default_rng(0).integers(40, 216, (256, 3))
    image = colours[mask] + rng.integers(-40, 40, (*mask.shape, 3))
    return image.astype(np.uint8), mask


def camvid(root: Path, train: int = 6, val: int = 3, scale: int = 1) -> Path:
    """CamVid as SegNet's authors publish it: PNG, classes 0..10, void 11, lists with the absolute
    paths of their machine. Every pixel of a 40 x 56 scene becomes scale x scale."""
    rng = np.random.default_rng(1)
    for split, count in (("train", train), ("val", val)):
        names = [f"{split}_{i:03d}.png" for i in range(count)]
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for name in names:
            image, mask = (
                np.kron(a, np.ones((scale, scale, 1)[: a.ndim], np.uint8))
                for a in scene(rng, labels=11, void=11)
            )
            Image.fromarray(image).save(root / split / name)
            Image.fromarray(mask).save(root / f"{split}annot" / name)
        rows = [f"/SegNet/CamVid/{split}/{n} /SegNet/CamVid/{split}annot/{n}" for n in names]
        (root / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return root


def images(folder: Path, *files: str, size: tuple[int, int] = (4, 3)) -> Path:
    """Black grey images of `size` (W, H) under these names; returns the folder."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size).save(path)
    return folder


def listed(root: Path, source: str, photos: str, masks: str, names: list[str], labels: int) -> None:
    """JPEGs and masks of `labels` classes and void 255 under these names, and their list."""
    rng = np.random.default_rng(3)
    for folder in (root / photos, root / masks, (root / source).parent):
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        image, mask = scene(rng, labels=min(labels, 20), void=255)
        Image.fromarray(image).save(root / photos / f"{name}.jpg")
        Image.fromarray(mask).save(root / masks / f"{name}.png")
    (root / source).write_text("".join(f"{name}\n" for name in names))


def context(root: Path) -> None:
    """PASCAL Context: 3 train, 2 val."""
    for split, names in (("train", ["2008_1", "2008_2", "2009_3"]), ("val", ["2008_4", "2010_5"])):
        source = f"ImageSets/SegmentationContext/{split}.txt"
        listed(root, source, "JPEGImages", "SegmentationClassContext", names, 60)


def person_part(root: Path) -> None:
    """PASCAL-Person-Part: 3 train, 2 val."""
    for split, names in (("train", ["2008_1", "2008_2", "2009_3"]), ("val", ["2008_4", "2010_5"])):
        source = f"ImageSets/Person/{split}.txt"
        listed(root, source, "JPEGImages", "ImageSets/Person/gt", names, 7)


def d3(root: Path) -> Path:
    """PASCAL-Person-Part with an SBD beside it, which is returned, of one more training image, one
    fewer, and one of val that Person-Part trains on."""
    from scipy.io import savemat

    person_part(root)
    (sbd := root.parent / "sbd").joinpath("cls").mkdir(parents=True)
    for split, names in (
        ("train", ["2008_1", "2009_3", "2009_9"]), ("val", ["2008_2", "2008_4", "2010_5"]),
    ):  # fmt: skip
        (sbd / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            mask = scene(np.random.default_rng(4), labels=20, void=255)[1]
            savemat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": mask}})
    return sbd


def lip(root: Path) -> None:
    """LIP's multi-person part: 3 train, 2 val."""
    for place, split, names in (
        ("Training", "train", ["0000006", "0000007", "0000009"]),
        ("Validation", "val", ["0000001", "0000002"]),
    ):
        source, masks = f"{place}/{split}_id.txt", f"{place}/Category_ids"
        listed(root, source, f"{place}/Images", masks, names, 20)


LISTED = {"context": context, "person_part": person_part, "lip": lip}
"""Data sets whose lists name the stems of images and masks."""
