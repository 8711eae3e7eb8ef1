"""Where the weights are pulled to: Omega(w, w0), as a gradient or a step outside autograd.

L2 and the -SP family (Li, Grandvalet, Davoine: "Explicit Inductive Bias for Transfer Learning",
ICML 2018, and "A baseline regularization scheme for transfer learning with convolutional neural
networks", Pattern Recognition 98, 2020, section 3). Quadratic penalties have the factor 1/2, so
alpha equals an optimiser's weight decay of the same number.
"""

from adapt.penalties.penalty import PENALTIES, Penalty
from adapt.penalties.split import owned, penalised, split_shared

__all__ = ["PENALTIES", "Penalty", "owned", "penalised", "split_shared"]
