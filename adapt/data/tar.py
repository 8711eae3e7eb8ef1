"""Where the members of a tar archive lie, from its headers alone: nothing is unpacked.

ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU's long names. Python's tarfile reads a header of
any length into memory, keeps every member and takes twice as long.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from adapt.data.archives import MAX_SHARD, opened
from adapt.errors import InputError

BLOCK = 512
END = bytes(BLOCK)
MAX_MEMBERS = 1_000_000
"""Of one archive."""
MAX_EXTENDED = 1 << 16
"""Bytes of one extended header: names, times, attributes."""
MAX_NAME = 1024
PADDING = 1 << 20
"""Bytes of zeros that may follow the end; tar fills up to its blocking factor, 10 kB by default."""

FILES, FOLDER, EXTENDED, GLOBAL = (b"0", b"\0", b"7"), b"5", b"x", b"g"
LONG_NAME, LONG_LINK = b"L", b"K"
OTHERS = {
    b"1": "a hard link; tar --hard-dereference stores the file instead",
    b"2": "a symbolic link; tar --dereference stores the file instead",
    b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file; do without --sparse",
}  # fmt: skip
"""Kinds of members that are refused."""
PACKED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\3\4": "ZIP",
}  # fmt: skip
"""First bytes of what is no plain tar archive -> what packed it."""


class Member(NamedTuple):
    name: str
    """Relative, without `..`."""
    offset: int
    """Of its content in the archive."""
    size: int


def members(path: Path) -> Iterator[Member]:
    """The regular files of a tar archive, in its order.

    Raises:
        InputError: no plain tar archive, damaged or cut off; links, devices and sparse files; a
            name that leads out of the archive; above MAX_MEMBERS or MAX_EXTENDED.
    """
    with opened(path, MAX_SHARD, "shard") as stream:
        descriptor = stream.fileno()
        end, at = os.fstat(descriptor).st_size, 0
        extended: dict[bytes, bytes] = {}
        for _ in range(MAX_MEMBERS):
            header = os.pread(descriptor, BLOCK, at)
            if header == END:
                refuse_more(path, os.pread(descriptor, PADDING + 1, at))
                return
            check(path, header, at)
            kind, start = header[156:157], at + BLOCK
            about = kind in (EXTENDED, GLOBAL, LONG_NAME, LONG_LINK)
            given = b"" if about else extended.get(b"size", b"")
            size = number(given or header[124:136], path, at)
            at = start + -(-size // BLOCK) * BLOCK
            if start + size > end:
                raise InputError(f"{path}: cut off: its member at byte {start} is not whole")
            if about:
                if size > MAX_EXTENDED:
                    most = f"at most {MAX_EXTENDED} are read"
                    raise InputError(f"{path}: an extended header of {size} bytes; {most}")
                body = os.pread(descriptor, size, start)
                extended |= meaning(kind, body, path, start)
                continue
            name = name_of(header, extended)
            extended = {}
            if kind == FOLDER or (kind in FILES and name.endswith("/")):
                continue
            if kind not in FILES:
                what = OTHERS.get(kind, f"of a kind {kind!r} that is not read")
                raise InputError(f"{path}: its member {name!r} is {what}")
            yield Member(checked(name, path), start, size)
        raise InputError(f"{path}: more than {MAX_MEMBERS} members; make several shards of it")


def check(path: Path, header: bytes, at: int) -> None:
    """Raises InputError where no header of a member begins."""
    if len(header) == BLOCK:
        given = header[148:156].strip(b" \0")
        own = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        if own == octal(given):
            return
    if at:
        short = len(header) < BLOCK
        what = "cut off: it has no end" if short else f"damaged: no header at byte {at}"
        raise InputError(f"{path}: {what}")
    packed = next((what for magic, what in PACKED.items() if header.startswith(magic)), "")
    kind = f"packed by {packed}, which has to be read from its start; unpack it" if packed else ""
    raise InputError(f"{path}: {kind or 'no tar archive'}")


def octal(digits: bytes) -> int:
    """-1 where they are none."""
    return int(digits, 8) if digits and not digits.strip(b"01234567") else -1


def number(field: bytes, path: Path, at: int) -> int:
    """A size: octal digits, GNU's binary form of the large, or pax's decimal digits."""
    if len(field) == 12 and field[0] == 0x80:
        value = int.from_bytes(field[1:])
    elif len(field) == 12:
        value = octal(field.strip(b" \0") or b"0")
    else:
        value = int(field) if field.isdigit() and len(field) < 20 else -1
    if not 0 <= value < MAX_SHARD:
        raise InputError(f"{path}: damaged: no size in the header at byte {at}")
    return value


def meaning(kind: bytes, body: bytes, path: Path, at: int) -> dict[bytes, bytes]:
    """What an extended header says of the next member; a global one must not say anything of it."""
    if kind == LONG_NAME:
        return {b"path": body.rstrip(b"\0")}
    if kind == LONG_LINK:
        return {}
    found = {}
    while body:
        digits = body[:20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record, whole = body[len(digits) + 1 : length], length <= len(body)
        body = body[length:]
        if not whole or not record.endswith(b"\n"):
            raise InputError(f"{path}: damaged: a broken extended header at byte {at}")
        key, _, value = record[:-1].partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise InputError(f"{path}: a member is {OTHERS[b'S']}")
        if key in (b"path", b"size"):
            found[key] = value
    if kind == GLOBAL and found:
        raise InputError(f"{path}: an extended header for all members gives their name or size")
    return found


def name_of(header: bytes, extended: dict[bytes, bytes]) -> str:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return extended.get(b"path", name).decode(errors="surrogateescape")


def checked(name: str, path: Path) -> str:
    """A member's name without `./` before it; raises InputError where it leads out."""
    pure = PurePosixPath(name)
    if "\0" in name or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise InputError(f"{path}: its member {name!r} leads out of the archive")
    if len(name) > MAX_NAME:
        raise InputError(f"{path}: a member's name of {len(name)} letters; at most {MAX_NAME}")
    return str(pure)


def refuse_more(path: Path, rest: bytes) -> None:
    """Raises InputError where something follows an archive's end, which tar would leave out."""
    if len(rest) > PADDING or rest.strip(b"\0"):
        raise InputError(
            f"{path}: more follows behind its end, as where archives were joined by cat; join them "
            "by tar --concatenate, or keep them apart"
        )
