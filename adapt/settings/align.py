"""Settings of the command align."""

from dataclasses import dataclass, field
from typing import Annotated

from adapt.errors import InputError
from adapt.settings.checks import Count, OneOf, Part, Settings, Workers
from adapt.settings.groups import DataConfig

SIDES = ("", "x1", "x2")


@dataclass
class AlignConfig(Settings):
    """Find where x2 lies on x1 in pairs that no rig or stage has aligned. Of data=pairs
    data.root=OLD data.target=NEW, homographies, how far they can be trusted, and a report go into
    out=DIR."""

    data: DataConfig = field(default_factory=DataConfig)
    out: str = ""
    """Folder that receives alignment.csv, report.html and, if asked, a twin."""
    twin: Annotated[str, OneOf(*SIDES)] = ""
    """Side that is written again in its partner's geometry. out/aligned_SIDE/pairs.csv has it with
    its partner, their labels, and masks of what it shows there. Empty = none is needed:
    data.transforms=DIR/alignment.csv warps x2 as it is read."""
    matcher: str = ""
    """Function `module:function` that finds what is the same in two images, instead of the edges
    that are compared. It takes x1 and x2, uint8 (H, W, 3) RGB of one size, and returns numbers
    (N, 4): x, y in x1 and x, y in x2."""
    sample: Count = 64
    """Number of evenly spaced pairs that the rig is estimated from and that shifts are planted in;
    0 = all."""
    examples: Count = 6
    """Number of pairs that the report shows."""
    workers: Workers = 0
    """Number of processes that compare; 0 = one for each core, 1 = this process. A matcher of your
    own stays in this process."""
    part: Part = ""
    """Part of the pairs that this call compares, of as many calls as `i/n` says. `all/n` then
    plants shifts and writes table, report and twin. Empty = all in one call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out:
            raise InputError("out is empty: give the folder that receives alignment.csv")
        if self.data.transforms:
            raise InputError("data.transforms is what align makes; leave it empty")
        if self.twin and self.data.colors:
            raise InputError(
                "twin: masks that mean classes by colours (data.colors) are not warped: leave twin "
                "empty, as data.transforms warps them as they are read"
            )
