"""A folder that is written whole or not at all, whatever ends the process that writes it."""

from pathlib import Path

import pytest

from adapt.disk.lock import whole_folder
from adapt.errors import InputError


def test_it_takes_its_place_at_the_end(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "e"

    def write(text: str) -> None:
        with whole_folder(place, "out") as folder:
            (folder / "a").write_text(text)
            assert text != "fails"

    with pytest.raises(AssertionError):
        write("fails")
    assert not list(tmp_path.iterdir())
    write("first")
    with pytest.raises(AssertionError):
        write("fails")
    words = r"out: another process is writing .*/deep/e \("
    with pytest.raises(InputError, match=words), whole_folder(place, "out"):
        write("second")
    assert (place / "a").read_text() == "first"
    (place.parent / ".e.new").mkdir()  # a process was killed, here between its two renames
    place.rename(place.parent / ".e.old")
    with pytest.raises(AssertionError):
        write("fails")
    assert (place / "a").read_text() == "first" and len(list(place.parent.iterdir())) == 1
    write("second")
    assert (place / "a").read_text() == "second" and len(list(place.parent.iterdir())) == 1
