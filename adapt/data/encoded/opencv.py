"""JPEGs by OpenCV, a quarter faster than by Pillow, and with the same pixels.

libjpeg mends what is broken and prints on standard error that it did, without the file's name. Here
standard error is listened to meanwhile, so it is for processes without other threads that print;
a file of which libjpeg says anything is left to Pillow, which mends in silence.
"""

import os

import cv2
import numpy as np

WARNED = (b"JPEG", b"JFIF", b"Adobe", b"progression")
"""Each of libjpeg's warnings has one of these words."""


def decoded(content: bytes) -> np.ndarray | None:
    """A JPEG as uint8 (H, W, 3) RGB; None where OpenCV or libjpeg found anything amiss."""
    heard, error = os.memfd_create("libjpeg"), os.dup(2)
    try:
        os.dup2(heard, 2)
        try:
            found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error:  # no memory, say
            return None
        finally:
            os.dup2(error, 2)
        said = os.pread(heard, 1 << 16, 0)
        for line in said.splitlines(keepends=True):
            if not any(word in line for word in WARNED):  # somebody else's
                os.write(2, line)
        return None if said else found
    finally:
        os.close(heard)
        os.close(error)
