"""Settings of the objective: a dataclass a term. A term of weight 0 is off and costs nothing."""

from dataclasses import dataclass, field
from typing import Annotated

from adapt.settings.checks import OneOf, Positive, Range, Settings, Strength
from adapt.settings.choices import DISTANCES, FIXED, WEIGHTINGS

Temperature = Annotated[float, Range(0, above=True)]
Confidence = Annotated[float, Range(0, 1, below=True)]


@dataclass
class RegressionConfig(Settings, where="objective.regression."):
    """Feature regression, sum_l w_l d(F_l^T(x1), F_l^S(x2)): seed paper 003, section 3.1."""

    weight: Strength = 0.0
    """Weight of the term; 0 = off."""
    taps: dict[str, Annotated[float, Range(0, above=True)]] = field(default_factory=dict)
    """Weight w_l of each layer whose maps are regressed: {pool3: 0.5, pool5: 1.0}."""
    distance: Annotated[str, OneOf(*DISTANCES)] = "relative"
    """Distance d between the maps of student and teacher; `norm` is as 003 prints it,
    `sum` its square."""
    temperature: Temperature = 1.0
    """`cwd` only: temperature of the softmax over space; its paper has 4."""
    margin: Annotated[float, Range(-1, 1, above=True)] = 1.0
    """`cosine` only: cosine above which a cell is left alone; 1 = none is, Larsson has 0.8."""
    student: dict[str, str] = field(default_factory=dict)
    """Layer of the student that is regressed onto a layer of taps, where its name is another one:
    {pool5: backbone.16}. Where their channels differ a linear projector, which trains as new
    parameters do and is not part of the student, brings them to the teacher's number."""
    variance: dict[str, Annotated[float, Range(0, above=True)]] = field(default_factory=dict)
    """`variance` only: what the squared difference of each layer is divided by. {} = the variance
    of the teacher's maps, which is estimated from up to 64 training images before the first step
    and recorded with the run."""
    confidence: Confidence = 0.0
    """Largest probability that the teacher must give a place of x1, or the place does not count;
    0 = all count."""
    weighting: Annotated[str, OneOf(*WEIGHTINGS)] = FIXED
    """How the weights of the layers follow the training while their sum stays. `fixed` = they do
    not, `log` = inversely proportional to each loss, `dwa` = larger where a loss falls slowly,
    `rlw` = random in each step, `famo` = so that all losses fall at one rate, `ramp` = from the
    given ones in reverse order to the given ones. But for `fixed` and `ramp` the sum of the given
    weights is all that counts of them."""
    window: Positive = 25
    """`dwa` only: number of steps over which a loss is averaged."""
    beta: Strength = 1.0
    """`famo` only: step size of the layers' logits."""
    gamma: Strength = 0.01
    """`famo` only: decay of the layers' logits."""


@dataclass
class SupervisedConfig(Settings, where="objective.supervised."):
    """Cross-entropy with the labels of the images in `domain`."""

    weight: Strength = 0.0
    """Weight of the term; 0 = off."""
    tasks: dict[str, Strength] = field(default_factory=dict)
    """Weight of each task (data.tasks) within the term, 1 where none is given; the losses of all
    are added. Where not all images of a batch have a task's labels, it counts by the share of them
    that have."""


@dataclass
class KDConfig(Settings, where="objective.kd."):
    """Distillation of the teacher's class probabilities on x1 into the student's on x2."""

    weight: Strength = 0.0
    """Weight of the term; 0 = off."""
    temperature: Temperature = 1.0
    """Temperature of both softmaxes; 2 or 4 shows more of what the teacher thinks of the other
    classes."""


@dataclass
class PseudoConfig(Settings, where="objective.pseudo."):
    """Cross-entropy with the teacher's own labels of x1, where it is confident."""

    weight: Strength = 0.0
    """Weight of the term; 0 = off."""
    tau: Confidence = 0.968
    """Probability that the teacher must give its label to be called confident."""
    threshold: Annotated[str, OneOf("fixed", "class_median")] = "fixed"
    """Threshold of confidence: `fixed` = tau for all classes, `class_median` = each class's median
    in the batch, at most cap. With the latter half of what the teacher calls a rare class counts,
    however unsure it is of it."""
    cap: Confidence = 0.9
    """`class_median` only: largest threshold."""
    weighting: Annotated[str, OneOf("ignore", "share")] = "ignore"
    """What happens to the other pixels: `ignore` = they do not count, `share` = all pixels count,
    times the confident share."""


@dataclass
class StitchConfig(Settings, where="objective.stitch."):
    """Distillation of the teacher's class probabilities on x1 into what the teacher itself makes
    of the student's maps of x2: its layers after a tap are run on the student's map there."""

    weight: Strength = 0.0
    """Weight of the term; 0 = off."""
    taps: list[str] = field(default_factory=list)
    """Layers after which the teacher goes on from the student's map. Everything must go through
    each of them: one that a skip connection passes by is refused. Empty = those of `taps=auto` of
    which this holds."""
    cuts: Annotated[str, OneOf("one", "all")] = "one"
    """Which of the taps a step uses. `one` = one at random, at the cost of one pass through the
    teacher's later layers; `all` = all of them, and each counts half as much as the next deeper
    one."""
    student: dict[str, str] = field(default_factory=dict)
    """Layer of the student whose map stands in for that of a layer of taps, where its name is
    another one; as for the regression."""


@dataclass
class ObjectiveConfig(Settings):
    """The objective of a training: a weighted sum of terms."""

    name: str = "custom"
    """Name in tables and figures. Empty, as `adapt` has it by default, is `pool5`, or for a network
    without that layer `taps=auto`. With `taps` it becomes `auto`, `pairs` or `taps` and the names
    of the other terms."""
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    kd: KDConfig = field(default_factory=KDConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    stitch: StitchConfig = field(default_factory=StitchConfig)
