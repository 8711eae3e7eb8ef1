"""Several heads on one backbone, each for a task of its own (Caruana 1997)."""

from collections.abc import Mapping

from torch import Tensor, nn


class Heads(nn.ModuleDict):
    """A head for each task, side by side: maps -> task -> logits."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {task: head(x) for task, head in self.items()}


def joined(nets: Mapping[str, nn.Module], place: str) -> nn.Module:
    """Networks by task that differ in their heads as one, with the backbone of the first: images
    -> task -> logits.

    Args:
        nets: whose `forward` returns what the head puts out.
        place: the head's name in `named_modules()`.
    """
    whole = next(iter(nets.values()))
    whole.set_submodule(
        place, Heads({task: net.get_submodule(place) for task, net in nets.items()})
    )
    return whole
