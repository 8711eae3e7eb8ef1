"""Weights of the regressed layers that follow the training, which seed paper 003 leaves open.

A rule gives each layer a share, and the shares are scaled to the sum of the weights that are given:
rules differ in what they prefer, not in their learning rate. Of the given weights all but `ramp`
use this sum alone.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from adapt.errors import InputError
from adapt.settings.choices import FIXED
from adapt.settings.objective import RegressionConfig

EPSILON = 1e-8
"""Added to losses that are divided by or whose logarithm is taken, so that 0 passes."""


class Weighting:
    """What the rules share, for the n layers of a regression.

    Args:
        config: of the regression; `weight` times `taps` are the given weights.
        seed: of the run.
        steps: of the run.
    """

    rows = 0
    """Of `memory`."""

    def __init__(self, config: RegressionConfig, seed: int, steps: int) -> None:
        self.config, self.seed, self.steps = config, seed, steps
        self.given = config.weight * torch.tensor([*config.taps.values()], dtype=torch.float64)
        self.memory = self.given.new_zeros(self.rows, len(self.given))
        """What later weights depend on beside the step: checkpoints have it."""
        self.losses = self.given
        """Of the last call."""

    def __call__(self, losses: Tensor, step: int) -> list[float]:
        """The weights of step 0..steps-1, whose losses are given, float64 (n,), without a graph and
        the same in all processes."""
        self.losses = losses
        shares = self.shares(step)
        return (shares * (self.given.sum() / shares.sum())).tolist()

    def shares(self, step: int) -> Tensor:
        """(n,) of any sum, none below 0, by `losses` and `memory`; here those that are given."""
        return self.given

    def after(self, step: int, again: Callable[[], Tensor]) -> None:
        """What to remember of a step that is done; `again` computes its batch's losses anew, by the
        weights that the step has led to."""


class Log(Weighting):
    """The gradient of sum_l log(L_l + 1e-8): w_l = 1 / (L_l + 1e-8), scaled.

    Uncertainty weighting (Kendall et al., CVPR 2018) at the optimum of its variances is this. Equal
    maps have the value 0 by definition, since the raw losses are what is weighted.
    """

    def shares(self, step: int) -> Tensor:
        return 1 / (self.losses + EPSILON)


class DWA(Weighting):
    """Dynamic weight average (Liu et al., CVPR 2019, equation 7): w = n softmax(r / T), where
    r_l = L_l(t-1) / L_l(t-2) of the means over the last two whole windows of `window` steps (an
    epoch there) and T = 2: a layer whose loss falls slowly gets more. Equal in the first two.
    """

    rows = 3  # the sum of this window, the mean of the last, the mean of the one before
    temperature = 2.0

    def shares(self, step: int) -> Tensor:
        _, last, before = self.memory + EPSILON
        ratios = last / before if step >= 2 * self.config.window else torch.ones_like(last)
        return (ratios / self.temperature).softmax(dim=0)

    def after(self, step: int, again: Callable[[], Tensor]) -> None:
        self.memory[0] += self.losses
        if (step + 1) % self.config.window == 0:
            self.memory[2] = self.memory[1]
            self.memory[1] = self.memory[0] / self.config.window
            self.memory[0] = 0


class RLW(Weighting):
    """Random loss weighting (Lin et al., TMLR 2022): w = softmax(N(0, I)), drawn for each step from
    the run's seed and the step's number."""

    def shares(self, step: int) -> Tensor:
        drawn = np.random.default_rng([self.seed, step]).standard_normal(len(self.given))
        return torch.from_numpy(drawn).softmax(dim=0)


class FAMO(Weighting):
    """Fast adaptive multitask optimisation (Liu et al., NeurIPS 2023, arXiv:2306.03792, algorithm
    1): with z = softmax(xi) the step goes along c sum_l z_l grad log L_l, c = 1 / sum_l(z_l / L_l),
    so that w_l = c z_l / L_l. Then, with the losses of the same batch before and after the step,

        xi <- xi - beta (J^T (log L(t) - log L(t+1)) + gamma xi), J = diag(z) - z z^T of softmax.

    As the algorithm is printed: the authors' code takes that gradient to Adam. L(t+1) costs another
    forward pass of the student; dropout draws anew in it, batch norm's statistics stay.
    """

    rows = 1  # xi

    def shares(self, step: int) -> Tensor:
        return self.memory[0].softmax(dim=0) / (self.losses + EPSILON)

    def after(self, step: int, again: Callable[[], Tensor]) -> None:
        xi = self.memory[0]
        z = xi.softmax(dim=0)
        fallen = (self.losses + EPSILON).log() - (again() + EPSILON).log()
        xi -= self.config.beta * (z * (fallen - z @ fallen) + self.config.gamma * xi)


class Ramp(Weighting):
    """From the given weights in reverse order (W_dec, where they are W_inc's: 003, section 4.2.2)
    at the first step to themselves at the last, in a straight line."""

    def shares(self, step: int) -> Tensor:
        return self.given.flip(0).lerp(self.given, step / max(1, self.steps - 1))


WEIGHTINGS: dict[str, type[Weighting]] = {
    "log": Log, "dwa": DWA, "rlw": RLW, "famo": FAMO, "ramp": Ramp,
}  # fmt: skip


def weighting_of(config: RegressionConfig, seed: int, steps: int) -> Weighting | None:
    """The rule of a regression's weights; None = they are fixed.

    Raises:
        InputError: there is one layer only.
    """
    if config.weighting == FIXED:
        return None
    if len(config.taps) < 2:
        raise InputError(
            f"objective.regression.weighting={config.weighting} weighs layers against each other, "
            f"and {', '.join(config.taps)} is the only one; name several taps, or give {FIXED}"
        )
    return WEIGHTINGS[config.weighting](config, seed, steps)
