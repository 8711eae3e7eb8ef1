"""Predicted masks of GeoTIFFs lie where the images do."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from adapt.data.images import png, read_indices, voc_palette
from adapt.errors import InputError
from adapt.evaluation.predict import predictions
from adapt.settings.commands import PredictConfig
from adapt.settings.groups import DataConfig

TAGS: dict[str, dict[int, tuple[int, int, bytes]]] = {
    order: {
        33550: (12, 3, struct.pack(f"{order}3d", 0.1, 1 / 3, 0)),
        33922: (12, 6, struct.pack(f"{order}6d", 0, 0, 0, 500_000.1, 5e6 / 7, 0)),
        34735: (3, 8, struct.pack(f"{order}8H", 1, 1, 0, 1, 1024, 0, 1, 1)),
        34737: (2, 9, b"WGS 84|\0\0"),
    }
    for order in "<>"
}
"""Byte order -> code -> type, count and bytes: scale, tie point, keys and text."""


def raw_tags(path: Path) -> tuple[str, dict[int, tuple[int, int, bytes]]]:
    """The byte order and each of these tags as it lies in the file."""
    with tifffile.TiffFile(path) as file:
        found, tags = {}, file.pages[0].tags
        for code in [code for code in (*TAGS["<"], 42113, 34264) if code in tags]:
            file.filehandle.seek(tags[code].valueoffset)
            content = file.filehandle.read(tags[code].valuebytecount)
            found[code] = (int(tags[code].dtype), tags[code].count, content)
        return file.byteorder, found


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_predicted_mask_has_the_georeference_of_its_image(
    world: Path, tmp_path: Path, order: str
) -> None:
    """Byte for byte, but not what is about the image's values; and its classes are those of the
    same pixels in a PNG, which has no place and stays one."""
    folder, bands = tmp_path / "images", np.random.default_rng(0).integers(0, 2**16, (40, 56, 4))
    bands = bands.astype(np.uint16)
    folder.mkdir()
    tags = TAGS[order]
    extra: list[Any] = [(code, *about, True) for code, about in tags.items()]
    tifffile.imwrite(
        folder / "place.tif", bands, byteorder=order, planarconfig="contig", metadata=None,
        photometric="minisblack", extratags=[*extra, (42113, 2, 3, b"-1\0", True)],
    )  # fmt: skip
    chosen = bands[..., [3, 0, 1]]
    (folder / "plain.png").write_bytes(png((chosen >> 8).astype(np.uint8)))
    tifffile.imwrite(folder / "bare.tif", chosen, photometric="rgb")
    given = PredictConfig(
        run=str(world / "teacher"), images=str(folder), out=str(tmp_path / "out"), device="cpu",
        data=DataConfig(bands=[4, 1, 2]), overlay=0.5,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"bare\.tif: has 3 bands; data\.bands=\[4, 1, 2\] asks"):
        predictions(given)
    for name in ("bare.tif", "plain.png"):
        (folder / name).rename(tmp_path / name)
    out = predictions(replace(given, out=str(tmp_path / "out2")))
    assert sorted(p.name for p in out.iterdir() if p.suffix in (".png", ".tif")) == ["place.tif"]
    assert raw_tags(out / "place.tif") == (order, tags)
    for name in ("bare.tif", "plain.png"):
        (tmp_path / name).rename(folder / name)
    (folder / "place.tif").unlink()
    whole = predictions(replace(given, data=DataConfig(), out=str(tmp_path / "out3")))
    assert sorted(p.name for p in whole.iterdir() if p.is_file()) == [
        "bare.png", "plain.png", "predictions.json",
    ]  # fmt: skip
    mask = read_indices(out / "place.tif")
    assert mask.shape == (40, 56) and np.array_equal(mask, read_indices(whole / "bare.png"))
    assert (mask == read_indices(whole / "plain.png")).mean() > 0.9, "a 256th less of each value"
    colours = np.array(voc_palette(), np.uint8).reshape(-1, 3)[mask]
    assert np.array_equal(np.array(Image.open(out / "place.tif").convert("RGB")), colours)
    with pytest.raises(InputError, match="bands"):
        predictions(replace(given, data=DataConfig(bands=[1, 2, 3]), out=str(out)))
