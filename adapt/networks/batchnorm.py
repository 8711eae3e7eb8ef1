"""Batch norm of the student: what of it may move, and AdaBN (Li et al. 2016) as a baseline."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from adapt.errors import InputError

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norms(net: nn.Module) -> list[BatchNorm]:
    return [m for m in net.modules() if isinstance(m, BatchNorm)]


def train_mode(net: nn.Module, policy: str) -> None:
    """Train mode under a policy: `eval` freezes statistics and affine parameters, `affine` only
    the statistics, `train` nothing. Call it wherever `net.train()` would stand."""
    net.train()
    for norm in batch_norms(net):
        norm.train(policy == "train")
        if policy == "eval":
            norm.requires_grad_(False)


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[nn.Module]:
    """Eval mode inside, every submodule's own mode back afterwards."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield net
    finally:
        for module, training in modes.items():
            module.training = training


def freeze(net: nn.Module) -> nn.Module:
    """A network that nothing moves: no gradient, eval mode, and `.train()` leaves it there."""
    net.requires_grad_(False).eval()
    net.train = lambda mode=True: net  # type: ignore[method-assign]
    return net


@torch.no_grad()
def adapt_statistics(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace all batch-norm statistics by those of normalised images (B, 3, H, W), one pass.

    Averages over the batches, each weighed by its number of images; everything else stays in eval
    mode and untouched.

    Raises:
        InputError: the network has no batch norm.
    """
    norms = batch_norms(net)
    if not norms:
        raise InputError(
            "adabn=true: the network has no batch normalisation whose statistics could be estimated"
        )
    momenta = [norm.momentum for norm in norms]
    with eval_mode(net):
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        seen = 0
        for images in batches:
            seen += len(images)
            for norm in norms:
                norm.momentum = len(images) / seen
            net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
