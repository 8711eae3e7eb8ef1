"""Valid small files of every kind that is read, and what breaks them. All of it is drawn from a
random generator, so that a case can be made again from (seed, number)."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator
from PIL import Image, PngImagePlugin
from scipy.io import savemat

T = TypeVar("T")
HEIGHT, WIDTH = 24, 33
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Original(NamedTuple):
    name: str
    """Its suffix decides how it is read."""
    content: bytes


class Mutant(NamedTuple):
    name: str
    content: bytes
    mutation: str
    refused: bool
    """Must it be refused? Not known of most."""


def pick(rng: Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(0, len(items)))]


# ---- valid files


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, body) for kind, body in chunks)


def plain_png(rng: Generator, depth: int, colour: int, interlaced: int = 0) -> bytes:
    """A kind of PNG that Pillow does not write, with random pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = io.BytesIO()
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, steps
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                  (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip
    for column, row, across, down in passes:
        wide, high = -(-(WIDTH - column) // across), -(-(HEIGHT - row) // down)
        for _ in range(high):
            data.write(b"\0" + rng.bytes(-(-wide * channels * depth // 8)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlaced))]
    if colour == 3:
        chunks.append((b"PLTE", rng.bytes(3 * 2**depth)))
    return png_of([*chunks, (b"IDAT", zlib.compress(data.getvalue())), (b"IEND", b"")])


def originals(rng: Generator) -> list[Original]:
    """Every mode of PNG and JPEG, masks as PNG and .mat, other formats under wrong names."""
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image = Image.fromarray(np.kron(pixels[::6, ::6], np.ones((6, 6, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 8\n4d4d002a00000008")
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>', zip=True)
    text.add_text("comment", "said " * 50, zip=True)
    found = []
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"):
        source = image.convert("L" if mode == "I;16" else mode)
        source = source if mode != "I;16" else Image.fromarray(pixels[..., 0].astype(np.uint16))
        found.append(Original(f"{mode.replace(';', '')}.png", encoded(source, "PNG")))
    found += [
        Original(
            "texts.png", encoded(image, "PNG", pnginfo=text, exif=exif, icc_profile=b"icc" * 99)
        ),
        Original("transparent.png", encoded(image.convert("P"), "PNG", transparency=b"\xff\x80\0")),
        Original(
            "animated.png", encoded(image, "PNG", save_all=True, append_images=[image.rotate(9)])
        ),
    ]
    for depth, colour in ((2, 0), (4, 0), (16, 2), (1, 3), (4, 3), (16, 4), (16, 6)):
        found.append(Original(f"{depth}bit{colour}.png", plain_png(rng, depth, colour)))
    found.append(Original("interlaced.png", plain_png(rng, 8, 2, interlaced=1)))
    for name, mode, options in (
        ("grey", "L", {}), ("colour", "RGB", {"exif": exif}), ("print", "CMYK", {}),
        ("progressive", "RGB", {"progressive": True, "quality": 95}),
        ("restarts", "RGB", {"restart_marker_rows": 1, "subsampling": 0}),
        ("profile", "RGB", {"icc_profile": b"icc" * 999, "comment": b"said", "dpi": (72, 72)}),
    ):  # fmt: skip
        found.append(Original(f"{name}.jpg", encoded(image.convert(mode), "JPEG", **options)))
    found.append(Original("pair.jpg", encoded(image, "MPO", save_all=True, append_images=[image])))
    for kind in ("GIF", "BMP", "TIFF", "WEBP", "EPS", "ICO", "PPM", "TGA", "JPEG2000"):
        found.append(Original(f"{kind}_in_disguise.jpg", encoded(image, kind)))
    labels = rng.integers(0, 21, (HEIGHT, WIDTH), dtype=np.uint8)
    found.append(Original("labels.png", encoded(Image.fromarray(labels), "PNG")))
    coloured = Image.fromarray(labels)
    coloured.putpalette(rng.bytes(63))
    found.append(Original("palette_labels.png", encoded(coloured, "PNG")))
    parts = {"Segmentation": labels, "CategoriesPresent": np.unique(labels).astype(float)}
    border = np.empty((2, 1), object)
    border[:, 0] = [labels > 3, "text"]
    for packed in (False, True):
        buffer = io.BytesIO()
        savemat(buffer, {"GTcls": parts | {"Boundaries": border}}, do_compression=packed)
        found.append(Original(f"{'packed' if packed else 'plain'}.mat", buffer.getvalue()))
    return found


# ---- mutations of any bytes


def cut(rng: Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def flip(rng: Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for at in rng.choice(len(content), min(len(content), int(rng.integers(1, 4))), replace=False):
        changed[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def insert(rng: Generator, content: bytes) -> bytes:
    at = int(rng.integers(0, len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at:]


def delete(rng: Generator, content: bytes) -> bytes:
    at = int(rng.integers(0, len(content)))
    return content[:at] + content[at + int(rng.integers(1, 9)) :]


def overwrite(rng: Generator, content: bytes) -> bytes:
    """A field of some width by an extreme value."""
    at = int(rng.integers(0, len(content)))
    value = pick(rng, [b"\0", b"\xff", b"\x7f\xff\xff\xff", bytes(4), b"\xff\xff", b"\x80\0"])
    return content[:at] + value + content[at + len(value) :]


def splice(rng: Generator, content: bytes) -> bytes:
    """A part of it again, somewhere else."""
    a, b, at = sorted(rng.integers(0, len(content) + 1, 3).tolist())
    return content[:at] + content[a:b] + content[at:]


ANY = {f.__name__: f for f in (cut, flip, insert, delete, overwrite, splice)}


# ---- mutations that keep a PNG's chunks whole, checksums included


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        found.append((kind, content[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def size_field(rng: Generator) -> int:
    low = [0, 1, 2, WIDTH - 1, HEIGHT + 1, 255, 4096]
    high = [10_000, 20_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1]
    return int(rng.choice(low if rng.random() < 0.7 else high))


def png_header(rng: Generator, chunks: list[tuple[bytes, bytes]]) -> None:
    fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    which = int(rng.integers(0, 7))
    values = [1, 2, 3, 4, 6, 8, 16, 255]
    fields[which] = size_field(rng) if which < 2 else int(rng.choice(values))
    chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))


def png_extra(rng: Generator, chunks: list[tuple[bytes, bytes]]) -> None:
    """A chunk of some kind with a random or a bloated body, anywhere behind the header."""
    kinds = (
        b"iCCP zTXt iTXt tEXt eXIf tRNS PLTE pHYs gAMA cHRM sRGB acTL fcTL fdAT IDAT IHDR IEND "
        b"CgBI caBX"
    ).split()
    bomb = zlib.compress(bytes(1 << 22))
    profile = b"Raw profile type exif\0"
    bodies = [
        b"", b"x", rng.bytes(int(rng.integers(1, 40))), b"x\0\0" + bomb, b"x\0\1\0\0\0" + bomb,
        profile + b"\0" + bomb, b"XML:com.adobe.xmp\0\1\0\0\0" + bomb, profile + rng.bytes(30),
        b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation=\"9", hostile_exif(rng),
        struct.pack(">II", 3, 0),
        struct.pack(">IIIIIHHBB", 0, 5, 5, 1, 1, 1, 1, 0, 0),
    ]  # fmt: skip
    body = bodies[int(rng.integers(0, len(bodies)))]
    for _ in range(int(rng.choice([1, 1, 1, 30]))):
        chunks.insert(int(rng.integers(1, len(chunks) + 1)), (pick(rng, kinds), body))


def png_order(rng: Generator, chunks: list[tuple[bytes, bytes]]) -> None:
    """A chunk twice, dropped, or two exchanged."""
    a, b = rng.integers(0, len(chunks), 2).tolist()
    what = int(rng.integers(0, 3))
    if what == 0:
        chunks.insert(b, chunks[a])
    elif what == 1 and len(chunks) > 1:
        del chunks[a]
    else:
        chunks[a], chunks[b] = chunks[b], chunks[a]


def png_body(rng: Generator, chunks: list[tuple[bytes, bytes]]) -> None:
    """Random changes within a chunk."""
    full = [i for i, (_, body) in enumerate(chunks) if body]
    at = int(rng.choice(full))
    change = list(ANY.values())[int(rng.integers(0, len(ANY)))]
    chunks[at] = (chunks[at][0], change(rng, chunks[at][1]))


def png_pixels(rng: Generator, chunks: list[tuple[bytes, bytes]]) -> None:
    """Other pixels behind an intact compression: broken filter types, too few, far too many."""
    for i, (kind, body) in enumerate(chunks):
        if kind == b"IDAT" and body:
            data = zlib.decompress(body)
            what = int(rng.integers(0, 4)) if data else 2
            changed = (flip(rng, data), cut(rng, data)) if data else (b"", b"")
            made = (*changed, data + bytes(1 << 22), b"")[what]
            chunks[i] = (kind, zlib.compress(made))


IN_PNG = {f.__name__: f for f in (png_header, png_extra, png_order, png_body, png_pixels)}


# ---- mutations of a JPEG's segments


def segments_of(content: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Markers and bodies up to the start of scan, and the rest."""
    at, found = 2, []
    while True:
        marker, size = struct.unpack_from(">xBH", content, at)
        found.append((marker, content[at + 4 : at + 2 + size]))
        at += 2 + size
        if marker == 0xDA:
            return found, content[at:]


def hostile_exif(rng: Generator) -> bytes:
    """A directory of tags, cut off, pointing outside, in a circle, or of tags that overlap."""
    count = int(rng.choice([0, 1, 3, 200, 65_535]))
    tags = []
    for _ in range(min(count, 250)):
        tag = 0x0112 if rng.random() < 0.3 else int(rng.integers(0, 65_536))
        number = pick(rng, [0, 1, 1, 2**31])
        value = int(rng.integers(0, 2**32))
        tags.append(struct.pack(">HHII", tag, int(rng.integers(0, 14)), number, value))
    start = int(rng.choice([8, 8, 8, 0, 4, 2**32 - 1]))
    return b"MM\0*" + struct.pack(">IH", start, count) + b"".join(tags) + b"\0\0\0\x08"


def jpeg_size(rng: Generator, parts: list[tuple[int, bytes]]) -> None:
    for i, (marker, body) in enumerate(parts):
        if 0xC0 <= marker <= 0xC2:
            changed = bytearray(body)
            which = int(rng.integers(0, 4))
            if which < 2:
                struct.pack_into(">H", changed, 1 + 2 * which, size_field(rng) & 0xFFFF)
            else:
                changed[{2: 0, 3: 5}[which]] = int(rng.choice([0, 1, 2, 3, 4, 12, 16, 255]))
            parts[i] = (marker, bytes(changed))


def jpeg_extra(rng: Generator, parts: list[tuple[int, bytes]]) -> None:
    """A segment of some kind with a hostile body, anywhere."""
    bodies = [
        b"", rng.bytes(int(rng.integers(1, 60))), b"Exif\0\0" + hostile_exif(rng),
        b"MPF\0" + hostile_exif(rng), b"ICC_PROFILE\0\1\1" + rng.bytes(20), b"ICC_PROFILE\0",
        b"Photoshop 3.0\0" + b"8BIM" + rng.bytes(12), b"JFIF\0\1", b"Adobe",
        b"Adobe\0\x64\0\0\0\0\2",
        b"http://ns.adobe.com/xap/1.0/\0tiff:Orientation=\"7",
    ]  # fmt: skip
    markers = bytes.fromhex("e0 e1 e1 e2 ed ee fe c0 c2 c4 db dd dc da 01")
    for _ in range(int(rng.choice([1, 1, 1, 40]))):
        segment = (pick(rng, markers), bodies[int(rng.integers(0, len(bodies)))][:60_000])
        parts.insert(int(rng.integers(0, len(parts) + 1)), segment)


def jpeg_order(rng: Generator, parts: list[tuple[int, bytes]]) -> None:
    a, b = rng.integers(0, len(parts), 2).tolist()
    what = int(rng.integers(0, 3))
    if what == 0:
        parts.insert(b, parts[a])
    elif what == 1 and len(parts) > 1:
        del parts[a]
    else:
        parts[a], parts[b] = parts[b], parts[a]


def jpeg_marker(rng: Generator, parts: list[tuple[int, bytes]]) -> None:
    at = int(rng.integers(0, len(parts)))
    parts[at] = (int(rng.integers(0, 256)), parts[at][1])


def jpeg_body(rng: Generator, parts: list[tuple[int, bytes]]) -> None:
    full = [i for i, (_, body) in enumerate(parts) if body]
    at = int(rng.choice(full))
    change = list(ANY.values())[int(rng.integers(0, len(ANY)))]
    parts[at] = (parts[at][0], change(rng, parts[at][1]))


def jpeg_scans(rng: Generator, parts: list[tuple[int, bytes]]) -> None:
    """The same scan, hundreds of times."""
    parts.extend([parts[-1]] * int(rng.choice([5, 500])))


IN_JPEG = {
    f.__name__: f for f in (jpeg_size, jpeg_extra, jpeg_order, jpeg_marker, jpeg_body, jpeg_scans)
}


def joined(parts: list[tuple[int, bytes]], rest: bytes) -> bytes:
    made = (struct.pack(">BBH", 0xFF, marker, len(b) + 2) + b for marker, b in parts)
    return b"\xff\xd8" + b"".join(made) + rest


# ---- a case


def mutant(seed: int, number: int, files: list[Original]) -> Mutant:
    """Case `number` of a campaign: one of `files`, broken in one way, seldom in several."""
    rng = np.random.default_rng([seed, number])
    name, content = files[int(rng.integers(0, len(files)))]
    changed, done = content, []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        changed, how = broken(rng, changed)
        done.append(how)
    changes = changed != content
    by_bytes = len(done) == 1 and done[0] in ("cut", "flip", "insert", "delete", "overwrite")
    certain = by_bytes and (png(content) or (done == ["cut"] and jpeg(content)))
    if name == "pair.jpg":  # a cut in its second picture leaves the first
        certain = False
    return Mutant(name, changed, "+".join(done), bool(certain and changes))


def png(content: bytes) -> bool:
    return content.startswith(SIGNATURE)


def jpeg(content: bytes) -> bool:
    return content.startswith(b"\xff\xd8")


def broken(rng: Generator, content: bytes) -> tuple[bytes, str]:
    """One change and its name; what cannot be taken apart any more gets a change of its bytes."""
    if not content:
        return rng.bytes(int(rng.integers(0, 9))), "random"
    inner = IN_PNG if png(content) else IN_JPEG if jpeg(content) else {}
    names = [*ANY, *inner] if rng.random() < 0.4 or not inner else [*inner]
    how = names[int(rng.integers(0, len(names)))]
    if how not in inner:
        return ANY[how](rng, content), how
    try:
        if png(content):
            chunks = chunks_of(content)
            IN_PNG[how](rng, chunks)
            return png_of(chunks), how
        parts, rest = segments_of(content)
        IN_JPEG[how](rng, parts)
        return joined(parts, rest), how
    except (struct.error, IndexError, ValueError, zlib.error):
        return flip(rng, content), "flip"


# ---- lists

ENTRIES = (
    "../../etc/passwd", "/etc/passwd", "a\0b.png", "..", ".", "", "x" * 5000, "train/link.png",
    "train/../../out.png", "train//000.png", "é.png", "\ufeff", "train/loop.png", "\u2028", '"',
    "link/out.png", "~", "$HOME/x.png", "file:///etc/passwd", "C:\\x.png", "-", "train",
)  # fmt: skip


def mutated_text(rng: Generator, text: str) -> tuple[bytes, str]:
    """A list with an entry replaced by a hostile one, a line changed, or its bytes broken."""
    rows = text.split("\n")
    at = int(rng.integers(0, len(rows)))
    comma = "," if "," in rows[at] else "/" if rng.random() < 0.3 else " "
    cells = rows[at].split(comma)
    which = int(rng.integers(0, len(cells)))
    entry = pick(rng, ENTRIES)
    changed = comma.join([*cells[:which], entry, *cells[which + 1 :]])
    changes = {
        "entry": [*rows[:at], changed, *rows[at + 1 :]],
        "line": [*rows[:at], entry, *rows[at:]],
        "twice": [*rows, rows[at]],
        "fewer": rows[:at],
        "cells": [*rows[:at], rows[at] + comma + entry, *rows[at + 1 :]],
    }
    how = pick(rng, [*changes, "bytes"])
    if how == "bytes":
        return broken(rng, text.encode())
    return "\n".join(changes[how]).encode(), how
