"""What holds for every filter: checks of parameters and arrays, purity, and a light import."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from commands import ROOT, python

from transforms import FILTERS, cubism_sources, ripple_displacement, ripple_sources

Filter = Callable[..., np.ndarray]
every_filter = pytest.mark.parametrize("apply", FILTERS.values(), ids=FILTERS.keys())


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(5)
    blocks = np.kron(rng.integers(0, 200, (4, 5, 3)), np.ones((4, 4, 1), int))[:13, :17]
    return (blocks + rng.integers(0, 56, blocks.shape)).astype(np.uint8)


def test_numba_is_imported_by_the_first_call_only() -> None:
    code = """
import sys
import numpy as np
import transforms
transforms.ripple_displacement((4, 5))
assert not {"numba", "torch", "cv2", "scipy"} & sys.modules.keys()
transforms.photocopy(np.zeros((4, 5, 3), np.uint8))
assert "numba" in sys.modules
"""
    python("-c", code, cwd=ROOT)


def test_loops_that_cannot_be_kept_on_disk_are_compiled_with_one_warning() -> None:
    """As in a read-only installation without a home."""
    code = "from transforms import loops; assert loops.encode(1.0, bytearray(range(256))) == 255"
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": ""}
    said = python("-c", code, cwd=ROOT, **nowhere).stderr
    assert said.count("compiled anew in every process") == said.count("NUMBA_CACHE_DIR=DIR") == 1


@every_filter
def test_memory_layout_does_not_matter(image: np.ndarray, apply: Filter) -> None:
    expected = apply(image)
    assert expected.shape == image.shape
    assert expected.dtype == np.uint8
    assert expected.flags.c_contiguous
    frozen = image.copy()
    frozen.flags.writeable = False
    padded = np.zeros((15, 40, 3), np.uint8)
    padded[1:14, 3:37:2] = image
    bgr = np.ascontiguousarray(image[..., ::-1])
    upside_down = np.ascontiguousarray(image[::-1, ::-1])
    same = [np.asfortranarray(image), frozen, padded[1:14, 3:37:2], bgr[..., ::-1]]
    for other in [*same, upside_down[::-1, ::-1]]:
        np.testing.assert_array_equal(apply(other), expected)


@every_filter
def test_pure_and_deterministic(image: np.ndarray, apply: Filter) -> None:
    before = image.copy()
    random_state = str(np.random.get_state())  # noqa: NPY002
    first = apply(image)
    assert not np.shares_memory(first, image)
    np.testing.assert_array_equal(image, before)
    assert str(np.random.get_state()) == random_state  # noqa: NPY002
    np.testing.assert_array_equal(apply(image), first)


@every_filter
@pytest.mark.parametrize(
    "wrong",
    [
        [[[0, 0, 0]]],
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["list", "float", "grey", "rgba", "empty"],
)
def test_wrong_arrays(apply: Filter, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^image must be a uint8 array \(H, W, 3\)"):
        apply(wrong)


@pytest.mark.parametrize("wrong", [(0, 3), (3,), 5, (2.0, 3)])
@pytest.mark.parametrize("made", [ripple_displacement, ripple_sources, cubism_sources])
def test_wrong_sizes(made: Filter, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^size"):
        made(wrong)


@pytest.mark.parametrize(
    ("name", "parameter", "value", "message"),
    [
        ("photocopy", "mask_radius", -0.1, "a number in [0, 50], got -0.1"),
        ("photocopy", "mask_radius", math.nan, "a number in [0, 50], got nan"),
        ("photocopy", "sharpness", 1.01, "a number in [0, 1], got 1.01"),
        ("photocopy", "black", "0.2", "a number in [0, 1], got '0.2'"),
        ("photocopy", "white", True, "a number in [0, 1], got True"),
        ("ripple", "amplitude", 1000.5, "a number in [0, 1000], got 1000.5"),
        ("ripple", "period", math.inf, "a number in [0, 1000], got inf"),
        ("ripple", "phi", -1.5, "a number in [-1, 1], got -1.5"),
        ("ripple", "angle", None, "a number in [-180, 180], got None"),
        ("ripple", "sampler_type", "lanczos", "one of nearest, linear, cubic, got 'lanczos'"),
        ("ripple", "wave_type", 1, "one of sine, triangle, sawtooth, got 1"),
        ("ripple", "abyss_policy", "Clamp", "one of clamp, loop, black, white, none, got 'Clamp'"),
        ("ripple", "tileable", 1, "True or False, got 1"),
        ("cubism", "tile_size", 0.5, "a number in [1, 256], got 0.5"),
        ("cubism", "tile_saturation", 11, "a number in [0, 10], got 11"),
        ("cubism", "bg_color", (0, 0), "three integers in [0, 255], got (0, 0)"),
        ("cubism", "bg_color", 0, "three integers in [0, 255], got 0"),
        ("cubism", "bg_color[1]", (0, 256, 0), "an integer in [0, 255], got 256"),
        ("cubism", "bg_color[0]", "red", "an integer in [0, 255], got 'r'"),
        ("camera", "blur", 20.1, "a number in [0, 20], got 20.1"),
        ("camera", "quality", 0, "a number in [1, 100], got 0"),
        ("camera", "seed", 2**32, "an integer in [0, 4294967295], got 4294967296"),
        ("cubism", "seed", -1, "an integer in [0, 4294967295], got -1"),
        ("cubism", "seed", 1.0, "an integer in [0, 4294967295], got 1.0"),
        ("cubism", "seed", True, "an integer in [0, 4294967295], got True"),
    ],
)
def test_wrong_values(
    image: np.ndarray, name: str, parameter: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'{parameter} must be {message}')}$"):
        FILTERS[name](image, **{parameter.partition("[")[0]: value})
