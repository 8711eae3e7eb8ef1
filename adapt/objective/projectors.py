"""Projectors: the student's maps brought to the teacher's number of channels (FitNets, Romero et
al., ICLR 2015, section 2.2, where they are called regressors)."""

from collections.abc import Mapping

from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.taps import LOGITS

GRID = 4
"""Dimensions of maps (B, C, h, w), whose channels are axis 1; tokens (B, N, C) have them last."""


class Projector(nn.Linear):
    """A linear map of the channels, and a bias: a 1x1 convolution of maps, a linear layer of
    tokens."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w), or (B, N, C) -> (B, N, C')."""
        axis = 1 if maps.ndim == GRID else -1
        return super().forward(maps.movedim(axis, -1)).movedim(-1, axis)


class Projectors(nn.Module):
    """One for each pair of layers whose channels differ in number; maps of the others pass as they
    are. New ones are drawn from torch's seed.

    Args:
        pairs: the teacher's layer -> the student's.
        student: shapes of the student's maps by layer.
        teacher: shapes of the teacher's.

    Raises:
        InputError: a pair of a map with tokens, or of different numbers of tokens.
    """

    def __init__(
        self,
        pairs: Mapping[str, str],
        student: Mapping[str, tuple[int, ...]],
        teacher: Mapping[str, tuple[int, ...]],
    ) -> None:
        super().__init__()
        self.pairs, self.said = dict(pairs), list[str]()
        self.linear = nn.ModuleList()
        for tap, own in pairs.items():
            given, wanted = student[own], teacher[tap]
            grids = {len(given), len(wanted)} == {GRID}
            if not grids and given[1:-1] != wanted[1:-1]:
                raise InputError(
                    f"taps: the student's {own} has maps {given}, the teacher's {tap} {wanted}: a "
                    "map (B, C, h, w) is regressed onto a map, and tokens (B, N, C) onto as many"
                )
            axis = 1 if grids else -1
            channels = given[axis], wanted[axis]
            if channels[0] == channels[1]:
                self.linear.append(nn.Identity())
            else:
                self.linear.append(Projector(*channels))
                self.said.append(f"{own} {channels[0]} -> {tap} {channels[1]}")

    def __str__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return (
            f"projectors of the student's channels to the teacher's, {count:,} parameters that "
            f"train beside the student and are not part of it: {', '.join(self.said)}"
        )

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The student's maps by its own layers -> by the teacher's, and its logits."""
        found = {LOGITS: maps[LOGITS]} if LOGITS in maps else {}
        for (tap, own), linear in zip(self.pairs.items(), self.linear, strict=True):
            found[tap] = linear(maps[own])
        return found
