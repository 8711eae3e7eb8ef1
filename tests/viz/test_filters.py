"""What holds for all filters over many images, and the pictures of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt.data.images import png, read_image
from adapt.errors import InputError
from adapt.settings.viz import FiltersConfig
from transforms import FILTERS
from viz.filters import SWEEPS, filters, gallery, image_and_labels, sweep


def test_every_parameter_is_swept_over_values_that_the_filters_take() -> None:
    import inspect

    for name, apply in FILTERS.items():
        parameters = inspect.signature(apply).parameters
        assert SWEEPS[name].keys() == parameters.keys() - {"image"}
        for parameter, values in SWEEPS[name].items():
            default = parameters[parameter].default
            assert default in values


def test_pictures_of_an_image_of_ones_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    (tmp_path / "i.png").write_bytes(png(image))
    (tmp_path / "l.png").write_bytes(png((image[..., 0] // 64).astype(np.uint8)))
    config = FiltersConfig(
        str(tmp_path / "out"), str(tmp_path / "i.png"), str(tmp_path / "l.png"), 4
    )
    out = filters(config)
    names = ["gallery.png", *(f"sweep_{name}.png" for name in FILTERS)]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    sizes = [read_image(out / name).shape for name in names]
    assert all(size[0] > 100 and size[1] > 300 for size in sizes)
    with_labels = Image.open(io.BytesIO(gallery(*image_and_labels(config), 4)))
    without = Image.open(io.BytesIO(gallery(image, None, 4)))
    assert with_labels.height > 1.8 * without.height
    assert sweep("ripple", image) != sweep("ripple", image[::-1])


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        ("", "l.png", "labels=.*needs image=FILE"),
        ("i.png", "l.png", r"l.png is 4x4, the image .*i.png 5x5"),
        ("none.png", "", "none.png: no such image"),
        ("i.png", "many.png", "many.png has label 21, 30, but classes is 21"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, image: str, labels: str, message: str) -> None:
    (tmp_path / "i.png").write_bytes(png(np.zeros((5, 5, 3), np.uint8)))
    (tmp_path / "l.png").write_bytes(png(np.zeros((4, 4), np.uint8)))
    many = np.repeat(np.array([0, 20, 21, 30, 255], np.uint8)[None], 5, axis=0)
    (tmp_path / "many.png").write_bytes(png(many))
    given = [str(tmp_path / name) if name else "" for name in (image, labels)]
    with pytest.raises(InputError, match=message):
        filters(FiltersConfig(str(tmp_path / "out"), *given))
    assert not (tmp_path / "out").exists()
