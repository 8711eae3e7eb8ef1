"""Frames of videos as images: `clip.mp4#120` is frame 120, the first one being 0.

A number counts the frames that come when the video is read from its beginning. OpenCV finds a frame
by its time, which gives another one where the frame rate varies; so the times of all frames are
noted once for each video, and a frame with another time is looked for from the beginning.
"""

import os
import re
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from adapt.data.formats import Header
from adapt.errors import InputError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_FRAME = re.compile(rf"(.+)({'|'.join(map(re.escape, VIDEOS))})#([0-9]{{1,9}})\Z", re.IGNORECASE)


def frame_of(path: Path) -> tuple[Path, int] | None:
    """Video and number, where a path means a frame."""
    found = _FRAME.fullmatch(path.name)
    return (path.with_name(found[1] + found[2]), int(found[3])) if found else None


def on_disk(path: Path) -> Path:
    """The file that a path of a list is in: the path itself, or the video of a frame."""
    found = frame_of(path)
    return found[0] if found else path


def status(path: Path) -> os.stat_result | None:
    """Of the file that a path of a list is in; None for members of archives, whose place there is
    in their path."""
    file = on_disk(path)
    return file.stat() if file.is_file() else None


def without_frame(path: str) -> str:
    """`a/clip.mp4#120` as a file with the name `a/clip_000120.mp4`, after which samples can be
    called; other paths as they are."""
    return _FRAME.sub(lambda found: f"{found[1]}_{int(found[3]):06d}{found[2]}", path)


def opened_video(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path)) if path.is_file() else None
    if capture is None or not capture.isOpened():
        raise InputError(f"{path}: no video that can be read")
    return capture


@lru_cache(64)
def times(path: Path, changed: int) -> tuple[float, ...]:
    """The time in milliseconds of each frame of a video, which has `changed` at that time."""
    capture, found = opened_video(path), []
    while capture.grab():
        found.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return tuple(found)


def frame_header(path: Path, number: int) -> Header:
    """Raises InputError for a video that cannot be read, or a frame that it does not have."""
    capture = opened_video(path)
    count = len(times(path, path.stat().st_mtime_ns))
    if number >= count:
        raise InputError(f"{path}#{number}: its frames are 0..{count - 1}")
    height, width = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    return Header("video", (int(capture.get(height)), int(capture.get(width))))


def read_frame(path: Path, number: int) -> np.ndarray:
    """A frame as uint8 (H, W, 3) RGB; raises InputError as `frame_header`."""
    frame_header(path, number)
    capture = opened_video(path)
    capture.set(cv2.CAP_PROP_POS_FRAMES, number)
    there, frame = capture.read()
    wanted = times(path, path.stat().st_mtime_ns)[number]
    if not there or capture.get(cv2.CAP_PROP_POS_MSEC) != wanted:
        capture = opened_video(path)
        for _ in range(number + 1):
            there = capture.grab()
        there, frame = capture.retrieve()
    if not there:
        raise InputError(f"{path}#{number}: the frame cannot be decoded")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
