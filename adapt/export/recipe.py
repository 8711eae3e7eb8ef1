"""How a network is made again without this project, and what goes in and comes out of it."""

import ast
import inspect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import NETWORKS, TORCHVISION
from adapt.networks.batchnorm import eval_mode
from adapt.networks.factory import COUNTS
from adapt.networks.taps import logits_of
from adapt.settings.groups import NetworkConfig

OURS = "network"
"""Module under which the copy of one of our own architectures is imported."""
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
PROBE = 256
"""Pixels a side of the image on which the output's stride is measured."""


@dataclass(frozen=True)
class Recipe:
    """`from module import name; net = name(**arguments)`."""

    module: str
    name: str
    arguments: dict[str, Any]
    source: Path | None
    """File that `module` is a copy of; None = installed, or the user's own."""
    root: Path | None
    """Folder from which the user's own module is imported."""
    requires: tuple[str, ...]
    """Packages that it imports, besides Python's own."""

    @property
    def call(self) -> str:
        """The Python expression that makes the network."""
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


def recipe_of(config: NetworkConfig, net: nn.Module, classes: int) -> Recipe:
    """The recipe of a network that `build_network(config, classes)` has made."""
    if config.factory:
        module, _, name = config.factory.partition(":")
        loaded = import_module(module)
        wanted = inspect.signature(getattr(loaded, name)).parameters
        counts = [p for p in wanted if p in COUNTS and p not in config.arguments]
        arguments = config.arguments | dict.fromkeys(counts[:1], classes)
        file = Path(inspect.getfile(loaded)).resolve()
        depth = module.count(".") + (file.name == "__init__.py")
        return Recipe(module, name, arguments, None, file.parents[depth], ("torch", module))
    if config.name in TORCHVISION:
        arguments = dict.fromkeys(("weights", "weights_backbone", "aux_loss"))
        arguments["num_classes"] = classes
        where = "torchvision.models.segmentation"
        return Recipe(where, config.name, arguments, None, None, ("torch", "torchvision"))
    make, kind = NETWORKS[config.name], type(net)
    fixed = make.keywords if isinstance(make, partial) else {}
    known = {"num_classes": classes, "width": config.width, "batch_norm": config.batch_norm} | fixed
    arguments = {p: known[p] for p in inspect.signature(kind).parameters if p in known}
    source = Path(inspect.getfile(kind))
    return Recipe(OURS, kind.__name__, arguments, source, None, packages(source))


def packages(source: Path) -> tuple[str, ...]:
    """Names of the packages that a file imports, without the standard library's."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return tuple(sorted(found - sys.stdlib_module_names))


@dataclass(frozen=True)
class Signature:
    """What a network takes and returns."""

    output: str
    """How its logits are taken from what it returns: ``, `["out"]` or `.logits`."""
    stride: int
    """Pixels of the image a cell of the logits."""
    multiple: int | None
    """Height and width must be multiples of it; None = only sizes of its own are taken."""


def signature_of(net: nn.Module, size: tuple[int, int]) -> Signature:
    """Found by running the network, in eval mode, on blank images.

    Args:
        net: on the CPU.
        size: (H, W) of the images that it is made for.

    Raises:
        InputError: it does not run at that size, or its output has no logits.
    """
    multiple = next((m for m in MULTIPLES if takes(net, m)), None)
    height, width = (PROBE, PROBE) if multiple else size
    try:
        output = blank(net, height, width)
    except (RuntimeError, AssertionError) as error:
        what = f"network: it does not take images of {height}x{width} ({error})"
        raise InputError(f"{what}; give data.resize=[H,W]") from None
    kind = "" if isinstance(output, Tensor) else ".logits"
    kind = '["out"]' if isinstance(output, Mapping) and "out" in output else kind
    logits = logits_of(output)
    if logits.ndim != 4:
        shape = tuple(logits.shape)
        raise InputError(f"network: its output is {shape}; it must be logits (B, C, h, w)")
    return Signature(kind, round(height / logits.shape[2]), multiple)


def blank(net: nn.Module, height: int, width: int) -> object:
    with torch.no_grad(), eval_mode(net):
        return net(torch.zeros(1, 3, height, width))


def takes(net: nn.Module, multiple: int) -> bool:
    """Does it run at sizes that are multiples of this, and of nothing larger?"""
    try:
        for height, width in odd_sizes(multiple):
            blank(net, height, width)
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def odd_sizes(multiple: int) -> list[tuple[int, int]]:
    """Two (H, W) of odd multiples: 97 x 99 and 51 x 49, 112 x 144 and 80 x 48, …"""
    large, small = (max(3, math.ceil(pixels / multiple)) | 1 for pixels in (96, 48))
    cells = [(large, large + 2), (small + 2, small)]
    return [(multiple * rows, multiple * columns) for rows, columns in cells]
