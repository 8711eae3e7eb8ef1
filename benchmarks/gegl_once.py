"""Runs a GEGL filter in process for benchmarks/filters.py: needs PyGObject and GEGL only.

Reads a line of JSON {op, parameters, width, height} and the RGB bytes of an image from standard
input, filters it twice, and answers with a line, the seconds of the second time, and the filtered
RGB bytes. Debian: `apt install gegl gir1.2-gegl-0.4 python3-gi`, run by /usr/bin/python3.
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


def filtered(op: str, parameters: dict[str, Any], size: tuple[int, int], raw: bytes) -> bytes:
    """One image through a graph of source, filter, crop and sink."""
    area = Gegl.Rectangle.new(0, 0, *size)
    source, sink = (Gegl.Buffer.new(FORMAT, 0, 0, *size) for _ in range(2))
    source.set(area, FORMAT, raw)
    if "bg-color" in parameters:
        parameters = {**parameters, "bg-color": Gegl.Color.new(parameters["bg-color"])}
    graph, chain = Gegl.Node(), []
    for name, properties in (
        ("buffer-source", {"buffer": source}), (op, parameters),
        ("crop", {"x": 0, "y": 0, "width": size[0], "height": size[1]}),
        ("write-buffer", {"buffer": sink}),
    ):  # fmt: skip
        chain.append(graph.create_child(f"gegl:{name}"))
        for key, value in properties.items():
            chain[-1].set_property(key, value)
    for one, other in pairwise(chain):
        one.link(other)
    chain[-1].process()
    return bytes(sink.get(area, 1.0, FORMAT, Gegl.AbyssPolicy.NONE))


Gegl.config().set_property("threads", 1)
Gegl.config().set_property("application-license", "GPL3")  # or the filters are not loaded
Gegl.init(None)
given, pixels = json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer.read()
asked = given["op"], given["parameters"], (given["width"], given["height"]), pixels
filtered(*asked)
started = time.perf_counter()
image = filtered(*asked)
sys.stdout.buffer.write(f"{time.perf_counter() - started}\n".encode() + image)
