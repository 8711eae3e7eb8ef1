"""A network before it is made: how large it would be, so that a description from others, which may
ask for any size, claims no memory."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adapt.errors import InputError
from adapt.networks import build_network
from adapt.settings.groups import NetworkConfig
from adapt.settings.mapping import as_dict, flatten


class Undrawn(TorchFunctionMode):
    """Draws no first weights; without memory to fill torch would only import its compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def planned(network: NetworkConfig, classes: int | Mapping[str, int]) -> nn.Module:
    """`build_network` without memory for the tensors; what a user's factory makes, as it is."""
    with ExitStack() as stack:
        if not network.factory:
            stack.enter_context(torch.device("meta"))
            stack.enter_context(Undrawn())
        return build_network(network, classes)


def check_size(
    network: NetworkConfig,
    classes: int | Mapping[str, int],
    tensors: Mapping[str, Tensor],
    source: str,
    weights: str,
) -> None:
    """InputError where a description asks for more than twice the numbers that its weights have,
    with the settings that do; below that the tensors themselves tell what does not fit. What a
    user's factory makes is not known beforehand. `source` and `weights` name both for messages."""
    if network.factory:
        return
    count, there = (
        sum(tensor.numel() for tensor in found.values())
        for found in (planned(network, classes).state_dict(), tensors)
    )
    if count > 2 * there:
        usual, given = flatten(as_dict(NetworkConfig())), flatten(as_dict(network))
        said = ", ".join(f"{k}={v}" for k, v in given.items() if v != usual.get(k))
        raise InputError(f"{source} ({said}) has {count:,} numbers, {weights} has {there:,}")
