"""Camera filter: what a bad camera makes of a scene. It is ours, none of GIMP's."""

import numpy as np

from transforms.common import RGBImage, check_image
from transforms.parameters import check_integer, checked


@checked
def camera(
    image: RGBImage,
    *,
    blur: float = 1.0,
    saturation: float = 0.3,
    brightness: float = 0.5,
    noise: float = 10.0,
    quality: float = 30.0,
    seed: int = 0,
) -> RGBImage:
    """Return `image` as a bad camera sees it: blurred, of little colour, dark, noisy, then a JPEG.

    The steps come in this order, as in a camera. Blur, grey and JPEG are OpenCV's, the noise is
    drawn by NumPy's PCG64.

    Args:
        image: uint8 RGB, shape (H, W, 3), any memory layout; not modified.
        blur: standard deviation of the Gaussian blur in pixels, 0..20.
        saturation: share of the colour that is left, 0..1; 0 is grey (luma of ITU-R BT.601).
        brightness: factor on the 8-bit values, 0..1.
        noise: standard deviation of Gaussian noise in 8-bit levels, 0..100, drawn for each pixel
            and channel.
        quality: the JPEG's, 1..100, rounded to an integer; chroma has half the resolution.
        seed: 0..4294967295; the result depends on nothing else that is random.

    Returns:
        New C-contiguous uint8 array (H, W, 3).

    Raises:
        ValueError: wrong kind of array, or a parameter of wrong type or out of range.
    """
    import cv2

    seen: np.ndarray = np.ascontiguousarray(check_image(image))
    if blur:
        seen = cv2.GaussianBlur(seen, (0, 0), blur)
    grey = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[..., None]
    light = brightness * (saturation * seen + (1 - saturation) * grey)
    random = np.random.default_rng(check_integer("seed", seed, 0, 2**32 - 1))
    light += random.normal(0, noise, seen.shape)
    seen = light.round().clip(0, 255).astype(np.uint8)
    bgr = np.ascontiguousarray(seen[..., ::-1])
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)[..., ::-1].copy()
