"""The parts of the method for a training loop of one's own: maps, loss, penalty, Fisher, scores."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.data.images import index_type, void_of
from adapt.data.objects import array_of, check_batch, parts_of
from adapt.data.sampling import tensor
from adapt.errors import InputError, listing, unknown
from adapt.evaluation.metrics import Scores, scores_of, tally
from adapt.evaluation.protocol import predict
from adapt.machine.runtime import Runtime, runtime
from adapt.networks.batchnorm import eval_mode
from adapt.networks.preprocessing import as_input
from adapt.networks.taps import forward, logits_of
from adapt.objective.distances import OPTIONS
from adapt.objective.terms import regression
from adapt.penalties import Penalty as Omega
from adapt.penalties.fisher import fisher_of
from adapt.settings.groups import IMAGENET_MEAN, IMAGENET_STD, NetworkConfig, PenaltyConfig
from adapt.settings.mapping import build
from adapt.settings.objective import RegressionConfig
from adapt.settings.presets import preset
from adapt.settings.unused import refuse_unused


def taps(net: nn.Module, images: Tensor, names: str | Iterable[str]) -> dict[str, Tensor]:
    """Maps (B, C, h, w) of some layers, with their graph; the pass ends at the deepest of them.

    Args:
        net: any module.
        images: its input (B, C, H, W), normalised.
        names: of a layer or several (`named_modules()`, aliases), or `logits` for the network's own
            output.

    Raises:
        InputError: a layer that is not there, not reached, called several times until the deepest
            of them, or no map; or torch.inference_mode, which cannot tell what is overwritten.
    """
    if torch.is_inference_mode_enabled():
        raise InputError("taps: not under torch.inference_mode; torch.no_grad does the same here")
    return forward(net, images, [names] if isinstance(names, str) else names)


def regression_loss(
    student: Mapping[str, Tensor],
    teacher: Mapping[str, Tensor],
    weights: Mapping[str, float] | None = None,
    *,
    distance: str = "relative",
    valid: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """sum_l w_l d(F_l^T(x1), F_l^S(x2)): seed paper 003, section 3.1.

    Args:
        student: maps (B, C, h, w) of x2 by layer, with their graph.
        teacher: maps of x1, of the same layers and channels, without one.
        weights: w_l by layer; None = 1 / number of layers.
        distance: a choice of objective.regression.distance.
        valid: (B, H, W), not 0 where both images show the same thing; None = everywhere.
        **options: settings of the distance, such as its temperature; of `variance` one number for
            each layer, {layer: variance}.

    Raises:
        InputError: an unknown distance, an option that it does not have, no layers, one whose maps
            are not given or are of other images or channels, or a mask of other images.
    """
    weights = dict.fromkeys(student, 1 / max(1, len(student))) if weights is None else weights
    for what, maps in (("student", student), ("teacher", teacher)):
        if strange := weights.keys() - maps.keys():
            raise unknown(f"regression_loss: {what}: layer", min(strange), maps)
    for layer in weights:
        one, other = student[layer], teacher[layer]
        if one.shape[:2] != other.shape[:2]:
            raise InputError(
                f"regression_loss: {layer}: the student's maps are {tuple(one.shape)}, the "
                f"teacher's {tuple(other.shape)}: images and channels must be as many"
            )
        if valid is not None and (valid.ndim, len(valid)) != (3, len(one)):
            raise InputError(
                f"regression_loss: valid is {tuple(valid.shape)}; it must be (B, H, W) of "
                f"{len(one)} image(s)"
            )
    if strange := options.keys() - OPTIONS.keys():
        raise unknown("regression_loss: option", min(strange), OPTIONS)
    config = RegressionConfig(1.0, dict(weights), distance, **options)
    refuse_unused(config)
    batch = {} if valid is None else {"valid": valid}
    parts = regression(config).parts(dict(student), dict(teacher), batch).values()
    return torch.stack([value * weight for value, weight in parts]).sum()


class Penalty(Omega):
    """Omega(w, w0): the pull towards a start, for any optimiser.

    After `attach(optimizer)` every step of the optimiser has the pull. By hand it is
    `penalty.before_step(optimizer)`, `optimizer.step()`, `penalty.after_step(optimizer)`.

    Args:
        net: the network that trains.
        name: a choice of configs/penalty, with the strengths of the commands.
        start_point: w0 by the names of `net.state_dict()`; None = what `net` has now. Parameters
            that it lacks are new and are pulled to 0.
        fisher: diagonal Fisher information by parameter name, for the penalties that use it.
        **settings: any setting of the group `penalty`: alpha, beta, kinds, apply, epsilon, ...

    Raises:
        InputError: an unknown penalty or setting, Fisher information that is missing or unused, or
            a start of which `net` has no parameter.
    """

    def __init__(
        self,
        net: nn.Module,
        name: str = "l2_sp",
        *,
        start_point: Mapping[str, Tensor] | None = None,
        fisher: Mapping[str, Tensor] | None = None,
        **settings: Any,
    ) -> None:
        own = net.state_dict()
        given = own if start_point is None else start_point
        start = {k: v.detach().clone() for k, v in given.items()}
        config = build(PenaltyConfig, preset("penalty", name) | settings, "penalty.")
        super().__init__(net, start, config, fisher)
        if not self.shared:
            raise InputError(
                f"Penalty: nothing of start_point ({listing(given, 2)}) has name and shape of a "
                f"parameter of net ({listing(own, 2)}); all would be pulled to 0"
            )

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """From now on every step of the optimiser includes the pull; where it is given a closure
        that computes the gradient (Lightning does that), after the closure.

        Raises:
            InputError: the optimiser's own weight decay acts on parameters that are pulled; or, in
                a step, gradients that are scaled still (GradScaler, fused optimisers).
        """
        self.refuse_decay(optimizer, "Penalty: the optimiser's ")

        def before(opt: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
            if getattr(opt, "grad_scale", None) is not None:
                raise InputError(
                    "Penalty: the gradients are scaled until the fused optimiser's step, which "
                    "divides the pull too; call scaler.unscale_(optimizer) before scaler.step"
                )
            if closure is None:
                return self.before_step(opt)

            def with_pull() -> Any:
                loss = closure()
                self.before_step(opt)
                return loss

            return args[:1], {**kwargs, "closure": with_pull}

        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(lambda opt, args, kwargs: self.after_step(opt))


def fisher(
    net: nn.Module,
    images: Iterable[Tensor],
    *,
    normalisation: str = "sum",
    draws: int = 1,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Diagonal Fisher information of a network's parameters, for the penalties that use it.

    Args:
        net: a network whose output is logits; left as it was.
        images: normalised, (C, H, W) or batches (B, C, H, W), on the network's device.
        normalisation: of the likelihood over pixels, `sum` or `mean`.
        draws: label maps that are drawn for each image.
        seed: of the draws.

    Returns:
        Parameter's name -> float32 of its shape, on the CPU.

    Raises:
        InputError: no images, a wrong option, or values that are not finite.
    """

    def singly() -> Iterator[tuple[str, Tensor]]:
        count = 0
        for image in images:
            for one in image if image.ndim == 4 else [image]:
                yield str(count), one[None]
                count += 1

    return fisher_of(net, singly(), normalisation, draws, seed)


def evaluate(
    net: nn.Module,
    data: Iterable[Any],
    *,
    teacher: nn.Module | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    order: str = "rgb",
    range: int = 1,
    void: bool = False,
    device: str = "auto",
    precision: str = "auto",
) -> Scores:
    """Scores of a segmentation network in percent: against labels, or its agreement with a teacher.

    Args:
        net: normalised images (B, C, H, W) -> logits; moved to the device, its modes left alone.
        data: a data set or a DataLoader of (image, label[, valid]), label (H, W) of integers with
            255 = void (65535 where the network has more than 255 classes); with a teacher of pairs
            (x1, x2[, valid]). Images as in `fit`: floating point ones count as normalised. Where
            `valid` (H, W) is 0 nothing counts.
        teacher: sees x1; its classes are the truth for what `net` says of x2. None = labels.
        mean: of each channel of uint8 images, in the network's order and range.
        std: standard deviation likewise.
        order: in which the network sees three channels, `rgb` or `bgr`; images are RGB.
        range: largest value of a channel before mean and std, 1 or 255.
        void: is the last output no class but void, which is wrong where there is a label?
        device: auto, cpu, cuda or cuda:N.
        precision: auto, fp32 or bf16.

    Raises:
        InputError: items of another kind, no items, a label that is no output of the network, a
            mask of another size, a teacher of other outputs, or logits that are not finite.
    """
    machine = runtime(device, precision)
    network = NetworkConfig(mean=list(mean), std=list(std), order=order, range=range, void=void)
    for one in (net, teacher):
        if one is not None:
            machine.place(one)
    classes, total = 0, np.zeros(0, np.int64)
    for first, second, *valid in map(parts_of, items_of(data)):
        old = batch_of_images(first)
        images = old if teacher is None else batch_of_images(second)
        if not classes:
            classes = classes_of(machine, net, network, images)
            total = np.zeros((3, classes), np.int64)
            known = classes if teacher is None else classes_of(machine, teacher, network, old)
            if known != classes:
                raise InputError(f"evaluate: the teacher has {known} classes, net {classes}")
        if len(old) != len(images):
            raise InputError(f"evaluate: {len(old)} old and {len(images)} new images are no pairs")
        if teacher is None:
            truth = labels_of(second, len(images), classes)
        else:
            with eval_mode(teacher):
                truth = predict(machine, teacher, network, old, size_of(old))
        if valid:
            mask = np.asarray(valid[0])
            if mask.size != truth.size:
                raise InputError(f"evaluate: valid is {mask.shape} for {truth.shape} (B, H, W)")
            truth[mask.reshape(truth.shape) == 0] = void_of(classes)
        with eval_mode(net):
            found = predict(machine, net, network, images, size_of(truth))
        total += tally(truth, found, classes)
    if not classes:
        raise InputError("evaluate: there is nothing in data")
    return scores_of(total)


def classes_of(machine: Runtime, net: nn.Module, network: NetworkConfig, images: Tensor) -> int:
    """How many classes a network tells apart."""
    example = as_input(machine.images(images[:1]), network)
    with torch.no_grad(), machine.autocast(), eval_mode(net):
        return logits_of(net(example.clone())).shape[1] - network.void


def labels_of(labels: Any, count: int, classes: int) -> np.ndarray:
    """The index masks (B, H, W) of `count` images.

    Raises:
        InputError: values that are no integers, masks of another shape, or a value that is neither
            a class nor void.
    """
    found = np.asarray(labels)
    if (
        found.dtype.kind not in "iu"
        or found.ndim < 2
        or found.size != count * math.prod(found.shape[-2:])
    ):
        raise InputError(
            f"evaluate: labels of {count} image(s) are {found.dtype} {found.shape}; they must be "
            "integers (H, W) of each"
        )
    known = ((found >= 0) & (found < classes)) | (found == void_of(classes))
    if not known.all():
        raise InputError(
            f"evaluate: label {listing(np.unique(found[~known]))} is out of range; the network has "
            f"{classes} classes, 0..{classes - 1}, and void is {void_of(classes)}"
        )
    return found.reshape(count, *found.shape[-2:]).astype(index_type(classes))


def items_of(data: Any) -> Iterator[Any]:
    """Those of a map-style data set, or what something else yields."""
    sized = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    yield from (data[i] for i in range(len(data))) if sized else data


def batch_of_images(images: Any) -> Tensor:
    """(B, C, H, W) of a batch, or of one image in any form that pairs may have."""
    if isinstance(images, Tensor) and images.ndim == 4:
        check_batch(images)
        return images
    return tensor(array_of(images, "the image", "data"))[None]


def size_of(array: Tensor | np.ndarray) -> tuple[int, int]:
    return array.shape[-2], array.shape[-1]
