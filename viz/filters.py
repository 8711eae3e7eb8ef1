"""The filters command: what the filters do to an image, by parameter, and to its labels."""

from pathlib import Path
from typing import Any

import numpy as np

from adapt.data.images import as_rgb, read_image, read_indices
from adapt.data.scenes import draw_scene
from adapt.disk.files import write_whole
from adapt.errors import InputError, listing
from adapt.machine.runtime import progress, say
from adapt.settings.viz import FiltersConfig
from transforms import FILTERS, SOURCES, moved_labels
from transforms.parameters import CHOICES
from viz.figures import PictureRow, picture_grid
from viz.pictures import coloured, reduced

SCENE, SCENE_SIZE = 4, (216, 288)
"""The embedded scene that is shown where no image is given, and its height and width."""

SWEEPS: dict[str, dict[str, list[Any]]] = {
    "photocopy": {
        "mask_radius": [0.0, 3.0, 10.0, 25.0, 50.0],
        "sharpness": [0.0, 0.25, 0.5, 0.8, 1.0],
        "black": [0.0, 0.2, 1.0],
        "white": [0.0, 0.05, 0.2, 0.6, 1.0],
    },
    "ripple": {
        "amplitude": [0.0, 5.0, 25.0, 50.0, 100.0],
        "period": [10.0, 20.0, 60.0, 200.0, 500.0],
        "phi": [-0.5, -0.25, 0.0, 0.25, 0.5],
        "angle": [0.0, 45.0, 90.0, 135.0],
        "wave_type": [*CHOICES["wave_type"]],
        "sampler_type": [*CHOICES["sampler_type"]],
        "abyss_policy": ["clamp", "loop", "black", "white"],
        "tileable": [False, True],
    },
    "cubism": {
        "tile_size": [3.0, 6.0, 10.0, 20.0, 40.0],
        "tile_saturation": [0.5, 1.0, 2.5, 5.0, 10.0],
        "bg_color": [(0, 0, 0), (255, 255, 255)],
        "seed": [0, 1, 2],
    },
    "camera": {
        "blur": [0.0, 0.5, 1.0, 2.0, 4.0],
        "saturation": [0.0, 0.3, 0.6, 1.0],
        "brightness": [0.1, 0.25, 0.5, 1.0],
        "noise": [0.0, 5.0, 10.0, 20.0, 40.0],
        "quality": [5.0, 15.0, 30.0, 95.0],
        "seed": [0, 1, 2],
    },
}
SPARSE = {"bg_color": {"tile_saturation": 0.7}}
"""Set beside a parameter that would not show otherwise."""


def filters(config: FiltersConfig) -> Path:
    """Draw the gallery and the sweeps of every filter's parameters; returns the folder.

    Raises:
        InputError: a missing or broken image or mask, or a mask of another size or more classes.
    """
    image, labels = image_and_labels(config)
    out = Path(config.out)
    write_whole(out / "gallery.png", reduced(gallery(image, labels, config.classes)))
    for name in progress(list(SWEEPS), what="sweeps"):
        write_whole(out / f"sweep_{name}.png", reduced(sweep(name, image)))
    say(f"{out}: gallery.png, {', '.join(f'sweep_{name}.png' for name in SWEEPS)}")
    return out


def image_and_labels(config: FiltersConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Image (H, W, 3) and labels (H, W) of a configuration."""
    if not config.image:
        if config.labels:
            raise InputError(
                f"labels={config.labels} needs image=FILE, the image that it belongs to"
            )
        return draw_scene(0, SCENE, SCENE_SIZE)
    image = as_rgb(read_image(Path(config.image)))
    if not config.labels:
        return image, None
    labels = read_indices(Path(config.labels))
    if labels.shape != image.shape[:2]:
        raise InputError(
            f"labels: {config.labels} is {labels.shape[1]}x{labels.shape[0]}, the image "
            f"{config.image} {image.shape[1]}x{image.shape[0]}"
        )
    beyond = labels[(labels >= config.classes) & (labels != np.iinfo(labels.dtype).max)]
    if beyond.size:
        raise InputError(
            f"labels: {config.labels} has label {listing(np.unique(beyond))}, but classes is "
            f"{config.classes}: they would be black, as void is"
        )
    return image, labels


def gallery(image: np.ndarray, labels: np.ndarray | None, classes: int) -> bytes:
    """The image and all filters with their defaults; below, the labels that belong to each."""
    columns = {"original": image} | {name: apply(image) for name, apply in FILTERS.items()}
    rows: list[PictureRow] = [("", list(columns.items()))]
    if labels is not None:
        below = [("labels", labels)]
        for name in FILTERS:
            if name in SOURCES:
                sources = SOURCES[name](labels.shape)
                void = int(np.iinfo(labels.dtype).max)
                below.append(("moved with it", moved_labels(labels, sources, void)))
            else:
                below.append(("stay", labels))
        rows.append(("", [(title, coloured(found, classes)) for title, found in below]))
    return picture_grid(rows)


def text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def sweep(name: str, image: np.ndarray) -> bytes:
    """A row for each parameter, all others at their defaults."""

    def filtered(parameter: str, value: Any) -> np.ndarray:
        return FILTERS[name](image, **SPARSE.get(parameter, {}), **{parameter: value})

    return picture_grid(
        [
            (parameter, [(text(value), filtered(parameter, value)) for value in values])
            for parameter, values in SWEEPS[name].items()
        ],
        dpi=80,
    )
