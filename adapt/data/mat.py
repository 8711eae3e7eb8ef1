"""MATLAB 5 files, as far as lists and masks need them: numbers, text, cells and structs.

scipy.io.loadmat is not for files of strangers: cells within cells overflow its stack, which ends
the process, and what zlib unpacks to is not bounded. Here nothing is allocated that the file does
not hold, what is packed stays below LIMIT, and nesting ends at DEPTH. Source: MathWorks, "MAT-File
Format", chapter 1 (level 5).
"""

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data.archives import read_file
from adapt.errors import InputError

LIMIT = 1 << 27
"""Bytes, packed and unpacked, of one file."""
DEPTH = 16
"""Cells and structs within each other."""

MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, CHAR, NUMBERS = 1, 2, 4, range(6, 16)
NUMERIC = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16{}", 16: "utf-8", 17: "utf-16{}", 18: "utf-32{}"}


class MatError(ValueError):
    """Bytes that are no MATLAB 5 file, or that this module does not read."""


def read_mat(path: Path, name: str, what: str = "a MATLAB 5 file") -> Any:
    """The variable `name` of a file, which should be `what`.

    Numbers become arrays of the stored type and shape, text a str, a struct a dict (an array of
    them a list), cells a list in MATLAB's order (columns first); what is none of these, None.

    Raises:
        InputError: no such file; not level 5 (MATLAB's -v7 and older); broken; or no such variable.
    """
    try:
        return variable(memoryview(read_file(path, LIMIT)), name)
    except (MatError, UnicodeDecodeError, zlib.error, struct.error) as error:
        raise InputError(f"{path}: not {what} ({error})") from None


def variable(content: memoryview, name: str) -> Any:
    orders = {b"IM": "<", b"MI": ">"}
    order = orders.get(bytes(content[126:128]), "")
    if not order or struct.unpack_from(order + "H", content, 124)[0] != 0x0100:
        raise MatError("no header of MATLAB level 5, as `save -v7` writes it")
    at, left, names = 128, LIMIT, []
    while at + 8 <= len(content):
        kind, body, at = element(content, at, order)
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            body = memoryview(unpacker.decompress(body, left))
            if not unpacker.eof:
                raise MatError(f"it is cut off, or unpacks to more than {LIMIT} bytes")
            left -= len(body)
            kind, body, _ = element(body, 0, order)
        if kind == MATRIX:
            found, value = matrix(body, order, 0, name)
            if found == name:
                return value
            names.append(found)
    raise MatError(f"no variable {name!r}; it has {', '.join(names) or 'none'}")


def element(content: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Type, content and end of the data element at `at`."""
    if at + 8 > len(content):
        raise MatError("it is cut off")
    kind, size = struct.unpack_from(order + "II", content, at)
    start, end = at + 8, at + 8 + size
    if kind >> 16:  # the small format: size and type in four bytes, content in the next four
        kind, size = kind & 0xFFFF, kind >> 16
        start, end = at + 4, at + 4 + size
        if size > 4:
            raise MatError("a small element has more than four bytes")
        after = at + 8
    else:
        after = end if kind == COMPRESSED else end + -size % 8
    if end > len(content):
        raise MatError("it is cut off")
    return kind, content[start:end], after


def matrix(
    content: memoryview, order: str, depth: int, wanted: str | None = None
) -> tuple[str, Any]:
    """Name and value of a matrix element; of one with another name than `wanted` no value."""
    if not len(content):
        return "", np.zeros((0, 0))
    if depth > DEPTH:
        raise MatError(f"more than {DEPTH} cells or structs within each other")
    _, flags, at = element(content, 0, order)
    _, sides, at = element(content, at, order)
    _, label, at = element(content, at, order)
    name = bytes(label).decode("latin-1")
    if wanted not in (None, name):
        return name, None
    if len(flags) < 4:
        raise MatError("a matrix without its class")
    kind = struct.unpack_from(order + "I", flags)[0] & 0xFF
    shape = np.frombuffer(sides[: len(sides) // 4 * 4], order + "i4").tolist()
    if not shape or min(shape) < 0:
        raise MatError(f"a matrix of shape {shape}")
    count = math.prod(shape)
    if kind in (CELL, STRUCT):
        return name, inner(content, at, order, depth, count, struct_of=kind == STRUCT)
    if kind not in (CHAR, *NUMBERS):
        return name, None
    code, body, _ = element(content, at, order)
    if kind == CHAR:
        if code not in TEXT:
            raise MatError(f"text of type {code}")
        codec = TEXT[code].format("-le" if order == "<" else "-be")
        return name, bytes(body).decode(codec)
    if code not in NUMERIC:
        raise MatError(f"numbers of type {code}")
    dtype = np.dtype(order + NUMERIC[code])
    if len(body) != count * dtype.itemsize:
        raise MatError(f"{len(body)} bytes for a matrix of shape {shape}")
    return name, np.frombuffer(body, dtype).reshape(shape, order="F")


def inner(
    content: memoryview, at: int, order: str, depth: int, count: int, *, struct_of: bool
) -> Any:
    """The matrices within a cell array, or within a struct as a dict of its fields."""
    fields = [""]
    if struct_of:
        _, width, at = element(content, at, order)
        _, text, at = element(content, at, order)
        size = struct.unpack(order + "i", width)[0]
        if size < 1:
            raise MatError(f"field names of {size} bytes")
        names = (bytes(text[i : i + size]) for i in range(0, len(text), size))
        fields = [name.split(b"\0")[0].decode("latin-1") for name in names]
    if count * len(fields) > len(content) // 8:
        raise MatError("it is cut off")
    found: list[Any] = []
    for _ in range(count):
        values = {}
        for field in fields:
            kind, body, at = element(content, at, order)
            if kind != MATRIX:
                raise MatError(f"an element of type {kind} among cells or fields")
            values[field] = matrix(body, order, depth + 1)[1]
        found.append(values if struct_of else values[""])
    return found[0] if struct_of and count == 1 else found
