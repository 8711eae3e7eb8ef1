"""Style inversion: the image that looks to one network like a given image does.

Seed paper 003, section 3.3: content loss (Mahendran & Vedaldi, CVPR 2015) and style loss (Gatys,
Ecker & Bethge, CVPR 2016) are both taken from one and the same network, from white noise on. What
comes out has the image's content in the style that the network is used to.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.data.sampling import tensor
from adapt.errors import InputError, Stopped
from adapt.machine.runtime import Runtime, eager, progress
from adapt.networks.batchnorm import eval_mode
from adapt.networks.preprocessing import normalise
from adapt.networks.taps import forward
from adapt.settings.checks import Range, one_of
from adapt.settings.groups import NetworkConfig
from adapt.settings.viz import PAPER, RELATIVE

CPU = Runtime(torch.device("cpu"), bf16=False)
NOISE = 0.05
"""Standard deviation of the white noise around grey. What no layer sees stays as it was drawn, so
stronger noise would cover the picture (Gatys et al. start from 0.001 as well)."""

RATES = {"sgd": 0.0005, "adam": 0.05}
"""Learning rates of a setting `lr=0`; SGD's is for the loss times the number of pixels. Tried on
trained networks from 96x128 to 240x180 pixels: SGD diverges from 0.003 on, in some from 0.001."""
PAPER_RATE = 1e-4
"""SGD's for the printed objective, whose gradients do not fall with the number of pixels."""
MOMENTUM = 0.9
EDGE = 0.02
"""How far from 0 and 1 an image starts L-BFGS, whose pixels cannot leave them."""

Gradient = Callable[[Tensor], tuple[float, Tensor]]
"""image -> its loss and the loss's gradient with respect to it."""
Curve = list[dict[str, float]]
"""step, loss, and the raw value of every term: content/<layer>, style/<layer>, tv."""


@dataclass(frozen=True)
class Inversion:
    """A reconstructed image uint8 (H, W, C); the curve's last entry belongs to it."""

    image: np.ndarray
    curve: Curve


class Gram(torch.autograd.Function):
    """F^T F / n of F (n, C), a map with its n cells as rows. The gradient F (g + g^T) / n is one
    product; autograd would make two of it."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        return flat.T @ flat / len(flat)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (flat,), (gradient,) = ctx.saved_tensors, gradients
        return flat @ ((gradient + gradient.T) / len(flat))


def gram(maps: Tensor) -> Tensor:
    """G = F F^T / (h w) of feature maps (1, C, h, w) seen as F (C, h w); (C, C)."""
    return Gram.apply(maps.movedim(1, -1).flatten(0, -2))


def distance_to(wanted: Tensor, unit: float | None = None) -> Callable[[Tensor], Tensor]:
    """`found -> |found - wanted|^2 / unit`; None = |wanted|^2."""
    size = wanted.square().sum().clamp(min=torch.finfo(wanted.dtype).tiny) if unit is None else unit
    return lambda found: nn.functional.mse_loss(found, wanted, reduction="sum") / size


def variation(image: Tensor) -> Tensor:
    """Anisotropic total variation of (1, 3, H, W): mean absolute difference of neighbours."""
    from kornia.losses import total_variation

    return total_variation(image, reduction="mean").mean()


class Matching:
    """The loss of an image (1, 3, H, W) in 0..1 against the maps of the image to be matched.

    content sum_l w_l content_l + style sum_l w_l style_l + tv variation, where the w_l sum to 1,
    content_l = 1/2 |F_l(X) - F_l(X^)|^2 / |F_l(X)|^2 and style_l the same of Gram matrices without
    the 1/2. Every term is relative to the target's own size, so all layers and both terms have the
    same scale whatever the number of channels and cells. A term of weight 0 is not computed.

    With `paper` as 003 prints it: content_l = 1/2 |F_l(X) - F_l(X^)|^2, style_l = |G - G^|^2 /
    (4 C^2 n^2) of G = F F^T (C channels, n cells; Gatys et al. 2016, eq. 4), the w_l as they are.
    """

    def __init__(
        self,
        net: nn.Module,
        network: NetworkConfig,
        target: Tensor,
        taps: Mapping[str, float],
        weights: Mapping[str, float],
        machine: Runtime = CPU,
        wanted: nn.Module | None = None,
        paper: bool = False,
    ) -> None:
        """`wanted`: the network of the same normalisation whose maps of `target` are to be met;
        None = `net` itself."""
        self.net, self.network, self.weights, self.machine = net, network, weights, machine
        total = 1.0 if paper else sum(taps.values())
        self.taps = {name: weight / total for name, weight in taps.items()}
        with torch.no_grad():
            maps = self.maps(target, wanted)
            grams = {k: gram(maps[k]) for k in taps if weights["style"]}
            content = {k: maps[k] for k in taps if weights["content"]}
        unit = 1.0 if paper else None
        self.content = {k: distance_to(found, unit) for k, found in content.items()}
        # `gram` has divided by n, whose square the printed unit has
        self.style = {k: distance_to(g, unit and 4 * len(g) ** 2) for k, g in grams.items()}
        self.curve: Curve = []

    def maps(self, image: Tensor, net: nn.Module | None = None) -> dict[str, Tensor]:
        """In the machine's precision, brought to fp32."""
        seen = normalise(image * 255, self.network)
        with self.machine.autocast():
            maps = forward(net or self.net, seen, self.taps)
        return {name: found.float() for name, found in maps.items()}

    def parts(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """Name -> (raw value, weight in the loss)."""
        maps, parts = self.maps(image), {}
        for name, distance in self.content.items():
            weight = self.weights["content"] * self.taps[name]
            parts[f"content/{name}"] = (0.5 * distance(maps[name]), weight)
        for name, distance in self.style.items():
            weight = self.weights["style"] * self.taps[name]
            parts[f"style/{name}"] = (distance(gram(maps[name])), weight)
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


def projected(
    gradient: Gradient, image: Tensor, lr: float, steps: int, name: str, relative: bool = True
) -> Tensor:
    """SGD with momentum, the paper's optimiser, or Adam; the image is projected onto 0..1 after
    every step.

    SGD's lr is multiplied by the number of pixels H W where the loss is `relative`: each pixel's
    share of it falls with their number, and so one lr serves all sizes.
    """
    if name == "sgd":
        rate = lr * (image.shape[-1] * image.shape[-2] if relative else 1)
        optimizer: torch.optim.Optimizer = eager(torch.optim.SGD)([image], rate, momentum=MOMENTUM)
    else:
        optimizer = eager(torch.optim.Adam)([image], lr)
    for _ in progress(range(steps), what=f"invert ({name}, lr {lr:g})"):
        image.grad = gradient(image)[1]
        optimizer.step()
        image.clamp_(0, 1)
    return image


def lbfgs(gradient: Gradient, image: Tensor, steps: int) -> Tensor:
    """L-BFGS (Liu and Nocedal 1989) with a strong Wolfe line search, over u of x = (1 + sin u) / 2:
    this change of variables (MINUIT's, James and Roos 1975) keeps 0..1, where a clamp after the
    steps would break line search and curvature.

    `steps` counts evaluations of loss and gradient; the step length is found by that search.
    """
    angles = (2 * image.clamp(EDGE, 1 - EDGE) - 1).asin()
    optimizer = eager(torch.optim.LBFGS)(
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


def invert_image(
    net: nn.Module,
    network: NetworkConfig,
    image: np.ndarray,
    taps: Mapping[str, float],
    *,
    loss: str = RELATIVE,
    content: float = 1.0,
    style: float = 1.0,
    tv: float = 0.0,
    optimizer: str = "lbfgs",
    lr: float = 0.0,
    steps: int = 60,
    seed: int = 0,
    machine: Runtime = CPU,
    wanted: nn.Module | None = None,
) -> Inversion:
    """From white noise to the image whose maps in `net` match those of `image` (003, section 3.3).

    The network stays as it is: eval mode inside (no dropout, stored batch-norm statistics), the
    gradient goes to the image alone, and nothing after the deepest tap is computed. On the CPU
    equal arguments give equal bytes.

    Args:
        net: a trained network, placed on `machine`.
        network: its description, for the normalisation.
        image: uint8 or uint16 (H, W, C).
        taps: layer name -> weight above 0; weights are divided by their sum, but for `paper`.
        loss: `relative` or `paper`, as `Matching`.
        content: weight of the content terms.
        style: weight of the Gram terms.
        tv: weight of the total variation.
        optimizer: sgd, adam or lbfgs.
        lr: learning rate of sgd and adam, 0 = RATES, or PAPER_RATE of sgd with `paper`; for lbfgs
            it must be 0.
        steps: updates; for lbfgs evaluations of the loss.
        seed: of the noise, drawn on the CPU: normal around 0.5 with deviation NOISE, clamped.
        machine: where to compute, and whether the network computes in bf16; losses, their
            gradients at the maps and the image are fp32.
        wanted: the network whose maps of `image` are to be met, in eval mode; None = `net` itself.

    Raises:
        InputError: an unknown layer or optimiser, or nothing to optimise.
        Stopped: a loss that is not finite (status 3).
    """
    one_of("optimizer", optimizer, (*RATES, "lbfgs"))
    one_of("loss", loss, (RELATIVE, PAPER))
    if lr and optimizer not in RATES:
        raise InputError(f"lr is {lr:g}, but optimizer=lbfgs finds its step length itself: lr=0")
    if not taps or not (content or style):
        given = f"taps is {dict(taps)}, content {content:g}, style {style:g}"
        raise InputError(f"{given}: an inversion needs a layer and one of the two weights")
    for name, weight in taps.items():
        Range(0, above=True).check(f"taps.{name}", weight)
    target = tensor(image)[None].to(machine.device).float() / np.iinfo(image.dtype).max
    drawn = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    noise = (0.5 + NOISE * drawn).clamp(0, 1).to(machine.device)
    # The outer context computes nothing in bf16: it keeps the weights' casts between evaluations.
    with eval_mode(net), torch.autocast(machine.device.type, enabled=False):
        weights = {"content": content, "style": style, "tv": tv}
        paper = loss == PAPER
        matching = Matching(net, network, target, taps, weights, machine, wanted, paper)
        if optimizer in RATES:
            rate = PAPER_RATE if paper and optimizer == "sgd" else RATES[optimizer]
            found = projected(matching.gradient, noise, lr or rate, steps, optimizer, not paper)
        else:
            found = lbfgs(matching.gradient, noise, steps)
        with torch.no_grad():
            matching(found)
    pixels = (found[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return Inversion(pixels.permute(1, 2, 0).cpu().numpy(), matching.curve)
