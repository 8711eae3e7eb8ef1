"""How a network is made again without this project, and what it takes and returns."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import NETWORKS, TORCHVISION
from adapt.networks.adapters import sizes_in
from adapt.networks.factory import COUNTS
from adapt.networks.sizes import REFUSALS, STEPS, run, unfit
from adapt.networks.taps import own_logits, tasks_of
from adapt.settings.groups import NetworkConfig

OURS = "network"
"""The module under which the copy of one of our own architectures is imported."""
MULTIPLES = (1, *STEPS)
LARGEST_STRIDE = 64
"""Of an output: images whose sides are multiples of it have whole cells."""


class Recipe(NamedTuple):
    """`from module import name; net = name(**arguments)`."""

    module: str
    name: str
    arguments: dict[str, Any]
    source: Path | None
    """The file that `module` is a copy of; None = installed, or the user's own."""
    root: Path | None
    """The folder from which the user's own module is imported."""
    requires: tuple[str, ...]
    """The packages that it imports, besides Python's own."""
    head_at: str = ""
    """Where the heads of one of our own networks lie, which has several."""
    adapters: Mapping[str, Sequence[int]] = MappingProxyType({})
    """Its adapters (adapt.networks.adapters.Sizes)."""


def recipe_of(config: NetworkConfig, net: nn.Module, classes: int | dict[str, int]) -> Recipe:
    """The recipe of a network that `build_network(config, classes)` made, with its adapters."""
    return base_of(config, net, classes)._replace(adapters=sizes_in(net.state_dict()))


def base_of(config: NetworkConfig, net: nn.Module, classes: int | dict[str, int]) -> Recipe:
    """The same without the adapters."""
    outputs = classes if isinstance(classes, dict) else config.outputs(classes)
    if config.factory:
        module, _, name = config.factory.partition(":")
        loaded = import_module(module)
        wanted = inspect.signature(getattr(loaded, name)).parameters
        counts = [p for p in wanted if p in COUNTS and p not in config.arguments]
        arguments = config.arguments | dict.fromkeys(counts[:1], outputs)
        file = Path(inspect.getfile(loaded)).resolve()
        depth = module.count(".") + (file.name == "__init__.py")
        return Recipe(module, name, arguments, None, file.parents[depth], ("torch", module))
    if config.name in TORCHVISION:
        arguments = dict.fromkeys(("weights", "weights_backbone", "aux_loss"))
        arguments["num_classes"] = outputs
        where = "torchvision.models.segmentation"
        return Recipe(where, config.name, arguments, None, None, ("torch", "torchvision"))
    make, kind = NETWORKS[config.name], type(net)
    fixed = make.keywords if isinstance(make, partial) else {}
    settings = {name: getattr(config, name) for name in ("width", "batch_norm", "pool5a")}
    known = {"num_classes": outputs} | settings | fixed
    arguments = {p: known[p] for p in inspect.signature(kind).parameters if p in known}
    source = Path(inspect.getfile(kind))
    vision = "torchvision" in source.read_text(encoding="utf-8")
    requires = ("torch", "torchvision") if vision else ("torch",)
    place = net.head_at if isinstance(classes, dict) else ""
    return Recipe(OURS, kind.__name__, arguments, source, None, requires, str(place))


class Signature(NamedTuple):
    """What a network takes and returns."""

    output: str
    """What takes the logits from its output: nothing, `['out']`, `[0]` or `.logits`, say."""
    stride: float | dict[str, float]
    """Pixels of the image for each cell of the logits; of several heads those of each."""
    multiple: int | None
    """Height and width must be multiples of it; None = the network takes its own sizes only."""
    one_logit: bool = False
    """Is there one output for two classes?"""


def signature_of(net: nn.Module, size: tuple[int, int]) -> Signature:
    """The signature of a network on the CPU, found by running it on blank images in eval mode;
    `size` is the (H, W) of the images that it is made for.

    Raises:
        InputError: the network does not run at that size, or its output has no logits.
    """
    multiple = multiple_of(net)
    step = math.lcm(multiple, LARGEST_STRIDE) if multiple else 1
    height, width = (math.ceil(side / step) * step for side in size)
    try:
        output = run(net, (height, width))
    except REFUSALS as error:
        raise unfit(net, (height, width), error) from None
    heads = {task: own_logits(output, task) for task in tasks_of(net) or ("",)}
    if flat := [tuple(logits.shape) for logits in heads.values() if logits.ndim != 4]:
        raise InputError(f"network: its output is {flat[0]}; it must be logits (B, C, h, w)")
    # 3.5 where patches of 14 are enlarged by 4
    strides = {task: round(2 * height / logits.shape[2]) / 2 for task, logits in heads.items()}
    if "" not in heads:
        return Signature("", strides, multiple)
    logits = heads[""]
    return Signature(path_to(logits, output) or "", strides[""], multiple, logits.shape[1] == 1)


def path_to(found: Tensor, output: object) -> str | None:
    """What takes a tensor from an output of a network; None = it is not in there."""
    if output is found:
        return ""
    inside: Iterable[tuple[str, object]] = ()
    if isinstance(output, Mapping):
        inside = ((f"[{key!r}]", value) for key, value in output.items())
    elif isinstance(output, list | tuple):
        inside = ((f"[{place}]", value) for place, value in enumerate(output))
    elif not isinstance(output, Tensor) and hasattr(output, "logits"):
        inside = ((".logits", output.logits),)
    paths = ((step, path_to(found, value)) for step, value in inside)
    return next((step + path for step, path in paths if path is not None), None)


def multiple_of(net: nn.Module) -> int | None:
    """The number of which a network's heights and widths must be multiples, found as
    `signature_of` finds all; None = it takes its own sizes only."""
    for tried in MULTIPLES:
        with suppress(*REFUSALS):
            for shape in odd_sizes(tried):
                run(net, shape)
            return tried
    return None


def sizes(multiple: int | None) -> str:
    """What `multiple_of` found, in words."""
    if multiple is None:
        return "sizes of its own only"
    return "images of any size" if multiple == 1 else f"sizes that are multiples of {multiple}"


def odd_sizes(multiple: int) -> list[tuple[int, int]]:
    """Two (H, W) that are odd multiples: 97 x 99 and 51 x 49, 112 x 144 and 80 x 48, …"""
    large, small = (max(3, math.ceil(pixels / multiple)) | 1 for pixels in (96, 48))
    cells = [(large, large + 2), (small + 2, small)]
    return [(multiple * rows, multiple * columns) for rows, columns in cells]
