"""Diagonal Fisher information of a network's parameters (adapt/fisher_file.py holds it).

For m images x_i and a network with weights w, after Li, Grandvalet and Davoine (ICML 2018, section
3, L2-SP-Fisher, and slides "Estimated Fisher Information Matrix"):

    F_j = 1/m sum_i E_y [ (d log p(y | x_i; w) / d w_j)^2 ],    y ~ p(. | x_i; w)

y is drawn from the network's own output; no labels are read. The square is taken of each image's
own gradient, before the mean: the square of a mean gradient is another thing.

Image classification, logits (1, C): the expectation is the sum over all classes, each weighted by
its probability, exactly.

Dense prediction, logits (1, C, h, w), upsampled as in training to N = H * W pixels:
given the image the pixels are independent. C^N label maps cannot be summed over, so `draws` of them
are drawn for each image, every pixel from its own probabilities; the estimate is unbiased whatever
their number. Two normalisations of log p:

    sum     log p = sum_n log p_n        the likelihood of the whole map
    mean    log p = 1/N sum_n log p_n    what a loss averaged over pixels belongs to

With `mean` gradients are N times smaller, so F is N^2 times smaller (1.7e-11 for 640 x 380 pixels)
and a penalty needs an alpha N^2 times larger for the same pull; the ratios within F are the same
where all images have one size, else `mean` gives small images more weight. (The Fisher information
of one random pixel would be F_sum / N.) `load_fisher(...).mean` is there to bring either to one
scale.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from adapt.batchnorm import eval_mode
from adapt.bounds import at_least, one_of
from adapt.distort import image_seed
from adapt.errors import InputError, listing
from adapt.fisher_file import Values
from adapt.taps import logits_of, upsample

NORMALISATIONS = ("sum", "mean")


def scored(output: object, size: tuple[int, int]) -> Tensor:
    """Logits, float32: (1, C) of a network for classification, else (1, C, H, W) at `size`."""
    if isinstance(output, Tensor) and output.ndim == 2:
        return output.float()
    return upsample(logits_of(output).float(), size)


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Labels (1, H, W) of logits (1, C, H, W), each pixel from its own softmax.

    The uniform numbers come from the CPU, so that every device draws the same but for rounding.
    """
    below = logits.detach().softmax(dim=1).double().cumsum(dim=1)
    shape = (logits.shape[0], 1, *logits.shape[2:])
    uniform = torch.rand(shape, generator=generator, dtype=torch.double).to(logits.device)
    return (below <= uniform * below[:, -1:]).sum(dim=1).clamp_(max=logits.shape[1] - 1)


def likelihoods(
    logits: Tensor, normalisation: str, draws: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, float]]:
    """(log p(y|x), weight) for the label maps y, or classes, that the expectation is taken over."""
    if logits.ndim == 2:
        logs = logits.log_softmax(dim=1)[0]
        yield from zip(logs, logs.detach().exp().tolist(), strict=True)
        return
    for _ in range(draws):
        labels = drawn(logits, generator)
        cost = nn.functional.cross_entropy(logits, labels, reduction=normalisation)
        yield -cost, 1 / draws


def add_scores(
    totals: Values,
    net: nn.Module,
    image: Tensor,
    normalisation: str,
    draws: int,
    generator: torch.Generator,
) -> None:
    """Add one image's E_y [(d log p(y|x) / dw)^2] to `totals`, in float64.

    Everything is computed in float32 without TF32, in eval mode, whatever mode the network is in
    and whichever of its parameters are frozen.

    Args:
        totals: as `zeros` makes them.
        net: any network whose output is logits.
        image: normalised (1, 3, H, W), on the network's device.
        normalisation: `sum` or `mean` over pixels.
        draws: label maps drawn in dense prediction.
        generator: of the CPU; draws the labels.

    Raises:
        InputError: logits that are not finite; nothing has been added then.
    """
    weights = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
    size = (image.shape[-2], image.shape[-1])
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    fp32 = torch.autocast(image.device.type, enabled=False)
    with eval_mode(net), exact, fp32, torch.enable_grad():
        logits = scored(torch.func.functional_call(net, weights, (image,)), size)
        if not logits.isfinite().all():
            raise InputError(
                "run: the network's logits are not finite: its training diverged; a lower "
                "schedule.lr usually helps"
            )
        for log_p, weight in likelihoods(logits, normalisation, draws, generator):
            scores = torch.autograd.grad(
                log_p, list(weights.values()), retain_graph=True, allow_unused=True
            )
            for name, score in zip(weights, scores, strict=True):
                if score is not None:
                    totals[name].add_(score.double().square_(), alpha=weight)


def zeros(net: nn.Module) -> Values:
    """What scores are added to."""
    return {n: torch.zeros_like(p, dtype=torch.double) for n, p in net.named_parameters()}


def fisher_of(
    net: nn.Module,
    images: Iterable[tuple[str, Tensor]],
    normalisation: str = "sum",
    draws: int = 1,
    seed: int = 0,
) -> Values:
    """The diagonal Fisher information of any network: parameter's name -> float32 of its shape.

    Args:
        net: a network whose output is logits, (B, C) or (B, C, h, w); left as it was.
        images: names and normalised images (1, 3, H, W), on the network's device. Labels are drawn
            by `seed` and the name, so they depend on neither order nor company.
        normalisation: `sum` or `mean` over pixels (above).
        draws: label maps drawn for each image in dense prediction.
        seed: of the drawn labels.

    Raises:
        InputError: no images, a wrong option, or values that are not finite.
    """
    one_of("normalisation", normalisation, NORMALISATIONS)
    at_least("draws", draws, 1)
    totals, count = zeros(net), 0
    for name, image in images:
        add_scores(totals, net, image, normalisation, draws, generator_of(seed, name))
        count += 1
    return averaged(totals, count)


def generator_of(seed: int, name: str) -> torch.Generator:
    """What draws the labels of the image of this name."""
    return torch.Generator().manual_seed(image_seed(seed, name))


def averaged(totals: Values, count: int) -> Values:
    """Sums over `count` images -> means, float32, on the CPU.

    Raises:
        InputError: no images, or a value that float32 cannot hold.
    """
    if not count:
        raise InputError("fisher: there are no images")
    values = {name: (total / count).float().cpu() for name, total in totals.items()}
    if broken := [name for name, value in values.items() if not value.isfinite().all()]:
        raise InputError(f"fisher: values of {listing(broken)} are not finite")
    return values
