"""Settings of the layers command."""

from dataclasses import dataclass, field

from adapt.bounds import at_least, size_pair
from adapt.config import NetworkConfig


@dataclass
class LayersConfig:
    """A network's layers, to choose taps from, and how much the maps of successive ones differ."""

    run: str = ""
    """Run whose network is listed; empty = `network`, freshly initialised."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    classes: int = 21
    """Outputs of a network that belongs to no run."""
    size: list[int] = field(default_factory=list)
    """(H, W) of the input; [] = the size that the run was trained at, else 321x321."""
    depth: int = 2
    """How many parts the listed names have at most; 0 = all. Aliases are always listed."""
    out: str = ""
    """Folder for the table as JSON and CSV, and the figure; empty = nothing is written."""
    image: str = ""
    """Image or folder of images for the figure; empty = the run's validation images."""
    images: int = 8
    """How many of them, evenly spaced, are measured; the first is shown."""
    taps: list[str] = field(default_factory=list)
    """Layers of the figure; [] = the network's main path."""
    seed: int = 0
    """Of the fresh initialisation."""
    device: str = "auto"

    def __post_init__(self) -> None:
        size_pair("size", self.size)
        for what, low in (("classes", 1), ("images", 1), ("depth", 0), ("seed", 0)):
            at_least(what, getattr(self, what), low)
