"""Settings of how an image becomes a prediction."""

from dataclasses import dataclass, field
from typing import Annotated

from adapt.errors import InputError
from adapt.settings.checks import Range, Settings, Size

SCALE = Range(0, 16, above=True, below=True)
"""Factors of an image's size: 100 for 1.00 would ask for any memory."""


@dataclass
class ProtocolConfig(Settings, where="protocol."):
    """How an image becomes a prediction: whole by default, in windows, at several scales."""

    window: Size = field(default_factory=list)
    """Size of windows that slide over the image; [] = the whole image at once."""
    stride: Size = field(default_factory=list)
    """Distance from window to window; [] = two thirds of the window."""
    scales: list[Annotated[float, SCALE]] = field(default_factory=lambda: [1.0])
    """Factors by which the image is enlarged; the probabilities are averaged over them."""
    flip: bool = False
    """Average with the prediction of the mirrored image, at every scale."""
    crops: int = 1
    """Crops that an image is classified by: 1 = the centre, of data.crop's size, or 10 = the centre
    and the corners, each also mirrored, with averaged probabilities."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride and not self.window:
            raise InputError(f"protocol.stride is {self.stride}; it needs protocol.window=[H,W]")
        if self.stride and any(s > w for s, w in zip(self.stride, self.window, strict=True)):
            raise InputError(
                f"protocol.stride is {self.stride}, protocol.window {self.window}: windows that do "
                "not touch leave gaps"
            )
        if self.crops not in (1, 10):
            raise InputError(f"protocol.crops is {self.crops}; it must be 1 or 10")
        if not self.scales:
            raise InputError("protocol.scales is empty; [1.0] is the image as it is")

    @property
    def tag(self) -> str:
        """For file names: `` for whole images, `window321x321_scales0.75-1_flip`, say."""
        parts = [
            f"window{'x'.join(map(str, self.window))}" if self.window else "",
            f"stride{'x'.join(map(str, self.stride))}" if self.stride else "",
            f"scales{'-'.join(f'{s:g}' for s in self.scales)}" if self.scales != [1.0] else "",
            f"crops{self.crops}" if self.crops != 1 else "",
            "flip" if self.flip else "",
        ]
        return "_".join(filter(None, parts))
