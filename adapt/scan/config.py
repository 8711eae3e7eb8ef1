"""What the scan command can be told."""

from dataclasses import dataclass, field

from adapt.bounds import MOST_WORKERS, at_least, within
from adapt.config import DataConfig
from adapt.errors import InputError
from adapt.scan.measure import HASH_BITS


@dataclass
class ScanConfig:
    """Which data set is scanned, and what counts as alike."""

    data: DataConfig = field(default_factory=DataConfig)
    near: int = 24
    """Bits, of 256, in which the hashes of two images may differ for a near-duplicate: re-encoded,
    resized, blurred and brightened copies stay within 24, other images differ in about 128. Frames
    of a video lie between, the closer in time the lower. -1 = no search."""
    pairs: bool = True
    """Compare the content of each pair."""
    doubt: float = 0.05
    """Share of the other images that may fit better than the own partner; above, a warning. A
    partner drawn at random is above with probability 1 - doubt."""
    wrong: float = 0.2
    """Above this share, an error."""
    shown: int = 20
    """Findings of one kind printed; the report has all."""
    out: str = "scan.json"
    """The report."""
    workers: int = 0
    """Processes that decode; 0 = one for each core, 1 = this process."""

    def __post_init__(self) -> None:
        within("workers", self.workers, 0, MOST_WORKERS)
        at_least("shown", self.shown, 1)
        if not -1 <= self.near < HASH_BITS // 2:
            raise InputError(
                f"near is {self.near}; it must be in 0..{HASH_BITS // 2 - 1} bits, or -1 = off"
            )
        if not 0 < self.doubt <= self.wrong < 1:
            raise InputError(
                f"doubt is {self.doubt} and wrong {self.wrong}; 0 < doubt <= wrong < 1 is needed"
            )
        if not self.out:
            raise InputError("out is empty: give the JSON file that receives the report")
