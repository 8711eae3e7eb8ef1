"""An aligned copy of the pairs: one side as it is, the other in its geometry, and what it shows."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from adapt.align.estimate import Compared
from adapt.data import void_written
from adapt.data.archives import MAX_BYTES, opened
from adapt.data.copies import MANIFEST, Output, make_all, write_manifest
from adapt.data.images import (
    decode,
    holding,
    image_size,
    png,
    read_indices,
    read_valid,
    voc_palette,
)
from adapt.data.pairs import COLUMNS
from adapt.data.video import frame_of
from adapt.data.warp import covered, masked, warped
from adapt.disk.files import write_whole
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.settings.align import AlignConfig

PAIRS = "pairs.csv"
Row = dict[str, Output]
"""Column of COLUMNS -> the file of a pair."""


def as_it_is(source: Path) -> bytes:
    """The bytes of a file, or of a video's frame those of a PNG."""
    if frame_of(source):
        return encoded(source, decode(source).values)
    with opened(source, MAX_BYTES, "image") as stream:
        return stream.read()


def image(source: Path, matrix: np.ndarray, size: tuple[int, int]) -> bytes:
    """All channels of a file, warped."""
    return encoded(source, warped(decode(source).values, matrix, size))


def encoded(source: Path, values: np.ndarray) -> bytes:
    """Grey, RGB or RGBA (H, W, C) of 8 or 16 bits as PNG."""
    channels = values.shape[2]
    if channels not in (1, 3, 4) or values.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{source}: has {channels} bands of {values.dtype}, for which PNG has no room: leave "
            "twin empty, as data.transforms warps images as they are read"
        )
    ordered = values[..., [2, 1, 0, 3][:channels]] if channels > 1 else values
    return cv2.imencode(".png", ordered)[1].tobytes()


def labels(source: Path, matrix: np.ndarray, size: tuple[int, int], void: int) -> bytes:
    found = warped(holding(read_indices(source), void), matrix, size, void)
    return png(found, voc_palette())


def seen(source: Path, matrix: np.ndarray, size: tuple[int, int], void: int, image: Path) -> bytes:
    """Labels that stay, void where the warped `image` shows nothing."""
    inside = covered(matrix, image_size(image), size)
    return png(masked(holding(read_indices(source), void), inside, void), voc_palette())


def valid(
    source: Path, matrix: np.ndarray, size: tuple[int, int], mask: Path | None, moves: bool
) -> bytes:
    """White where the warped image shows something that the pair's own mask, if any, lets count;
    that one `moves` with the image or stays."""
    inside = covered(matrix, image_size(source), size)
    if mask is not None:
        own = read_valid(mask)
        inside &= warped(own, matrix, size, void=0) if moves else own
    return png(255 * inside)


def folder_of(config: AlignConfig) -> Path:
    """Where the twin lies."""
    return Path(config.out) / f"aligned_{config.twin}"


def write_twin(config: AlignConfig, pairs: Sequence[Compared]) -> Path:
    """Write or complete the twin of pairs; returns its manifest."""
    folder = folder_of(config)
    void = void_written(config.data)
    rows = [outputs_of(pair, folder, config.twin, void) for pair in pairs]
    outputs = [output for row in rows for output in row.values()]
    digests = make_all(folder, outputs, config.workers, "twin")
    columns = [column for column in COLUMNS if any(column in row for row in rows)]
    table = [
        [row[c].target.relative_to(folder).as_posix() if c in row else "" for c in columns]
        for row in rows
    ]
    write_whole(folder / PAIRS, csv_of([columns, *table]))
    return write_manifest(folder / MANIFEST, {"side": config.twin}, digests)


def outputs_of(found: Compared, out: Path, side: str, void: int) -> Row:
    """The files of a pair in the twin, of which `side`, x1 or x2, is warped with its labels. Labels
    of x1 that x2 shares are void, as labels of x2, where that shows nothing."""
    sample, kept = found.sample, "x1" if side == "x2" else "x2"
    matrix = found.files if side == "x2" else np.linalg.inv(found.files)
    old, new = sample.x1, sample.x2 or sample.x1
    still, moving = (old, new) if side == "x2" else (new, old)
    where = {"matrix": matrix, "size": image_size(still)}

    def kept_file(column: str, source: Path) -> Output:
        suffix = ".png" if frame_of(source) else source.suffix
        same = suffix == source.suffix
        return Output(source, out / column / f"{sample.name}{suffix}", as_it_is, same)

    def made(column: str, source: Path, make: Callable[..., bytes], **more: object) -> Output:
        how = partial(make, **where, **more)
        return Output(source, out / column / f"{sample.name}.png", how, same=False)

    row = {kept: kept_file(kept, still), side: made(side, moving, image)}
    own = sample.y2 if sample.y2 != sample.y1 else None
    if sample.y1:
        row["y1"] = (
            kept_file("y1", sample.y1) if side == "x2" else made("y1", sample.y1, labels, void=void)
        )
    if own:
        row["y2"] = kept_file("y2", own) if side == "x1" else made("y2", own, labels, void=void)
    elif sample.y1 and side == "x2":
        row["y2"] = made("y2", sample.y1, seen, void=void, image=new)
    row["valid"] = made("valid", moving, valid, mask=sample.valid, moves=side == "x1")
    return row
