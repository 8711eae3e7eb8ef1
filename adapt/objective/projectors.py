"""Projectors: the student's maps brought to the teacher's number of channels (FitNets, Romero et
al., ICLR 2015, section 2.2, where they are called regressors)."""

from collections.abc import Mapping

from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.taps import is_logits
from adapt.settings.choices import AUXILIARY_HEAD


class Projector(nn.Linear):
    """A linear map of the channels, with a bias: what a 1x1 convolution is to maps."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w); of tokens (B, C, N) -> (B, C', N)."""
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


class Projectors(nn.Module):
    """One for each pair of layers whose channels differ in number; maps of the others pass as they
    are. Their weights are drawn from torch's seed.

    Args:
        pairs: the teacher's layer -> the student's.
        student: (C, h, w) or (C, N) of the student's maps, by layer.
        teacher: of the teacher's.

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
            (given, *cells), (wanted, *others) = student[own], teacher[tap]
            if cells != others and (len(cells), len(others)) != (2, 2):
                raise InputError(
                    f"taps: the student's {own} has maps {student[own]}, the teacher's {tap} "
                    f"{teacher[tap]}: maps (C, h, w) are regressed onto maps, and tokens (C, N) on "
                    "no grid onto as many tokens"
                )
            alike = given == wanted
            self.linear.append(nn.Identity() if alike else Projector(given, wanted))
            self.said += [] if alike else [f"{own} {given} -> {tap} {wanted}"]

    def __str__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return (
            f"projectors of the student's channels to the teacher's, {count:,} parameters that "
            f"train beside the student and are not part of it: {', '.join(self.said)}"
        )

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The student's maps by its own layers -> by the teacher's, and its logits, an auxiliary
        head's among them."""
        found = {tap: of for tap, of in maps.items() if is_logits(tap) or tap == AUXILIARY_HEAD}
        for (tap, own), linear in zip(self.pairs.items(), self.linear, strict=True):
            found[tap] = linear(maps[own])
        return found
