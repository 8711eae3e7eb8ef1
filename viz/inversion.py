"""Style inversion: the image that looks to one network like a given image does.

Seed paper 003, section 3.3: content loss (Mahendran & Vedaldi, CVPR 2015) and style loss (Gatys,
Ecker & Bethge, CVPR 2016) are both taken from one and the same network, from white noise on. What
comes out has the image's content in the style that the network is used to.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from adapt.batchnorm import eval_mode
from adapt.config import NetworkConfig, at_least, one_of
from adapt.errors import InputError, Stopped
from adapt.runtime import progress
from adapt.sampling import tensor
from adapt.taps import check_taps, forward, normalise

RATES = {"sgd": 0.0005, "adam": 0.05}
"""Learning rates of a setting `lr=0`; SGD's is for the loss times the number of pixels. Tried on
trained networks from 96x128 to 240x180 pixels: SGD diverges from 0.003 on, in some from 0.001."""
MOMENTUM = 0.9
NOISE = 0.05
"""Standard deviation of the white noise around grey. What no layer sees stays as it was drawn, so
stronger noise would cover the picture (Gatys et al. start from 0.001 as well)."""

Curve = list[dict[str, float]]
"""step, loss, and the raw value of every term: content/<layer>, style/<layer>, tv."""


@dataclass(frozen=True)
class Inversion:
    """A reconstructed image uint8 (H, W, 3); the curve's last entry belongs to it."""

    image: np.ndarray
    curve: Curve


def gram(maps: Tensor) -> Tensor:
    """G = F F^T / (h w) of feature maps (1, C, h, w) seen as F (C, h w); (C, C)."""
    flat = maps[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def content_loss(maps: Tensor, target: Tensor) -> Tensor:
    """1/2 |F(X) - F(X^)|^2 / |F(X)|^2 of maps (1, C, h, w): 1/2 where nothing is alike."""
    return 0.5 * _relative(maps, target)


def style_loss(maps: Tensor, target: Tensor) -> Tensor:
    """|G(X) - G(X^)|^2 / |G(X)|^2 of maps (1, C, h, w)."""
    return _relative(gram(maps), gram(target))


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    size = wanted.square().sum().clamp(min=torch.finfo(wanted.dtype).tiny)
    return (found - wanted).square().sum() / size


def variation(image: Tensor) -> Tensor:
    """Anisotropic total variation of (1, 3, H, W): mean absolute difference of neighbours."""
    from kornia.losses import total_variation

    return total_variation(image, reduction="mean").mean()


class Matching:
    """The loss of an image (1, 3, H, W) in 0..1 against the maps of the image to be matched.

    content sum_l w_l content_l + style sum_l w_l style_l + tv variation, with w_l summing to 1.
    Every term is relative to the target's own size, so all layers and both terms have the same
    scale whatever the number of channels and cells. A term of weight 0 is not computed.
    """

    def __init__(
        self,
        net: nn.Module,
        network: NetworkConfig,
        target: Tensor,
        taps: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> None:
        self.net, self.network, self.weights = net, network, weights
        self.taps = {name: weight / sum(taps.values()) for name, weight in taps.items()}
        with torch.no_grad():
            self.target = self.maps(target)
        self.curve: Curve = []

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        seen = normalise(image * 255, self.network.mean, self.network.std)
        return forward(self.net, seen, self.taps)

    def parts(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """Name -> (raw value, weight in the loss)."""
        maps, parts = self.maps(image), {}
        for kind, loss in (("content", content_loss), ("style", style_loss)):
            if self.weights[kind]:
                for name, weight in self.taps.items():
                    value = loss(maps[name], self.target[name])
                    parts[f"{kind}/{name}"] = (value, weight * self.weights[kind])
        if self.weights["tv"]:
            parts["tv"] = (variation(image), self.weights["tv"])
        return parts

    def __call__(self, image: Tensor) -> Tensor:
        """The loss, noted in the curve.

        Raises:
            Stopped: a value that is not finite (status 3).
        """
        parts = self.parts(image)
        loss = torch.stack([value * weight for value, weight in parts.values()]).sum()
        values = {name: value.item() for name, (value, _) in parts.items()}
        if broken := [name for name, value in values.items() if not math.isfinite(value)]:
            raise Stopped(
                f"inversion, step {len(self.curve)}: {', '.join(broken)} is not finite; "
                "a lower lr or optimizer=lbfgs usually helps",
                status=3,
            )
        self.curve.append({"step": len(self.curve), "loss": loss.item(), **values})
        return loss

    def gradient(self, image: Tensor) -> tuple[float, Tensor]:
        """Loss and its gradient with respect to the image; parameters get none."""
        image = image.detach().requires_grad_()
        loss = self(image)
        (gradient,) = torch.autograd.grad(loss, image)
        return loss.item(), gradient


def sgd(loss: Matching, image: Tensor, lr: float, steps: int) -> Tensor:
    """The paper's optimiser, with momentum; the image is projected onto 0..1 after every step.

    The gradient is multiplied by the number of pixels H W: each pixel's share of a relative loss
    falls with their number, and so one lr serves all sizes.
    """
    pixels = image.shape[-1] * image.shape[-2]
    return _descend(
        loss,
        image,
        steps,
        lambda x: torch.optim.SGD([x], lr * pixels, momentum=MOMENTUM),
        f"invert (sgd, lr {lr:g})",
    )


def adam(loss: Matching, image: Tensor, lr: float, steps: int) -> Tensor:
    """Adam; the image is projected onto 0..1 after every step."""
    return _descend(loss, image, steps, lambda x: torch.optim.Adam([x], lr), "invert (adam)")


def _descend(
    loss: Matching,
    image: Tensor,
    steps: int,
    make: Callable[[Tensor], torch.optim.Optimizer],
    what: str,
) -> Tensor:
    optimizer = make(image)
    for _ in progress(range(steps), what=what):
        image.grad = loss.gradient(image)[1]
        optimizer.step()
        image.clamp_(0, 1)
    return image


def lbfgs(loss: Matching, image: Tensor, lr: float, steps: int) -> Tensor:
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
            value, gradient = loss.gradient(moved)
            bar.update()
            return value, gradient.flatten().cpu().numpy().astype(np.float64)

        start = image.flatten().cpu().numpy().astype(np.float64)
        found = minimize(
            evaluate,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * start.size,
            options={"maxfun": steps, "maxiter": steps, "ftol": 0.0, "gtol": 0.0},
        )
    return torch.from_numpy(found.x).to(image).view_as(image)


OPTIMIZERS = {"sgd": sgd, "adam": adam, "lbfgs": lbfgs}


def invert_image(
    net: nn.Module,
    network: NetworkConfig,
    image: np.ndarray,
    taps: Mapping[str, float],
    *,
    content: float = 1.0,
    style: float = 1.0,
    tv: float = 0.0,
    optimizer: str = "lbfgs",
    lr: float = 0.0,
    steps: int = 60,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Inversion:
    """From white noise to the image whose maps in `net` match those of `image` (003, section 3.3).

    The network stays as it is: eval mode inside (no dropout, stored batch-norm statistics), the
    gradient goes to the image alone, and nothing behind the deepest tap is computed. On the CPU
    equal arguments give equal bytes.

    Args:
        net: a trained network, on `device`.
        network: its description, for the normalisation.
        image: uint8 (H, W, 3).
        taps: layer name -> weight above 0; weights are divided by their sum.
        content: weight of the content terms.
        style: weight of the Gram terms.
        tv: weight of the total variation.
        optimizer: a key of OPTIMIZERS.
        lr: learning rate of sgd and adam; 0 = RATES.
        steps: updates; for lbfgs evaluations of the loss.
        seed: of the noise, drawn on the CPU: normal around 0.5 with deviation NOISE, clamped.
        device: where to compute, in fp32.

    Raises:
        InputError: an unknown layer or optimiser, or nothing to optimise.
        Stopped: a loss that is not finite (status 3).
    """
    one_of("optimizer", optimizer, tuple(OPTIMIZERS))
    check_taps(net, taps)
    if not taps or not (content or style):
        given = f"taps is {dict(taps)}, content {content:g}, style {style:g}"
        raise InputError(f"{given}: an inversion needs a layer and one of the two weights")
    for name, weight in taps.items():
        at_least(f"taps.{name}", weight, 0, above=True)
    target = tensor(image)[None].to(device).float() / 255
    drawn = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    noise = (0.5 + NOISE * drawn).clamp(0, 1).to(device)
    with eval_mode(net):
        weights = {"content": content, "style": style, "tv": tv}
        loss = Matching(net, network, target, taps, weights)
        found = OPTIMIZERS[optimizer](loss, noise, lr or RATES.get(optimizer, 0.0), steps)
        with torch.no_grad():
            loss(found)
    pixels = (found[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return Inversion(pixels.permute(1, 2, 0).cpu().numpy(), loss.curve)
