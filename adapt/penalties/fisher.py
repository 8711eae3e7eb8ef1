"""Diagonal Fisher information of a network's parameters: its estimate, its file, and its use as the
weights of a penalty.

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
of one random pixel would be F_sum / N.) `metric_of` brings either to one scale.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from adapt.data.sampling import image_seed
from adapt.disk.files import parse_json, write_whole
from adapt.disk.tensors import read_metadata, read_tensors
from adapt.errors import InputError, listing
from adapt.networks.batchnorm import eval_mode
from adapt.networks.taps import logits_of, tasks_of, upsample
from adapt.settings.checks import Range, one_of
from adapt.settings.choices import NORMALISATIONS

Values = dict[str, Tensor]
"""Parameter's name -> a value for each of its elements."""
ABOUT = "fisher"
"""The one key of a Fisher file's metadata: JSON. (Of several keys safetensors keeps no order, so
two files of the same content would differ.)"""
FORMATS = (1, 2)
"""Of a Fisher file; the last one is written, all of them are read."""
DIGEST = "sha256"
"""Key of the description: digest of the tensors. safetensors itself has no checksum."""


def scored(output: object, size: tuple[int, int], task: str = "") -> Tensor:
    """Logits, float32: (1, C) of a network for classification, else (1, C, H, W) at `size`; of
    several heads those of a task."""
    logits = logits_of(output, task).float()
    return logits if logits.ndim == 2 else upsample(logits, size)


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Labels (1, H, W) of logits (1, C, H, W), each pixel from its own softmax.

    The uniform numbers come from the CPU, so that every device draws the same but for rounding.
    """
    below = logits.detach().softmax(dim=1).double().cumsum(dim=1)
    shape = (logits.shape[0], 1, *logits.shape[2:])
    uniform = torch.rand(shape, generator=generator, dtype=torch.double).to(logits.device)
    return (below <= uniform * below[:, -1:]).sum(dim=1).clamp_(max=logits.shape[1] - 1)


def likelihoods(
    heads: Sequence[Tensor], normalisation: str, draws: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, float]]:
    """(log p(y|x), weight) for the label maps y, or classes, that the expectation is taken over.
    Given the image the maps of several heads are independent: their log-likelihoods are added."""
    if heads[0].ndim == 2:
        logs = heads[0].log_softmax(dim=1)[0]
        yield from zip(logs, logs.detach().exp().tolist(), strict=True)
        return
    for _ in range(draws):
        costs = [
            nn.functional.cross_entropy(z, drawn(z, generator), reduction=normalisation)
            for z in heads
        ]
        yield -torch.stack(costs).sum(), 1 / draws


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

    Raises:
        InputError: logits that are not finite; nothing has been added then.
    """
    weights = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
    size = (image.shape[-2], image.shape[-1])
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    fp32 = torch.autocast(image.device.type, enabled=False)
    with eval_mode(net), exact, fp32, torch.enable_grad():
        output = torch.func.functional_call(net, weights, (image.clone(),))
        logits = [scored(output, size, task) for task in tasks_of(net) or ("",)]
        if not all(bool(z.isfinite().all()) for z in logits):
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


def fisher_of(
    net: nn.Module,
    images: Iterable[tuple[str, Tensor]],
    normalisation: str = "sum",
    draws: int = 1,
    seed: int = 0,
) -> Values:
    """The diagonal Fisher information of any network: parameter's name -> float32 of its shape, on
    the CPU.

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
    Range(1).check("draws", draws)
    totals = {n: torch.zeros_like(p, dtype=torch.double) for n, p in net.named_parameters()}
    count = 0
    for count, (name, image) in enumerate(images, 1):  # noqa: B007
        generator = torch.Generator().manual_seed(image_seed(seed, name))
        add_scores(totals, net, image, normalisation, draws, generator)
    if not count:
        raise InputError("fisher: there are no images")
    values = {name: (total / count).float().cpu() for name, total in totals.items()}
    if broken := [name for name, value in values.items() if not value.isfinite().all()]:
        raise InputError(f"fisher: values of {listing(broken)} are not finite")
    return values


@dataclass(frozen=True)
class Fisher:
    """A Fisher file's content."""

    values: Values
    made: dict[str, Any]
    """How: model (SHA-256), data, split, images, normalisation, draws, seed, versions, ..."""

    @property
    def mean(self) -> float:
        """Over all elements of all parameters."""
        total = sum(v.double().sum().item() for v in self.values.values())
        return total / sum(v.numel() for v in self.values.values())


def digest_of(values: Values) -> str:
    """SHA-256 of tensors on the CPU with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_fisher(path: Path, values: Values, made: dict[str, Any]) -> None:
    """Equal content gives equal bytes. The order of the names is kept, in the metadata."""
    tensors = {name: value.cpu().contiguous() for name, value in values.items()}
    about = {"format": FORMATS[-1], "parameters": list(values), DIGEST: digest_of(tensors), **made}
    text = json.dumps(about, sort_keys=True)
    write_whole(path, safetensors.torch.save(tensors, {ABOUT: text}))


def load_fisher(path: Path) -> Fisher:
    """What `fisher` wrote.

    Raises:
        InputError: no such file, another kind of file, altered tensors, or values that are
            negative, not finite or not float32.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: not a .safetensors file")
    found, metadata = read_tensors(path), read_metadata(path)
    if ABOUT not in metadata:
        raise InputError(
            f"{path}: not a Fisher file (no {ABOUT!r} in its metadata); make one with fra fisher"
        )
    made = parse_json(metadata[ABOUT], f"{path}: metadata")
    if not isinstance(made, dict) or made.pop("format", None) not in FORMATS:
        raise InputError(f"{path}: not a Fisher file of format {FORMATS[-1]}")
    names = made.pop("parameters", [])
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(found):
        raise InputError(f"{path}: its tensors are not the parameters that its metadata lists")
    made.pop("seal", None)  # of format 2 at first
    digest = made.pop(DIGEST, None)  # format 1 has none
    if digest is not None and digest != digest_of(found):
        raise InputError(f"{path}: corrupt: tensors {digest_of(found)}, recorded {digest}")
    for name, value in found.items():
        if value.dtype != torch.float32:
            raise InputError(f"{path}: {name} is {value.dtype}; it must be torch.float32")
        if not value.isfinite().all() or (value < 0).any():
            raise InputError(f"{path}: {name} has values that are negative or not finite")
    return Fisher({name: found[name] for name in names}, made)


def read_fisher(path: str) -> Values:
    """A penalty's Fisher information: of a file of fisher, which is verified, or of any
    weights file.

    Raises:
        InputError: no such file, not readable, or altered where it is our own.
    """
    file = Path(path)
    try:
        if file.suffix == ".safetensors" and ABOUT in read_metadata(file):
            return load_fisher(file).values
        return read_tensors(file)
    except InputError as error:
        raise InputError(f"penalty.fisher: {error}") from None


def metric_of(fisher: Mapping[str, Tensor], wanted: Mapping[str, Tensor], scale: str) -> Values:
    """The penalty's F for the parameters `wanted`, fp32, laid out as they are.

    `mean`: divided by its mean over all of these parameters, so that the mean of F is 1 and alpha
    is of the size that it has without Fisher information, whatever the estimate's own scale (sum or
    mean over pixels). `raw`: as it stands. What the estimate has beyond `wanted` (a head that the
    network does not share, say) is not used.

    Raises:
        InputError: a parameter without an estimate, one of another shape, a value that is negative
            or not finite, or an estimate that is 0 everywhere.
    """
    known = {n: (fisher[n], p) for n, p in wanted.items() if n in fisher}
    problems = {
        "missing": list(wanted.keys() - fisher.keys()),
        "of another shape": [
            f"{n} {tuple(f.shape)} instead of {tuple(p.shape)}"
            for n, (f, p) in known.items()
            if f.shape != p.shape
        ],
        "negative or not finite": [
            n for n, (f, _) in known.items() if not bool((f.isfinite() & (f >= 0)).all())
        ],
    }
    if found := [f"{what}: {listing(names)}" for what, names in problems.items() if names]:
        raise InputError(f"penalty.fisher does not fit the parameters: {'; '.join(found)}")
    divisor = 1.0
    if scale == "mean":
        total = sum(float(fisher[n].sum(dtype=torch.float64)) for n in wanted)
        divisor = total / max(1, sum(p.numel() for p in wanted.values()))
        if wanted and divisor == 0:
            raise InputError("penalty.fisher is 0 for every parameter: there is nothing to pull by")
    return {
        n: torch.empty_like(p, dtype=torch.float32).copy_(fisher[n].double() / divisor)
        for n, p in wanted.items()
    }
