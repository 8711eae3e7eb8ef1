"""Settings of the objective: a dataclass a term. A term of weight 0 is off and costs nothing."""

from dataclasses import dataclass, field

from adapt.errors import InputError
from adapt.settings.checks import at_least, one_of


@dataclass
class RegressionConfig:
    """sum_l w_l d(F_l^T(x1), F_l^S(x2)): seed paper 003, section 3.1."""

    weight: float = 0.0
    taps: dict[str, float] = field(default_factory=dict)
    """Layer name -> w_l."""
    distance: str = "relative"
    """`relative`, `mean`, `sum` (the paper), `l1`, `cosine` or `cwd`: see
    adapt.objective.distances."""
    temperature: float = 1.0
    """`cwd` only: of the softmax over space; its paper has 4."""
    margin: float = 1.0
    """`cosine` only: cells whose cosine is above it are left alone; 1 = none, Larsson has 0.8."""

    def __post_init__(self) -> None:
        at_least("objective.regression.weight", self.weight, 0)
        at_least("objective.regression.temperature", self.temperature, 0, above=True)
        if not -1 < self.margin <= 1:
            raise InputError(
                f"objective.regression.margin is {self.margin}; a cosine lies in (-1, 1]"
            )
        for tap, weight in self.taps.items():
            at_least(f"objective.regression.taps.{tap}", weight, 0, above=True)
        if self.weight and not self.taps:
            raise InputError(
                "objective.regression.taps is empty: name layers and weights, for example "
                "'+objective.regression.taps={pool5: 1.0}'"
            )


@dataclass
class KDConfig:
    """Distillation of the teacher's class probabilities on x1 into the student's on x2."""

    weight: float = 0.0
    temperature: float = 1.0
    """Of both softmaxes; 2 or 4 shows more of what the teacher thinks of the other classes."""

    def __post_init__(self) -> None:
        at_least("objective.kd.weight", self.weight, 0)
        at_least("objective.kd.temperature", self.temperature, 0, above=True)


@dataclass
class PseudoConfig:
    """Cross-entropy with the teacher's own labels of x1, where it is confident."""

    weight: float = 0.0
    tau: float = 0.968
    """Confident = the teacher's probability of its label is at least this."""
    threshold: str = "fixed"
    """fixed: tau for all; class_median: each class's median in the batch, at most `cap`, so that
    half of what the teacher calls a rare class counts, however unsure it is of it."""
    cap: float = 0.9
    """`class_median` only."""
    weighting: str = "ignore"
    """ignore: other pixels do not count; share: all pixels count, times the confident share."""

    def __post_init__(self) -> None:
        at_least("objective.pseudo.weight", self.weight, 0)
        one_of("objective.pseudo.threshold", self.threshold, ("fixed", "class_median"))
        for what in ("tau", "cap"):
            if not 0 <= getattr(self, what) < 1:
                raise InputError(
                    f"objective.pseudo.{what} is {getattr(self, what)}; it must lie in [0, 1)"
                )
        unused = "cap" if self.threshold == "fixed" else "tau"
        if getattr(self, unused) != getattr(PseudoConfig, unused):
            raise InputError(
                f"objective.pseudo.{unused} is {getattr(self, unused)}, but threshold="
                f"{self.threshold} does not use it"
            )
        one_of("objective.pseudo.weighting", self.weighting, ("ignore", "share"))


@dataclass
class SupervisedConfig:
    """Cross-entropy with the labels of the images in `domain`."""

    weight: float = 0.0

    def __post_init__(self) -> None:
        at_least("objective.supervised.weight", self.weight, 0)


@dataclass
class ObjectiveConfig:
    """A weighted sum of named terms."""

    name: str = "custom"
    """How tables and figures call it."""
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    kd: KDConfig = field(default_factory=KDConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
