"""Procedural scenes: a small, deterministic data set with VOC-like masks.

Eggs, fish, butterflies, leaves and stars lie before landscapes, tables and cloths. Contour, texture
and colour each carry information: striped and dotted eggs differ in texture only, fish wear the
stripes and butterflies the dots of the eggs, green and autumn leaves differ in colour only. The
veins, lighter than the green and darker than the autumn colours, keep a trace of that in grey.
"""

import colorsys
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image

from adapt.data.images import png, voc_palette
from adapt.disk.lock import whole_folder
from adapt.errors import InputError

BORDER = 255
_SUPER = 2  # canvas pixels per image pixel along each axis

Array = np.ndarray  # pictures are planar while they are drawn: float32 (3, H, W) in 0..1


def _polar(angle: Array, radius: Array) -> Array:
    """Outline (N, 2) of points at an angle from the top."""
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


def _mirrored(u: Array, half: Array) -> Array:
    """Outline (2 N, 2) of a shape that reaches from -half to half over the axis u."""
    upper = np.stack([u, half], axis=1)
    return np.concatenate([upper, upper[::-1] * (1, -1)])


_TURN = np.linspace(0, 2 * np.pi, 80, endpoint=False)
_AXIS = np.linspace(0, 1, 30)
_EGG = _polar(_TURN, np.ones(80)) * (0.78, 1) * (1 - 0.16 * np.cos(_TURN)[:, None] * (1, 0))
_LEAF = _mirrored(
    np.append(1.9 * _AXIS - 1.1, 1.2),
    np.append(np.maximum(0.62 * np.sin(np.pi * _AXIS) ** 0.8 * (1.25 - 0.4 * _AXIS), 0.05), 0.06),
)
_OUTLINES = {  # of the object classes, in the order of their labels
    "striped_egg": _EGG,
    "dotted_egg": _EGG,
    "fish": _mirrored(
        np.append(1.75 * _AXIS - 1.15, [0.85, 1.2, 1.08]),
        np.append(0.66 * np.sin(np.pi * (0.93 * _AXIS) ** 0.75), [0.42, 0.66, 0.25]),
    ),
    "butterfly": _polar(_TURN, 0.82 - 0.28 * np.cos(4 * _TURN) - 0.2 * np.cos(2 * _TURN)),
    "green_leaf": _LEAF,
    "autumn_leaf": _LEAF,
    "star": _polar(np.arange(10) * np.pi / 5, np.tile([1.2, 0.62], 5)),
}
CLASSES: tuple[str, ...] = ("background", *_OUTLINES)
_LEAF_COLOURS = {  # the ends of hue, saturation and value
    "green_leaf": ((0.29, 0.65, 0.28), (0.42, 0.9, 0.42)),
    "autumn_leaf": ((0.04, 0.6, 0.85), (0.14, 0.85, 1.0)),
}


def _hsv(hue: float, saturation: float, value: float) -> Array:
    """Colour (3, 1, 1); the hue wraps round."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)[:, None, None]


def _mix(first: Array, second: Array, weight: Array) -> Array:
    """Go from the first to the second colour or picture as the weights (H, W) go from 0 to 1."""
    return first + (second - first) * np.clip(weight, 0, 1).astype(np.float32)


def _stripes(u: Array, v: Array, rng: Generator) -> Array:
    """Weights of wavy bands along u, one after the other along v."""
    wave = rng.uniform(0, 0.9) * np.sin(rng.uniform(4, 7) * u + rng.uniform(0, 6))
    return 3 * np.sin(rng.uniform(9, 12) * v + wave + rng.uniform(0, 6)) + 0.5


def _dots(u: Array, v: Array, rng: Generator) -> Array:
    """Weights of discs on a lattice of staggered rows."""
    pitch = rng.uniform(0.5, 0.64)
    x, y = u / pitch + rng.uniform(), v / pitch + rng.uniform()
    x = (x + 0.5 * (np.floor(y) % 2)) % 1 - 0.5
    return 8 * (rng.uniform(0.29, 0.35) - np.hypot(x, y % 1 - 0.5)) + 0.5


def _paint(label: str, u: Array, v: Array, rng: Generator) -> Array:
    """Picture of the surface of an object at its own coordinates u, v (H, W)."""
    hue = rng.uniform()
    if label in _LEAF_COLOURS:
        side = np.abs((3.2 * (u + 0.9 * np.abs(v))) % 1 - 0.5)
        veins = np.maximum(3 - 40 * np.abs(v), 2.6 - 14 * side)
        return _mix(_hsv(*rng.uniform(*_LEAF_COLOURS[label])), _hsv(0.11, 0.58, 0.52), veins)
    if label == "star":
        dark = _hsv(hue + 0.03, 0.7, rng.uniform(0.55, 0.7))
        return _mix(_hsv(hue, rng.uniform(0.3, 0.6), 1), dark, np.sin(5 * np.arctan2(u, -v)) > 0)
    base = _hsv(hue, rng.uniform(0.55, 0.85), rng.uniform(0.7, 0.95))
    companion = _hsv(hue + rng.uniform(-0.12, 0.12), *rng.choice([(0.12, 1.0), (0.7, 0.3)]))
    if label in ("striped_egg", "dotted_egg"):
        texture = _stripes if label == "striped_egg" else _dots
        return _mix(base, companion, texture(u, v, rng))
    if label == "butterfly":
        wings = _mix(base, companion, _dots(np.abs(u), v, rng))
        return _mix(wings, _hsv(0.07, 0.6, 0.2), 12 * (0.14 - np.abs(u)))
    from_eye = np.hypot(u + 0.74, v + 0.12)
    fish = _mix(base, companion, _stripes(v, u, rng))
    return _mix(_mix(fish, _hsv(0, 0, 1), 20 * (0.2 - from_eye)), _hsv(0, 0, 0), 2 - 16 * from_eye)


def _noise(rng: Generator, like: Array, rows: int, columns: int) -> Array:
    """Smooth noise in -1..1 of the shape of `like`, with the given number of cells per axis."""
    cells = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(cells, like.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _background(rng: Generator, x: Array, y: Array) -> Array:
    """Picture of one of the backgrounds at the coordinates x, y (H, W); y reaches from 0 to 1."""
    match rng.choice(["beach", "table", "cloth", "night", "meadow"]):
        case "beach":
            sea = _hsv(rng.uniform(0.47, 0.56), rng.uniform(0.5, 0.7), 0.75)
            sand = _hsv(rng.uniform(0.09, 0.12), rng.uniform(0.3, 0.45), rng.uniform(0.8, 0.95))
            swell = 60 * y + 3 * np.sin(9 * x + rng.uniform(0, 6)) + 2 * _noise(rng, y, 6, 8)
            water = _mix(sea, _hsv(0.5, 0.1, 1), np.clip(1.5 * np.sin(swell) - 0.9, 0, 0.5))
            shore = rng.uniform(0.25, 0.6) + 0.05 * np.sin(x * rng.uniform(3, 8))
            return _mix(water, sand * (1 + 0.09 * _noise(rng, y, 90, 120)), (y - shore) * 60)
        case "table":
            boards = rng.uniform(3, 6) * y + rng.uniform()
            tone = 0.12 * rng.uniform(-1, 1, 8)[boards.astype(int)] + 0.12 * _noise(rng, y, 60, 5)
            gap = np.clip(1 - 25 * np.abs(boards % 1 - 0.5), 0, 0.6)
            wood = _hsv(*rng.uniform((0.05, 0.35, 0.5), (0.1, 0.6, 0.8)))
            return wood * ((1 + tone) * (1 - gap)).astype(np.float32)
        case "cloth":
            angle, pitch = rng.uniform(0, np.pi), rng.uniform(18, 30)
            along = np.sin(pitch * (x * np.cos(angle) - y * np.sin(angle)))
            across = np.sin(pitch * (x * np.sin(angle) + y * np.cos(angle)))
            tint = _hsv(rng.uniform(), rng.uniform(0.25, 0.5), 0.75)
            return _mix(_hsv(0.1, 0.06, 0.97), tint, 0.5 * (along > 0) + 0.5 * (across > 0))
        case "night":
            stars, hue, value = np.zeros_like(y), rng.uniform(0.45, 0.6), 0.35
            for centre in (rng.uniform(0, (1, 0.6), (30, 2)) * y.shape[::-1]).astype(int):
                cv2.circle(stars, centre.tolist(), int(rng.integers(1, 3)), (1,), -1)
            sky = _mix(_hsv(rng.uniform(0.6, 0.72), 0.7, 0.22), _hsv(0.8, 0.4, 0.5), 1.6 * y)
            sky = _mix(sky, _hsv(0.17, 0.2, 0.9), stars)
        case _:
            blue = _hsv(rng.uniform(0.53, 0.6), rng.uniform(0.35, 0.6), 0.95)
            sky = _mix(blue, _hsv(0, 0, 1), np.minimum(2 * _noise(rng, y, 7, 7), 0.7))
            sky = _mix(sky, _hsv(0.1, 0.12, 1), 1.6 * y)
            hue, value = rng.uniform(0.2, 0.3), rng.uniform(0.65, 0.85)
    grass = 1 + 0.16 * _noise(rng, y, 40, 90)
    for level in (rng.uniform(0.35, 0.5), rng.uniform(0.62, 0.75)):
        ridge = level + 0.05 * np.sin(x * rng.uniform(3, 8) + rng.uniform(0, 6))
        hill = _hsv(hue + rng.uniform(-0.04, 0.04), rng.uniform(0.4, 0.6), value) * grass
        sky, value = _mix(sky, hill, (y - ridge) * 100), 0.8 * value
    return sky


def _place(
    canvas: Array, owner: Array, number: int, name: str, rng: Generator, centre: Array, light: Array
) -> None:
    """Paint the object `name` and its shadow; its pixels in `owner` become `number`."""
    radius, angle, stretch = rng.uniform((0.16, -0.8, 0.88), (0.26, 0.8, 1.12))
    radius *= min(owner.shape)
    scale = radius * np.array([rng.choice([-1, 1]) * stretch, 1 / stretch])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outline = (_OUTLINES[name] * scale) @ turn.T + centre
    limit = np.array(owner.shape[::-1])
    low = np.clip(outline.min(axis=0) - 0.3 * radius, 0, limit - 1).astype(int)
    high = np.clip(outline.max(axis=0) + 0.3 * radius, low + 1, limit).astype(int)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    view = canvas[:, *window]
    inside, shadow = np.zeros(view.shape[1:], np.uint8), np.zeros(view.shape[1:], np.float32)
    cv2.fillPoly(inside, [np.rint(outline - low).astype(np.int32)], (1,))
    cv2.fillPoly(shadow, [np.rint(outline - low - 0.16 * radius * light).astype(np.int32)], (0.4,))
    view *= 1 - cv2.blur(shadow, (2 * int(0.08 * radius) + 1,) * 2)
    y, x = (a.astype(np.float32) for a in np.ogrid[window])
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    u, v, lit = (a * x + b * y for a, b in np.column_stack([turn / scale, light]).T.tolist())
    rim = np.minimum(cv2.distanceTransform(inside, cv2.DIST_L2, 3) / (0.3 * radius), 1)
    colours = _paint(name, u, v, rng) * (0.68 + 0.3 * np.sqrt(rim) + (0.2 / radius) * lit)
    np.copyto(view, colours, where=inside > 0)
    owner[window][inside > 0] = number


def draw_scene(seed: int, index: int, size: tuple[int, int] = (96, 128)) -> tuple[Array, Array]:
    """Draw scene `index` of the series `seed`; equal arguments give equal bytes.

    `size` is (H, W). Returns an RGB image uint8 (H, W, 3) and a mask uint8 (H, W): labels below
    len(CLASSES), and 255 on the two pixels wide line between an object and what surrounds it.
    Raises ValueError if a side is below 16 or a number is negative.
    """
    if min(size) < 16:
        raise ValueError(f"scenes need at least 16 pixels per side, not {size}")
    rng = np.random.default_rng([seed, index])
    rows, columns = shape = size[0] * _SUPER, size[1] * _SUPER
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    canvas = _background(rng, x / rows, y / rows)
    owner = np.zeros(shape, np.uint8)
    light = rng.normal(size=2)
    light /= np.linalg.norm(light)
    labels = 1 + rng.permutation(len(_OUTLINES))[: rng.integers(4, 7)]
    centres = np.full((1, 2), np.inf)
    for number, label in enumerate(labels, start=1):
        candidates = rng.uniform(0.1, 0.9, (6, 2)) * (columns, rows)
        gaps = np.linalg.norm(candidates[:, None] - centres, axis=-1).min(axis=1)
        centres = np.append(centres, candidates[[gaps.argmax()]], axis=0)
        _place(canvas, owner, number, CLASSES[label], rng, centres[-1], light)
    canvas *= rng.uniform(0.8, 1.1) * rng.uniform(0.92, 1.08, (3, 1, 1)).astype(np.float32)
    image = cv2.resize(cv2.merge(list(canvas)), size[::-1], interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.7))
    image = image + rng.normal(0, rng.uniform(0.005, 0.025), image.shape)
    owner = owner[_SUPER // 2 :: _SUPER, _SUPER // 2 :: _SUPER]
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    mask = np.append(0, labels).astype(np.uint8)[owner]
    mask[cv2.morphologyEx(owner, cv2.MORPH_GRADIENT, cross) > 0] = BORDER
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def write_scenes(root: Path, *, train: int, val: int, seed: int, size: tuple[int, int]) -> None:
    """Write scenes 0..train-1 for training and the next `val` for validation in the VOC layout.

    Below `root`: JPEGImages/<name>.png, SegmentationClass/<name>.png (palette images with the VOC
    colours), ImageSets/Segmentation/{train,val}.txt and scenes.json. All is drawn into a sibling
    folder that becomes `root` at the end. Raises InputError if `root` exists or is being drawn,
    else as above.
    """
    if root.exists():
        raise InputError(f"{root} exists already; scenes are drawn into a folder of their own")
    with whole_folder(root, "data.root") as draft:
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (draft / folder).mkdir(parents=True)
        names = [f"scene_{index:06d}" for index in range(train + val)]
        for index, name in enumerate(names):
            image, labels = draw_scene(seed, index, size)
            Image.fromarray(image).save(draft / "JPEGImages" / f"{name}.png")
            (draft / f"SegmentationClass/{name}.png").write_bytes(png(labels, voc_palette()))
        for split, members in (("train", names[:train]), ("val", names[train:])):
            (draft / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join([*members, ""]))
        made = {"format": 1, "seed": seed, "size": size, "train": train, "val": val}
        (draft / "scenes.json").write_text(json.dumps(made | {"classes": CLASSES}, indent=2) + "\n")
