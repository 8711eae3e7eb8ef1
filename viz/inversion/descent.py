"""Optimisers of an image (1, 3, H, W) in 0..1 whose loss has a gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from adapt.errors import InputError
from adapt.machine.runtime import progress

RATES = {"sgd": 0.0005, "adam": 0.05}
"""Learning rates of a setting `lr=0`; SGD's is for the loss times the number of pixels. Tried on
trained networks from 96x128 to 240x180 pixels: SGD diverges from 0.003 on, in some from 0.001."""
MOMENTUM = 0.9
EDGE = 0.02
"""How far from 0 and 1 an image starts L-BFGS, whose pixels cannot leave them."""

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
    """L-BFGS (Liu and Nocedal 1989) with a strong Wolfe line search, over u of x = (1 + sin u) / 2:
    this change of variables (MINUIT's, James and Roos 1975) keeps 0..1, where a clamp behind the
    steps would break line search and curvature.

    `steps` counts evaluations of loss and gradient. The step length is found by that search; `lr`
    must be 0.
    """
    if lr:
        raise InputError(f"lr is {lr:g}, but optimizer=lbfgs finds its step length itself: lr=0")
    angles = (2 * image.clamp(EDGE, 1 - EDGE) - 1).asin()
    optimizer = torch.optim.LBFGS(
        [angles],
        max_iter=steps,
        max_eval=steps,
        history_size=10,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    with progress(range(steps), what="invert (lbfgs)") as bar:

        def evaluate() -> float:
            value, slope = gradient((1 + angles.sin()) / 2)
            angles.grad = (slope * angles.cos() / 2).contiguous()  # as LBFGS flattens it
            bar.update()
            return value

        optimizer.step(evaluate)
    return (1 + angles.sin()) / 2


OPTIMIZERS = {"sgd": sgd, "adam": adam, "lbfgs": lbfgs}
