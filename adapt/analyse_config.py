"""Settings of the analyse command."""

from dataclasses import dataclass, field

from adapt.bounds import MOST_IMAGES, at_least, one_of, within
from adapt.commands import Machine
from adapt.config import DataConfig, TrustConfig
from adapt.errors import InputError

PAIRS = "pairs"
NAMES = ("fisher", "weights", "activations", "source")


@dataclass
class AnalyseConfig(Machine):
    """A run beside the network that it started from, and a Fisher file, layer by layer."""

    run: str = ""
    """The run behind the training; empty = `fisher` alone is looked at."""
    teacher: str = ""
    """The network before it; empty = the one that the run was adapted or fine-tuned from."""
    network: TrustConfig = field(default_factory=TrustConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    analyses: list[str] = field(default_factory=list)
    """fisher | weights | activations | source; [] = all for which something is given."""
    domain: str = ""
    """Of the activations. d1 | d2: both networks see these images; pairs: the one before x1, the
    one behind x2; empty = the domain that the run was trained for."""
    split: str = "val"
    images: int = 0
    """Evenly spaced images of the split for the activations; 0 = all."""
    layers: list[str] = field(default_factory=list)
    """Layers of the activations; [] = the network's main path."""
    fisher: str = ""
    """File of scripts/fisher.py."""
    out: str = ""
    """Folder; empty = <run>/analysis."""
    batch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("", "d1", "d2", PAIRS))
        for name in self.analyses:
            one_of("analyses", name, NAMES)
        at_least("images", self.images, 0)
        within("batch", self.batch, 1, MOST_IMAGES)
        if not self.run and not (self.fisher and self.out):
            raise InputError("give run=DIR, or fisher=FILE.safetensors with out=DIR")
        for name in self.analyses:
            if not (self.fisher if name == "fisher" else self.run):
                raise InputError(
                    f"analyses={name} needs {'fisher=FILE' if self.run else 'run=DIR'}"
                )

    @property
    def wanted(self) -> list[str]:
        """What is to be computed."""
        given = [n for n in NAMES if (self.fisher if n == "fisher" else self.run)]
        return [n for n in given if not self.analyses or n in self.analyses]
