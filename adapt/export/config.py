"""What the export command can be told."""

from dataclasses import dataclass, field

from adapt.bounds import at_least, one_of, size_pair
from adapt.config import DataConfig, TrustConfig
from adapt.errors import InputError

FORMATS = ("safetensors", "onnx")


@dataclass
class ExportConfig:
    """A run's network as files that need nothing of this project, compared with it."""

    run: str = ""
    network: TrustConfig = field(default_factory=TrustConfig)
    out: str = ""
    """Folder; an earlier export of the same run there is replaced."""
    formats: list[str] = field(default_factory=lambda: list(FORMATS))
    """safetensors | onnx"""
    size: list[int] = field(default_factory=list)
    """(H, W) that the ONNX graph's input has; [] = any."""
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    domain: str = ""
    """d1 | d2; empty = the domain that the run was trained for."""
    split: str = "val"
    images: int = 8
    """How many images of the split, evenly spaced, parity is checked on."""

    def __post_init__(self) -> None:
        one_of("domain", self.domain, ("", "d1", "d2"))
        for name in self.formats:
            one_of("formats", name, FORMATS)
        size_pair("size", self.size)
        at_least("images", self.images, 1)
        if not self.run or not self.out:
            raise InputError("give run=DIR (a finished run) and out=DIR (the folder to write)")
        if not self.formats:
            raise InputError(f"formats is empty: give at least one of {', '.join(FORMATS)}")
        if self.size and "onnx" not in self.formats:
            raise InputError("size fixes the ONNX graph's input; formats has no onnx")
