"""Runs GEGL filters in process for benchmarks/filters.py: needs PyGObject and GEGL only.

Reads requests from standard input, each a line of JSON {op, parameters, width, height} and the RGB
bytes of an image; answers with a line of JSON {seconds, bytes} and the filtered RGB bytes. Debian:
`apt install gegl gir1.2-gegl-0.4 python3-gi`, run by /usr/bin/python3. One thread.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

import gi

gi.require_version("Gegl", "0.4")
from gi.repository import Gegl

FORMAT = "R'G'B' u8"


def value(given: Any) -> Any:
    """A JSON value as GEGL's property: lists are colours, abyss policies and the like enums."""
    return Gegl.Color.new(f"#{bytes(given).hex()}") if isinstance(given, list) else given


def filtered(op: str, parameters: dict[str, Any], size: tuple[int, int], raw: bytes) -> bytes:
    """One image through a graph of source, filter, crop and sink."""
    area = Gegl.Rectangle.new(0, 0, *size)
    given, found = (Gegl.Buffer.new(FORMAT, 0, 0, *size) for _ in range(2))
    given.set(area, FORMAT, raw)
    graph = Gegl.Node()
    chain = [graph.create_child(f"gegl:{name}") for name in ("buffer-source", op, "crop")]
    chain.append(graph.create_child("gegl:write-buffer"))
    chain[0].set_property("buffer", given)
    for name, given_value in parameters.items():
        chain[1].set_property(name.replace("_", "-"), value(given_value))
    for name, number in (("width", size[0]), ("height", size[1]), ("x", 0), ("y", 0)):
        chain[2].set_property(name, number)
    chain[3].set_property("buffer", found)
    for one, other in pairwise(chain):
        one.link(other)
    chain[3].process()
    return bytes(found.get(area, 1.0, FORMAT, Gegl.AbyssPolicy.NONE))


def main() -> None:
    config = Gegl.config()
    config.set_property("threads", 1)
    config.set_property("application-license", "GPL3")  # or the filters are not loaded
    Gegl.init(None)
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        size = (request["width"], request["height"])
        raw = sys.stdin.buffer.read(3 * size[0] * size[1])
        started = time.perf_counter()
        image = filtered(request["op"], request["parameters"], size, raw)
        answer = {"seconds": time.perf_counter() - started, "bytes": len(image)}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + image)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
