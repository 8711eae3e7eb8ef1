"""Frames of videos as samples: the very frame, however the video is timed, and only from inside."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from adapt.data import load
from adapt.data.images import image_size, read_image, read_indices
from adapt.data.sampling import Stream
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

COUNT = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MPEG-4, whose frames depend on those before, with the number of each as its brightness."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    ground = np.random.default_rng(0).integers(0, 50, (48, 64, 3)).astype(np.uint8)
    for number in range(COUNT):
        video.write(ground + np.uint8(5 * number))
    video.release()
    return path


def read_through(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


def with_times(path: Path, to: Path, *runs: tuple[int, int]) -> Path:
    """The video with (frames, duration of each) for its one rate: the box `stts` of ISO 14496-12,
    which has grown inside of all those around it."""
    content = bytearray(path.read_bytes())
    at = content.index(b"stts") + 4
    table = struct.pack(">II", 0, len(runs)) + b"".join(struct.pack(">II", *run) for run in runs)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        size = content.index(box) - 4
        (before,) = struct.unpack_from(">I", content, size)
        struct.pack_into(">I", content, size, before + len(table) - 16)
    content[at : at + 16] = table
    to.write_bytes(content)
    return to


@pytest.mark.parametrize("timing", ["steady", "slower later", "one late, one early"])
def test_a_frame_is_the_one_that_reading_on_gives(clip: Path, tmp_path: Path, timing: str) -> None:
    """Where times are uneven OpenCV's own search gives another one."""
    runs = {"slower later": [(15, 512), (25, 700)], "one late, one early": [
        (12, 512), (1, 1024), (14, 512), (1, 1), (12, 512)]}  # fmt: skip
    path = with_times(clip, tmp_path / "c.mp4", *runs[timing]) if timing in runs else clip
    frames = read_through(path)
    for number in (0, 13, 14, 20, 30, len(frames) - 1):
        frame = path.with_name(f"{path.name}#{number}")
        assert np.array_equal(read_image(frame), frames[number]), number
        assert image_size(frame) == (48, 64)
    with pytest.raises(InputError, match=rf"mp4#99: its frames are 0\.\.{len(frames) - 1}"):
        read_image(path.with_name(f"{path.name}#99"))


def test_lists_name_frames_on_either_side(clip: Path, tmp_path: Path) -> None:
    """Each frame is a sample of its own, and a mask cannot be one."""
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    rows = ["clip.mp4#3,clip.mp4#30", "clip.mp4#13,clip.mp4#7"]
    (tmp_path / "list.csv").write_text("\n".join(["x1,x2", *rows]))
    config = DataConfig("pairs", pairs=str(tmp_path / "list.csv"), flip=False)
    data = load(config, "train")
    assert [s.name for s in data.samples] == ["clip_000003", "clip_000013"]
    frames, stream = read_through(clip), Stream(data, config, ["x1", "x2"], seed=0)
    for place in range(2):
        item = stream[place]
        old, new = {"clip_000003": (3, 30), "clip_000013": (13, 7)}[item["name"]]
        assert np.array_equal(item["x1"].permute(1, 2, 0).numpy(), frames[old])
        assert np.array_equal(item["x2"].permute(1, 2, 0).numpy(), frames[new])
    with pytest.raises(InputError, match=r"#3: a mask must not be a frame"):
        read_indices(tmp_path / "clip.mp4#3")


def test_videos_that_are_not_there_or_lie_outside_are_refused(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.mp4").symlink_to(clip)
    (tmp_path / "in" / "none.mp4").write_bytes(b"no video")
    for name, words in (
        ("gone.mp4#1", "no such file"), ("link.mp4#1", "leads out of"), ("../x.mp4#1", "leads out")
    ):  # fmt: skip
        (tmp_path / "in" / "list.csv").write_text(f"x1,x2\n{name},{name}\n")
        with pytest.raises(InputError, match=words):
            load(DataConfig("pairs", pairs=str(tmp_path / "in" / "list.csv")), "train")
    with pytest.raises(InputError, match=r"none\.mp4: no video that can be read"):
        read_image(tmp_path / "in" / "none.mp4#1")
