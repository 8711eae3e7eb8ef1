"""The one place that opens images. Strict: what cannot be read as stated is refused by name.

What stands in a file comes from formats (JPEG, PNG, WebP, BMP), tiff and video; here it becomes an
image of the channels and the range that the settings name, or an index mask.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from adapt.data import tiff
from adapt.data.archives import MAX_BYTES, opened, read_mat
from adapt.data.formats import Header, Raster, decode_picture, opened_picture
from adapt.data.video import frame_header, frame_of, read_frame
from adapt.disk.files import write_whole
from adapt.errors import InputError, listing

IGNORE = 255
"""Void in masks of 8 bits; `void_of` is that of an index mask."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".jpe", ".jfif", *tiff.SUFFIXES)
DEEP = 65_535
"""The largest value of images with more than 8 bits, which are uint16 in memory."""


def index_type(classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of index masks (H, W) of so many classes: the smallest one whose largest value is no
    class, because that is void."""
    return np.uint8 if classes <= IGNORE else np.uint16


def void_of(classes: int) -> int:
    """Void in decoded index masks of so many classes, in losses, metrics and padding: 255, or 65535
    where there are more than 255 classes."""
    return int(np.iinfo(index_type(classes)).max)


def void_beside(values: np.ndarray) -> int:
    """Void in masks whose classes have these values: the largest of the type that none has."""
    return next(v for v in range(void_of(len(values)), -1, -1) if v not in values)


def holding(labels: np.ndarray, value: int) -> np.ndarray:
    """Labels in a type that has room for a value."""
    return labels.astype(np.promote_types(labels.dtype, np.min_scalar_type(value)), copy=False)


def image_header(path: Path) -> Header:
    """What a file says of itself, from its header alone; raises InputError as `read_image`, but for
    what only the pixels show."""
    if frame := frame_of(path):
        return frame_header(*frame)
    with opened(path, MAX_BYTES, "image") as stream:
        if stream.peek(4)[:4] in tiff.TIFF:
            return tiff.tiff_header(path, stream)
        with opened_picture(path, stream) as picture:
            return picture.header


def image_size(path: Path) -> tuple[int, int]:
    return image_header(path).size


def decode(path: Path, *, mask: bool = False, indices: bool = False) -> Raster:
    """All channels of a file, turned upright by its EXIF orientation. A `mask` must be stored
    upright and without loss; with `indices` its values are as in the file, else as colours."""
    if frame := frame_of(path):
        if mask:
            raise InputError(f"{path}: a mask must not be a frame of a video; give a PNG")
        return Raster(read_frame(*frame))
    with opened(path, MAX_BYTES, "image") as stream:
        content = stream.read()
    if content[:4] in tiff.TIFF:
        return tiff.decode_tiff(path, io.BytesIO(content), indices=indices)
    return decode_picture(path, content, mask=mask, indices=indices)


def read_image(path: Path, bands: Sequence[int] = (), limits: Sequence[float] = ()) -> np.ndarray:
    """An image as `prepared` makes it of a file.

    Raises:
        InputError: as `prepared`; or the file is of another kind, broken, cut off, an animation, or
            above MOST_PIXELS.
    """
    return prepared(str(path), decode(path), bands, limits)


def prepared(
    where: str, raster: Raster, bands: Sequence[int] = (), limits: Sequence[float] = ()
) -> np.ndarray:
    """The image (H, W, C) that a network is to see: uint8 of files with 8 bits a value, else uint16
    whose 0..65535 are the `limits`, so that a value's share of its type's range is what counts.

    Args:
        where: the file, for messages.
        raster: what is in it.
        bands: channels from 1 on, in their order, alpha being one of them; () = red, green and blue
            of an image with three, the grey of one three times, alpha left out.
        limits: lowest and highest value of files that have not 8 bits, beyond which values are cut
            off; () = the range of their type.

    Raises:
        InputError: a number of channels that needs `bands`, a band that is not there, a type that
            needs `limits`, or values that are not finite.
    """
    values, count = raster.values, raster.values.shape[2]
    chosen = selection(where, count, raster.alpha, bands)
    if chosen != list(range(count)):
        ordered = chosen == list(range(len(chosen)))
        values = values[..., : len(chosen)] if ordered else values[..., chosen]
    if values.dtype != np.uint8:
        values = scaled(where, values, raster.top, limits)
    return np.ascontiguousarray(values if bands or len(chosen) > 1 else values.repeat(3, axis=2))


def selection(where: str, count: int, alpha: bool, bands: Sequence[int]) -> list[int]:
    """The places of the channels that are read of a file with `count`; raises as `prepared`."""
    colours = count - alpha
    if not bands and colours not in (1, 3):
        raise InputError(
            f"{where}: has {count} bands; data.bands, or of x2 data.bands_x2, says which ones are "
            "read: data.bands=[3,2,1]"
        )
    if bands and max(bands) > count:
        raise InputError(f"{where}: has {count} bands; data.bands={list(bands)} asks for others")
    return [band - 1 for band in bands] or list(range(colours))


def check_header(
    path: Path, header: Header, bands: Sequence[int] = (), limits: Sequence[float] = ()
) -> None:
    """Raises InputError where a header tells already that `prepared` will refuse a file."""
    selection(str(path), header.channels, header.alpha, bands)
    if header.top is None and not limits:
        raise rangeless(str(path), header.mode)


def rangeless(where: str, what: str) -> InputError:
    return InputError(
        f"{where}: is {what}, which has no range of its own; data.range, or of x2 data.range_x2, "
        "says which values are black and white: data.range=[0,10000]"
    )


def scaled(where: str, values: np.ndarray, top: int | None, limits: Sequence[float]) -> np.ndarray:
    """uint16 in which 0..DEEP are `limits`, or 0..`top` without them; raises as `prepared`."""
    if not limits and top is None:
        raise rangeless(where, f"{values.dtype} of {values.min():g} to {values.max():g}")
    low, high = limits or (0, float(top or 0))
    if values.dtype == np.uint16 and (low, high) == (0, DEEP):
        return values
    if strange := int((~np.isfinite(values)).sum()):
        raise InputError(f"{where}: has {strange} values that are not finite")
    shares = (values.astype(np.float64) - low) * (DEEP / (high - low))
    return np.rint(shares.clip(0, DEEP)).astype(np.uint16)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) to be looked at, uint8 (H, W, 3): the first three channels, or the last
    one again for those that lack; 16 bits cut to 8, floating point stretched to 0..255."""
    if image.dtype == np.uint16:
        shown = np.right_shift(image, 8).astype(np.uint8)
    elif image.dtype == np.uint8:
        shown = image
    else:
        low, high = float(image.min()), float(image.max())
        shown = ((image - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    if shown.shape[2] == 3:
        return shown
    return np.ascontiguousarray(shown[..., np.minimum([0, 1, 2], shown.shape[2] - 1)])


def read_indices(path: Path, colours: Sequence[Sequence[int]] = ()) -> np.ndarray:
    """The values of a mask's file, (H, W), uint8 where that holds them, else uint16: samples of
    grey of any depth, places in the palette, or of a picture with `colours` the place of each
    pixel's colour among them.

    Raises:
        InputError: as `read_image`; a JPEG, WebP or rotated file; a picture without `colours`, or
            with others; transparent pixels; values that are no indices.
    """
    if path.suffix.lower() == ".mat":
        return _read_sbd(path)
    raster = decode(path, mask=True, indices=not colours)
    values = raster.values
    if raster.alpha:
        if values[..., -1].min() != raster.top:
            raise InputError(f"{path}: a mask must not have transparent pixels")
        values = values[..., :-1]
    if colours:
        return _places(path, values, colours)
    if values.shape[2] > 1 and (unequal := (values != values[..., :1]).any(axis=2)).any():
        y, x = np.argwhere(unequal)[0]
        raise InputError(
            f"{path}: a mask holds class indices; this one has colours, such as "
            f"{values[y, x].tolist()}; data.colors names the colour of each class"
        )
    found = values[..., 0]
    highest = found.max()
    kind = np.uint8 if highest <= IGNORE else np.uint16
    with np.errstate(invalid="ignore"):
        whole = found.astype(kind)
    if not np.array_equal(whole, found):
        raise InputError(
            f"{path}: a mask holds class indices; this one has values of {found.min()} to {highest}"
        )
    return np.ascontiguousarray(whole)


def _places(path: Path, values: np.ndarray, colours: Sequence[Sequence[int]]) -> np.ndarray:
    """(H, W): the place among `colours` of each pixel's colour."""
    if values.dtype != np.uint8 or values.shape[2] not in (1, 3):
        raise InputError(f"{path}: data.colors is for masks of 8-bit RGB; it is {values.dtype}")
    weights = np.array([1 << 16, 1 << 8, 1])
    pixels = (values * weights).sum(axis=2)
    known = np.array(colours) @ weights
    order = known.argsort()
    nearest = order[np.searchsorted(known, pixels, sorter=order).clip(max=len(known) - 1)]
    if (wrong := known[nearest] != pixels).any():
        there, counts = np.unique(pixels[wrong], return_counts=True)
        said = listing(
            f"[{c >> 16},{c >> 8 & 255},{c & 255}] ({n} pixels)"
            for c, n in zip(there.tolist(), counts, strict=True)
        )
        raise InputError(f"{path}: colours that are not in data.colors: {said}")
    return nearest.astype(np.uint8 if len(known) <= IGNORE + 1 else np.uint16)


def read_valid(path: Path) -> np.ndarray:
    """A mask of valid pixels as uint8 (H, W): 1 where any channel of the file but alpha is above 0,
    else 0; raises InputError as `read_indices`."""
    raster = decode(path, mask=True)
    colours = raster.values[..., : raster.values.shape[2] - raster.alpha]
    return (colours.max(axis=2) > 0).astype(np.uint8)


def read_mask(
    path: Path,
    classes: int,
    void: Iterable[int] = (),
    codes: Sequence[int] = (),
    colours: Sequence[Sequence[int]] = (),
    labels: Sequence[int] = (),
) -> np.ndarray:
    """An index mask (H, W) of `index_type`: classes 0..classes-1, and `void_of` where the file has
    a void.

    `codes` are the values of the classes in the file, where they are not 0..classes-1, and `labels`
    the classes that they mean, where several mean one. Raises InputError as read_indices, and for
    values that are no class's and not void, neither in `void` nor `void_of`; the message has them
    with their pixel counts.
    """
    mask, nothing = read_indices(path, colours), void_of(classes)
    codes = codes or range(classes)
    counts = np.bincount(mask.ravel())
    known = {*codes, *void, nothing}
    wrong = {int(v): int(counts[v]) for v in np.flatnonzero(counts) if v not in known}
    if wrong:
        there = f"0..{classes - 1}" if codes == range(classes) else listing(codes, shown=40)
        raise InputError(
            f"{path}: label {', '.join(f'{v} ({n} pixels)' for v, n in wrong.items())} is out of "
            f"range; classes are {there}, void is {sorted(known - {*codes})}"
        )
    table = np.full(DEEP + 1, nothing, index_type(classes))
    table[list(codes)] = labels or np.arange(len(codes))
    return table[mask]


def _read_sbd(path: Path) -> np.ndarray:
    """SBD's .mat segmentation: GTcls.Segmentation, uint8 (H, W)."""
    what = "an SBD class file with a matrix GTcls.Segmentation"
    found = read_mat(path, "GTcls", what)
    named = isinstance(found, np.ndarray) and "Segmentation" in (found.dtype.names or ())
    mask = np.asarray(found["Segmentation"].flat[0] if named and found.size else None)
    if mask.dtype.kind not in "biuf" or mask.ndim != 2 or not mask.size:
        raise InputError(f"{path}: not {what}")
    indices = mask.astype(np.uint8)
    if not np.array_equal(indices, mask):
        raise InputError(f"{path}: GTcls.Segmentation has values that are not in 0..255")
    return np.ascontiguousarray(indices)


def voc_palette(labels: int = 256) -> list[int]:
    """The VOC colour map, red, green and blue of each label: its bits, dealt to the channels in
    turn, so that no two of 2^24 labels have one colour."""
    label, channel, i = np.ogrid[0:labels, 0:3, 0:8]
    return (((label >> (3 * i + channel)) & 1) << (7 - i)).sum(axis=-1).ravel().tolist()


def png(image: np.ndarray, palette: list[int] | None = None) -> bytes:
    """uint8 (H, W, 3), or indices (H, W), as the bytes of a PNG file: uint8 with a palette, if any,
    uint16 as grey of 16 bits."""
    if image.ndim == 3:  # OpenCV's encoder: eight times as fast, files a fifth larger
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    if palette is not None and image.dtype == np.uint8:
        picture.putpalette(palette)  # makes the mode "P"
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, image: np.ndarray, palette: list[int] | None = None) -> None:
    """Write an image or indices as `png` does, whole or not at all."""
    write_whole(path, png(image, palette))
