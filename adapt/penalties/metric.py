"""Fisher information as the weights of a penalty: what is accepted, and its scale."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from adapt.disk.tensors import read_metadata, read_tensors
from adapt.errors import InputError, listing
from adapt.penalties.fisher import ABOUT, load_fisher

SCALES = ("mean", "raw")


def read_fisher(path: str) -> dict[str, Tensor]:
    """Diagonal Fisher information by parameter name: of a file of scripts/fisher.py, which is
    verified, or of any weights file.

    Raises:
        InputError: no such file, not readable, or altered or unfinished where it is our own.
    """
    file = Path(path)
    try:
        if file.suffix == ".safetensors" and ABOUT in read_metadata(file):
            return load_fisher(file).values
        return read_tensors(file)
    except InputError as error:
        raise InputError(f"penalty.fisher: {error}") from None


def metric_of(
    fisher: Mapping[str, Tensor], wanted: Mapping[str, Tensor], scale: str
) -> dict[str, Tensor]:
    """The penalty's F for the parameters `wanted`, fp32, laid out as they are.

    `mean`: divided by its mean over all of these parameters, so that the mean of F is 1 and alpha
    is of the size that it has without Fisher information, whatever the estimate's own scale (sum or
    mean over pixels). `raw`: as it stands. What the estimate has beyond `wanted` (a head that the
    network does not share, say) is not used.

    Raises:
        InputError: a parameter without an estimate, one of another shape, a value that is negative
            or not finite, or an estimate that is 0 everywhere.
    """
    missing = wanted.keys() - fisher.keys()
    other = [
        f"{n} {tuple(fisher[n].shape)} instead of {tuple(p.shape)}"
        for n, p in wanted.items()
        if n in fisher and fisher[n].shape != p.shape
    ]
    broken = [
        n
        for n in wanted
        if n in fisher and not bool((torch.isfinite(fisher[n]) & (fisher[n] >= 0)).all())
    ]
    problems = (
        ("missing", missing), ("of another shape", other), ("negative or not finite", broken)
    )  # fmt: skip
    if found := [f"{what}: {listing(names)}" for what, names in problems if names]:
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
