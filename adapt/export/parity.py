"""Does an exported network compute what the run's own network does? Both see the same images."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adapt.errors import InputError, Stopped
from adapt.evaluation.metrics import scores_of, tally
from adapt.evaluation.protocol import finite_logits
from adapt.machine.runtime import progress, runtime
from adapt.networks.batchnorm import eval_mode
from adapt.networks.preprocessing import as_input
from adapt.networks.taps import of_task, tasks_of, upsample
from adapt.settings.groups import NetworkConfig

TOLERANCE = 1e-4
"""Of the logits' range. Correct fp32 networks differ by about 1e-6 of it."""


@dataclass(frozen=True)
class Case:
    """Images that both networks see."""

    name: str
    images: np.ndarray
    """uint8 or uint16 (B, C, H, W)."""
    size: tuple[int, int] = (0, 0)
    """(H, W) at which mIoU is counted: the label's own; (0, 0) = the case does not count."""
    truth: np.ndarray | None = None
    """The label (H, W)."""
    task: str = ""
    """The head that the label is of, where there are several."""


def noise(shapes: Sequence[tuple[int, int]], channels: int, kind: np.dtype) -> list[Case]:
    """Random pixels: a batch of 1 and a batch of 3, of two sizes (H, W)."""
    rng, end = np.random.default_rng(0), np.iinfo(kind).max + 1
    sizes = [(batch, channels, *shape) for batch, shape in zip((1, 3), shapes, strict=True)]
    return [Case(f"noise {'x'.join(map(str, s))}", rng.integers(0, end, s, kind)) for s in sizes]


def check(
    folder: Path,
    kinds: Sequence[str],
    net: nn.Module,
    network: NetworkConfig,
    cases: Sequence[Case],
    root: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Compare the formats (`kinds`) of an export folder with the run's own network, fp32 on the
    CPU, of several heads each; `root` is the folder of the user's own module, where the network
    needs one.

    Raises:
        InputError: the network does not take the images, or its own logits are not finite.
        Stopped: a format does not load or run without this project.
    """
    machine, own = runtime("cpu", "fp32"), list[dict[str, torch.Tensor]]()
    net = machine.place(net)
    heads = {task: of_task(net, task) for task in tasks_of(net) or ("",)}
    with tempfile.TemporaryDirectory(dir=folder) as work, eval_mode(net):
        for number, case in enumerate(progress(cases, what="parity")):
            np.save(Path(work, f"{number}.npy"), case.images)
            images = machine.images(torch.from_numpy(case.images))
            try:
                seen = as_input(images, network)
                own.append({t: finite_logits(machine, head, seen) for t, head in heads.items()})
            except InputError as error:
                raise InputError(f"{case.name}: {error}") from None
        found = {kind: run(kind, folder, Path(work), root) for kind in kinds}
        return {
            f"{kind}, {task}" if task else kind: compare(
                [case if case.task == task else replace(case, size=(0, 0)) for case in cases],
                [logits[task] for logits in own],
                [(maps[f"logits{ending}"], maps[f"classes{ending}"]) for maps in of_cases],
                network.void,
            )
            for kind, of_cases in found.items()
            for task, ending in {task: f"_{task}" if task else "" for task in heads}.items()
        }


def run(kind: str, folder: Path, work: Path, root: Path | None) -> list[dict[str, torch.Tensor]]:
    """Logits (B, C, h, w) and classes (B, H, W) that an exported network gives for each case in
    `work`, computed in a process without this project and named as it does (isolated.py)."""
    project, script = Path(__file__).resolve().parents[2], Path(__file__).with_name("isolated.py")
    paths = [path for path in sys.path if path and Path(path).resolve() != project]
    given = [script, kind, folder.resolve(), work, torch.get_num_threads(), *paths]
    command = [sys.executable, "-I", "-B", *map(str, given + ([root] if root else []))]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Stopped(f"{kind}: does not run without this project: {said[-1]}", status=1)
    found = [np.load(work / f"{kind}{i}.npz") for i in range(len(list(work.glob("*.npy"))))]
    return [{name: torch.from_numpy(maps) for name, maps in file.items()} for file in found]


def compare(
    cases: Sequence[Case],
    own: Sequence[torch.Tensor],
    found: Sequence[tuple[torch.Tensor, torch.Tensor]],
    void: bool = False,
) -> dict[str, Any]:
    """What parity.json says of a format: logits as they are, the rest in percent; with `void` the
    last of them is no class."""
    classes = own[0].shape[1] - void
    agreement, before, after = (np.zeros((3, classes), np.int64) for _ in range(3))
    difference = span = 0.0
    pixels = equal = wrong = 0
    for case, mine, (logits, labels) in zip(cases, own, found, strict=True):
        if logits.shape != mine.shape or not logits.isfinite().all():
            difference = float("inf")
            continue
        extent = (mine.max() - mine.min()).item()
        difference, span = max(difference, (logits - mine).abs().max().item()), max(span, extent)
        full = upsample(mine, (case.images.shape[2], case.images.shape[3]))
        lost = full.amax(dim=1) - full.gather(1, labels.long()[:, None])[:, 0]
        wrong += int((lost > 2 * TOLERANCE * extent).sum())
        if case.size == (0, 0):
            continue
        pixels, equal = pixels + labels.numel(), equal + int((full.argmax(1) == labels).sum())
        a, b = (upsample(maps, case.size).argmax(dim=1)[0].numpy() for maps in (mine, logits))
        agreement += tally(a, b, classes)
        if case.truth is not None:
            before += tally(case.truth, a, classes)
            after += tally(case.truth, b, classes)
    miou = scores_of(after).miou if after.sum() else None
    return {
        "passed": difference <= TOLERANCE * span and not wrong,
        "max_logit_difference": difference,
        "logit_range": span,
        "tolerance": TOLERANCE * span,
        "equal_argmax": 100 * equal / max(1, pixels),
        "wrong_pixels": wrong,
        "agreement_miou": scores_of(agreement).miou,
        "miou": miou,
        "miou_difference": None if miou is None else miou - scores_of(before).miou,
    }
