"""Pairs whose x2 lies where a homography puts it, and looks as of another sensor."""

from pathlib import Path

import cv2
import numpy as np

from adapt.data.images import write_png


def texture(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Random soft shapes, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=size), (0, 0), sigma) * sigma for sigma in (2, 6)]
    grey = np.tanh(3 * sum(layers))
    return np.repeat((127 + 100 * grey).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def of_other_sensor(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """Darker where the image is brighter, blurred, and noisy."""
    soft = cv2.GaussianBlur(255 - image, (0, 0), 1)
    noise = np.random.default_rng(seed).normal(0, 8, image.shape)
    return (0.6 * soft + noise).clip(0, 255).astype(np.uint8)


def pair(
    seed: int, matrix: np.ndarray, size: tuple[int, int] = (192, 256)
) -> tuple[np.ndarray, np.ndarray]:
    """x1 and x2 of `size` (H, W): what x1 shows at p is in x2 at `matrix` p. Both are cut out of
    something larger, so that no border tells."""
    margin = 40
    height, width = (side + 2 * margin for side in size)
    shown = texture(seed, (height, width))
    around = np.array([[1, 0, margin], [0, 1, margin], [0, 0, 1.0]])
    moving = around @ matrix @ np.linalg.inv(around)
    moved = cv2.warpPerspective(shown, moving, (width, height), borderMode=cv2.BORDER_REFLECT)
    old, new = (image[margin:-margin, margin:-margin] for image in (shown, moved))
    return np.ascontiguousarray(old), of_other_sensor(new, seed)


def write_pairs(root: Path, matrices: list[np.ndarray], size: tuple[int, int]) -> Path:
    """Folders OLD and NEW of such pairs, named 0.png and so on; returns the root."""
    for number, matrix in enumerate(matrices):
        for side, image in zip(("OLD", "NEW"), pair(number, matrix, size), strict=True):
            write_png(root / side / f"{number}.png", image)
    return root
