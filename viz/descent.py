"""Optimisers of an image (1, 3, H, W) in 0..1 whose loss has a gradient."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

from adapt.errors import InputError
from adapt.runtime import progress

RATES = {"sgd": 0.0005, "adam": 0.05}
"""Learning rates of a setting `lr=0`; SGD's is for the loss times the number of pixels. Tried on
trained networks from 96x128 to 240x180 pixels: SGD diverges from 0.003 on, in some from 0.001."""
MOMENTUM = 0.9

Gradient = Callable[[Tensor], tuple[float, Tensor]]
"""image -> its loss and the loss's gradient with respect to it."""


def sgd(gradient: Gradient, image: Tensor, lr: float, steps: int) -> Tensor:
    """The paper's optimiser, with momentum; the image is projected onto 0..1 after every step.

    The gradient is multiplied by the number of pixels H W: each pixel's share of a relative loss
    falls with their number, and so one lr serves all sizes.
    """
    pixels = image.shape[-1] * image.shape[-2]
    return _descend(
        gradient,
        image,
        steps,
        lambda x: torch.optim.SGD([x], lr * pixels, momentum=MOMENTUM),
        f"invert (sgd, lr {lr:g})",
    )


def adam(gradient: Gradient, image: Tensor, lr: float, steps: int) -> Tensor:
    """Adam; the image is projected onto 0..1 after every step."""
    return _descend(gradient, image, steps, lambda x: torch.optim.Adam([x], lr), "invert (adam)")


def _descend(
    gradient: Gradient,
    image: Tensor,
    steps: int,
    make: Callable[[Tensor], torch.optim.Optimizer],
    what: str,
) -> Tensor:
    optimizer = make(image)
    for _ in progress(range(steps), what=what):
        image.grad = gradient(image)[1]
        optimizer.step()
        image.clamp_(0, 1)
    return image


def lbfgs(gradient: Gradient, image: Tensor, lr: float, steps: int) -> Tensor:
    """L-BFGS-B (Byrd et al. 1995): the bounds 0..1 are part of the method, so its line search and
    curvature stay valid where a clamp behind plain L-BFGS would break them.

    `steps` counts evaluations of loss and gradient; the last line search is finished beyond it. The
    step length is found by that search; `lr` must be 0.
    """
    if lr:
        raise InputError(f"lr is {lr:g}, but optimizer=lbfgs finds its step length itself: lr=0")
    with progress(range(steps), what="invert (lbfgs)") as bar:

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            moved = torch.from_numpy(flat).to(image).view_as(image)
            value, slope = gradient(moved)
            bar.update()
            return value, slope.flatten().cpu().numpy().astype(np.float64)

        start = image.flatten().cpu().numpy().astype(np.float64)
        found = minimize(
            evaluate,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(0.0, 1.0),
            options={"maxfun": steps, "maxiter": steps, "ftol": 0.0, "gtol": 0.0},
        )
    return torch.from_numpy(found.x).to(image).view_as(image)


OPTIMIZERS = {"sgd": sgd, "adam": adam, "lbfgs": lbfgs}
