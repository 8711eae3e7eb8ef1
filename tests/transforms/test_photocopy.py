"""The photocopy filter where its answer is known; against GEGL's outputs in test_gegl.py."""

import numpy as np
import pytest

from transforms import photocopy


@pytest.mark.parametrize("level", [1, 40, 128, 255])
def test_flat_image_gets_a_quarter_of_the_way_to_white(level: int) -> None:
    light = level / 255 / 12.92 if level < 11 else ((level / 255 + 0.055) / 1.055) ** 2.4
    expected = 255 * (1.055 * (0.25 + 0.75 * light) ** (1 / 2.4) - 0.055)
    flat = photocopy(np.full((9, 30, 3), level, np.uint8))
    assert np.abs(flat.astype(int) - expected).max() <= 1


def test_black_surroundings_give_black_or_white() -> None:
    dot = np.zeros((41, 41, 3), np.uint8)
    np.testing.assert_array_equal(photocopy(dot), dot)
    dot[20, 20] = 255
    # The mask reaches two pixels, the detail far more: there it is divided by zero.
    result = photocopy(dot, mask_radius=1.0, sharpness=0.5)
    assert result[20, 25, 0] == 255


def test_black_area_does_not_count_as_dark_detail() -> None:
    image = np.random.default_rng(5).integers(0, 256, (13, 17, 3), dtype=np.uint8)

    def beside_black(columns: int) -> np.ndarray:
        wide = np.pad(image, ((0, 0), (0, columns), (0, 0)))
        return photocopy(wide, mask_radius=2.0, sharpness=1.0, white=0.5)[:, : image.shape[1]]

    np.testing.assert_array_equal(beside_black(5), beside_black(200))
