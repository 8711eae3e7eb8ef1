"""Seeded damage: bytes, JSON and YAML trees, zip archives, pickles, safetensors headers."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Mutator = Callable[[bytes, Rng], bytes]

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 7, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.5, "", "x", "\0", "../../x",
    "🙂" * 9, [], {}, [[]], {"": {}}, [1, 2], {"a": 1}, "<script>alert(1)</script>", "$\\frac$",
)  # fmt: skip
"""What stands where something else is expected."""


def place(content: bytes, rng: Rng) -> int:
    return int(rng.integers(0, max(1, len(content))))


def flip(content: bytes, rng: Rng) -> bytes:
    """One to eight bits."""
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        made[place(content, rng)] ^= 1 << int(rng.integers(0, 8))
    return bytes(made)


def overwrite(content: bytes, rng: Rng) -> bytes:
    """A stretch of zeros, ones or noise, as a bad sector leaves."""
    made, at, size = bytearray(content), place(content, rng), int(2 ** rng.uniform(0, 12))
    size = min(size, len(content) - at)
    noise = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
    made[at : at + size] = (b"\0" * size, b"\xff" * size, noise)[int(rng.integers(0, 3))]
    return bytes(made)


def truncate(content: bytes, rng: Rng) -> bytes:
    return content[: place(content, rng)]


def insert(content: bytes, rng: Rng) -> bytes:
    at, size = place(content, rng), int(2 ** rng.uniform(0, 10))
    return content[:at] + rng.integers(0, 256, size, dtype=np.uint8).tobytes() + content[at:]


def delete(content: bytes, rng: Rng) -> bytes:
    at = place(content, rng)
    return content[:at] + content[at + int(2 ** rng.uniform(0, 10)) :]


def repeat(content: bytes, rng: Rng) -> bytes:
    """A stretch stands twice."""
    start, stop = sorted((place(content, rng), place(content, rng)))
    return content[:stop] + content[start:stop] + content[stop:]


BYTES: tuple[Mutator, ...] = (flip, flip, overwrite, truncate, insert, delete, repeat)


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree of dicts and lists."""
    found: list[tuple[Any, Any]] = []
    keys = (
        list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    )
    for key in keys:
        found += [(tree, key), *nodes(tree[key])]
    return found


def change_tree(tree: Any, rng: Rng) -> Any:
    """Replace, drop, rename, add or nudge one entry."""
    every = nodes(tree)
    if not every:
        return ODD[int(rng.integers(0, len(ODD)))]
    where, key = every[int(rng.integers(0, len(every)))]
    value, kind = where[key], int(rng.integers(0, 6))
    odd = ODD[int(rng.integers(0, len(ODD)))]
    if kind == 0:
        where[key] = odd
    elif kind == 1:
        del where[key]
    elif kind == 2 and isinstance(where, dict):
        where[f"{key}x"] = where.pop(key)
    elif kind == 3 and isinstance(where, dict):
        where["_target_"] = "os.system"
    elif kind == 4 and isinstance(value, int | float) and not isinstance(value, bool):
        where[key] = value + 1 if rng.integers(0, 2) else -value
    elif isinstance(value, str) and value:
        at = int(rng.integers(0, len(value)))
        where[key] = value[:at] + chr(int(rng.integers(32, 127))) + value[at + 1 :]
    else:
        where[key] = [value, odd]
    return tree


def json_tree(content: bytes, rng: Rng) -> bytes:
    return json.dumps(change_tree(json.loads(content), rng), indent=1).encode()


def json_text(content: bytes, rng: Rng) -> bytes:
    """What only text can say: numbers without end, depth, NaN, two of a key."""
    text, at = content.decode(), content.decode().find(": ") + 2
    bombs = ("9" * 5000, "[" * 100000, '{"a":' * 5000, "NaN", "1e999", "-Infinity", '"\\ud800"',
             "[" * 200 + "]" * 200, "1" * 300)  # fmt: skip
    bomb = bombs[int(rng.integers(0, len(bombs)))]
    places = [i for i in range(len(text)) if text.startswith(": ", i)] or [at]
    at = places[int(rng.integers(0, len(places)))] + 2
    end = min(i for i in (text.find(",", at), text.find("\n", at), len(text)) if i > 0)
    return (text[:at] + bomb + text[end:]).encode(errors="surrogatepass")


def json_lines(content: bytes, rng: Rng) -> bytes:
    """One line of many as a tree."""
    rows = content.splitlines()
    at = int(rng.integers(0, len(rows)))
    rows[at] = json.dumps(change_tree(json.loads(rows[at]), rng)).encode()
    return b"\n".join(rows) + b"\n"


def yaml_text(content: bytes, rng: Rng) -> bytes:
    """A value becomes a tag, a reference, a bomb or another type; or a line is added or lost."""
    rows, bombs = content.decode().splitlines(), (
        "!!python/object/apply:os.system ['touch executed']", "!!python/name:os.system", "*a",
        "&a [*a]", "!!binary x", "!!bool maybe", "!!timestamp x", "2001-99-99", "9" * 5000,
        "[" * 5000, "{a: " * 80, "1e999", ".nan", ".inf", "0x", "0b2", "1:99:99", "null", "[]",
        "{}", "'", "\t", "- ", "? :", "<<: 1", "=", "~", "yes", "2**70",
    )  # fmt: skip
    at, kind = int(rng.integers(0, len(rows))), int(rng.integers(0, 4))
    key, colon, _ = rows[at].partition(":")
    bomb = bombs[int(rng.integers(0, len(bombs)))]
    if kind == 0:
        del rows[at]
    elif kind == 1:
        rows.insert(at, f"{key}x: {bomb}")
    else:
        rows[at] = f"{key}{colon} {bomb}"
    return ("\n".join(rows) + "\n").encode()


def zip_fields(content: bytes, rng: Rng) -> bytes:
    """A field of a local header, of the central directory or of the end record becomes odd."""
    kinds = {b"PK\x03\x04": 30, b"PK\x01\x02": 46, b"PK\x05\x06": 22, b"PK\x06\x06": 56}
    heads = [(i, n) for mark, n in kinds.items() for i in occurrences(content, mark)]
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        at, size = heads[int(rng.integers(0, len(heads)))]
        at += int(rng.integers(2, size // 2)) * 2
        code = ("<H", "<I")[int(rng.integers(0, 2))]
        top = 256 ** struct.calcsize(code) - 1
        value = (0, 1, 8, top, int(rng.integers(0, top)))[int(rng.integers(0, 5))]
        if at + struct.calcsize(code) <= len(made):
            struct.pack_into(code, made, at, value)
    return bytes(made)


def occurrences(content: bytes, mark: bytes) -> list[int]:
    found, at = [], content.find(mark)
    while at >= 0:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def repacked(content: bytes, rng: Rng) -> bytes:
    """A whole archive with right checksums, whose pickle or a part is another: packed, double,
    without one, renamed, or with its opcodes edited."""
    source, buffer = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    parts = {i.filename: source.read(i) for i in source.infolist()}
    names = list(parts)
    kind, at = int(rng.integers(0, 7)), names[int(rng.integers(0, len(names)))]
    pickled = next(n for n in names if n.endswith("data.pkl"))
    pack = zipfile.ZIP_DEFLATED if kind == 0 else zipfile.ZIP_STORED
    if kind == 1:
        del parts[at]
    elif kind == 2:
        parts[at + "x"] = parts.pop(at)
    elif kind >= 3:
        edit = (flip, truncate, globals_of, numbers_of)[kind - 3]
        parts[pickled] = edit(parts[pickled], rng)
    with zipfile.ZipFile(buffer, "w", pack) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return buffer.getvalue()


def globals_of(pickled: bytes, rng: Rng) -> bytes:
    """Another function is called where a tensor is made."""
    names = ("os\nsystem", "builtins\neval", "torch\nload", "torch._utils\n_rebuild_sparse_tensor",
             "torch._utils\n_rebuild_meta_tensor_no_storage")  # fmt: skip
    calls = [f"c{name}\n".encode() for name in names]
    return pickled.replace(
        b"ctorch._utils\n_rebuild_tensor_v2\n", calls[int(rng.integers(0, len(calls)))]
    )


def numbers_of(pickled: bytes, rng: Rng) -> bytes:
    """A small integer of the pickle (shapes, strides, offsets) becomes a huge or negative one."""
    at = occurrences(pickled, b"K")
    chosen = at[int(rng.integers(0, len(at)))] if at else 0
    huge = (2**31 - 1, -1, -(2**31), 10**6)[int(rng.integers(0, 4))]
    return pickled[:chosen] + b"J" + struct.pack("<i", huge) + pickled[chosen + 2 :]


def safetensors_header(content: bytes, rng: Rng) -> bytes:
    """Length, shapes, types and offsets of the header."""
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    names = [n for n in header if n != "__metadata__"]
    entry = header[names[int(rng.integers(0, len(names)))]]
    kind = int(rng.integers(0, 7))
    if kind == 0:
        lengths = (0, 1, 2**63, 2**64 - 1, size - 1, size + 1, 100_000_001, len(content))
        return struct.pack("<Q", lengths[int(rng.integers(0, len(lengths)))]) + content[8:]
    if kind == 1:
        entry["shape"] = ([2**40, 2**40], [-1], [0], [], [1] * 99)[int(rng.integers(0, 5))]
    elif kind == 2:
        other = header[names[int(rng.integers(0, len(names)))]]
        entry["data_offsets"] = list(other["data_offsets"])
    elif kind == 3:
        entry["data_offsets"] = [int(rng.integers(-9, 99)), int(rng.integers(-9, 2**40))]
    elif kind == 4:
        kinds = ("F64", "F16", "BF16", "I8", "U64", "BOOL", "F8_E4M3", "F4", "C64", "X")
        entry["dtype"] = kinds[int(rng.integers(0, len(kinds)))]
    elif kind == 5:
        header = change_tree(header, rng)
    else:
        return struct.pack("<Q", size * 2) + b"[" * size * 2 + data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
