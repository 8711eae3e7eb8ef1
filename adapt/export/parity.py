"""Does an exported network compute what the run's own does? Checked within what rounding allows."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.errors import InputError, Stopped
from adapt.evaluation.metrics import confusion, scores
from adapt.export.isolated import DONE
from adapt.machine.runtime import progress, runtime
from adapt.networks.batchnorm import eval_mode
from adapt.networks.taps import logits_of, normalise, upsample
from adapt.settings.groups import NetworkConfig

UNIT = 2.0**-24
"""Unit roundoff of fp32."""
POSITIONS = 24
"""Rounding of upsampling's positions, in units of UNIT x cells a side x largest logit: 3 operations
x 2 (neighbours differ by at most twice the largest) x 2 axes x 2 implementations."""

Predict = Callable[[np.ndarray], tuple[Tensor, Tensor]]
"""uint8 (B, 3, H, W) -> logits (B, C, h, w), classes (B, H, W)."""


@dataclass(frozen=True)
class Case:
    """Images that are shown to both."""

    name: str
    images: np.ndarray
    """uint8 (B, 3, H, W)."""
    size: tuple[int, int]
    """(H, W) at which mIoU is counted: the label's own."""
    truth: np.ndarray | None = None
    """Label (H, W)."""
    noise: bool = False
    """Only there for its size: it does not count in the scores."""


def rounding(net: nn.Module) -> float:
    """How far two correct fp32 implementations of a network may differ, relative to its largest
    logit: L sqrt(n) u.

    A dot product of n terms that is summed in another order differs by about sqrt(n) u of its
    terms' size (Higham and Mary 2019, SIAM J. Sci. Comput. 41: rounding errors as a random walk);
    L weight tensors, each of at most n terms, add up.
    """
    terms = [p[0].numel() for p in net.parameters() if p.ndim >= 2]
    return max(1, len(terms)) * max(terms, default=1) ** 0.5 * UNIT


class Comparison:
    """One exported format against the run's own network."""

    def __init__(self, relative: float, classes: int) -> None:
        self.relative = relative
        self.difference = self.largest = self.share = 0.0
        self.pixels = self.equal = self.beyond = 0
        self.agreement, self.own, self.found = (np.zeros((classes,) * 2, np.int64) for _ in "abc")

    def add(self, case: Case, own: Tensor, logits: Tensor, classes: Tensor) -> None:
        """Count one case: the run's own logits, and what the exported network gave."""
        largest = own.abs().max().item()
        wrong = logits.shape != own.shape or not bool(logits.isfinite().all())
        difference = float("inf") if wrong else (logits - own).abs().max().item()
        self.difference = max(self.difference, difference)
        self.largest = max(self.largest, largest)
        tolerance = self.relative * largest
        self.share = max(self.share, difference / tolerance if tolerance else difference)
        cells = max(own.shape[2:])
        height, width = case.images.shape[2:]
        full = upsample(own, (height, width))
        best = full.topk(min(2, full.shape[1]), dim=1).values
        sure = best[:, 0] - best[:, -1] > 2 * (tolerance + POSITIONS * UNIT * cells * largest)
        differs = full.argmax(dim=1) != classes
        self.beyond += int((differs & sure).sum())
        if case.noise or wrong:
            return
        self.pixels += differs.numel()
        self.equal += int((~differs).sum())
        mine, its = (upsample(maps, case.size).argmax(dim=1)[0].numpy() for maps in (own, logits))
        self.agreement += confusion(mine, its, len(self.own))
        if case.truth is not None:
            self.own += confusion(case.truth, mine, len(self.own))
            self.found += confusion(case.truth, its, len(self.own))

    @property
    def passed(self) -> bool:
        return self.share <= 1 and self.beyond == 0

    def report(self) -> dict[str, Any]:
        """The numbers: logits as they are, the rest in percent."""
        labelled = bool(self.own.sum())
        own, found = scores(self.own).miou, scores(self.found).miou
        return {
            "passed": self.passed,
            "max_logit_difference": self.difference,
            "largest_logit": self.largest,
            "tolerance": self.relative * self.largest,
            "share_of_tolerance": self.share,
            "equal_argmax": 100 * self.equal / max(1, self.pixels),
            "pixels_beyond_rounding": self.beyond,
            "agreement_miou": scores(self.agreement).miou,
            "miou": found if labelled else None,
            "miou_difference": found - own if labelled else None,
        }


def noise(shapes: Sequence[tuple[int, int]]) -> list[Case]:
    """A batch of 1 and one of 3, of random pixels at two sizes (H, W)."""
    rng = np.random.default_rng(0)
    return [
        Case(
            f"noise {batch}x3x{height}x{width}",
            rng.integers(0, 256, (batch, 3, height, width), dtype=np.uint8),
            (height, width),
            noise=True,
        )
        for batch, (height, width) in zip((1, 3), shapes, strict=True)
    ]


def check(
    folder: Path,
    kinds: Sequence[str],
    net: nn.Module,
    network: NetworkConfig,
    cases: Sequence[Case],
    paths: Sequence[str],
) -> dict[str, Comparison]:
    """Compare the formats of an export folder with the network that they were made of.

    Args:
        folder: the export.
        kinds: formats, keys of the result.
        net: the run's network.
        network: its normalisation.
        cases: what is shown to all.
        paths: where the isolated processes find what is installed.

    Raises:
        InputError: images that the network does not take, or logits of its own that are not finite.
        Stopped: a format that does not load or run without this project.
    """
    machine = runtime("cpu", "fp32")
    net = machine.place(net)
    with ExitStack() as stack:
        stack.enter_context(eval_mode(net))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = {k: stack.enter_context(isolated(k, folder, work, paths)) for k in kinds}
        made: dict[str, Comparison] = {}
        for case in progress(cases, what="parity"):
            own = predict(net, network, case)
            for kind, process in processes.items():
                made.setdefault(kind, Comparison(rounding(net), own.shape[1]))
                made[kind].add(case, own, *process(case.images))
    return made


def predict(net: nn.Module, network: NetworkConfig, case: Case) -> Tensor:
    """The run's own logits, fp32 on the CPU."""
    images = runtime("cpu", "fp32").images(torch.from_numpy(case.images))
    try:
        with torch.no_grad():
            logits = logits_of(net(normalise(images, network.mean, network.std)))
    except (RuntimeError, AssertionError) as error:
        height, width = images.shape[2:]
        raise InputError(
            f"{case.name}: the network does not take images of {height}x{width} ({error}); "
            "give data.resize=[H,W]"
        ) from None
    if not logits.isfinite().all():
        raise InputError(f"{case.name}: the run's own logits are not finite")
    return logits


@contextmanager
def isolated(kind: str, folder: Path, work: Path, paths: Sequence[str]) -> Iterator[Predict]:
    """An exported network in a process of its own, without this project (isolated.py)."""
    script = Path(__file__).with_name("isolated.py")
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-I", "-B", str(script), kind, str(folder.resolve()), threads]
    given, complaints = work / f"{kind}.npy", work / f"{kind}.txt"
    with complaints.open("w") as errors:
        process = subprocess.Popen(
            [*command, *paths],
            cwd=work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None and process.stdout is not None

    def ask(images: np.ndarray) -> tuple[Tensor, Tensor]:
        np.save(given, images)
        with suppress(BrokenPipeError):  # it has ended: what follows says why
            print(given, file=process.stdin, flush=True)
        for line in process.stdout or ():
            if line.strip() == DONE:
                found = np.load(given.with_suffix(".npz"))
                return torch.from_numpy(found["logits"]), torch.from_numpy(found["classes"])
        said = complaints.read_text().strip().splitlines() or [f"exit status {process.wait()}"]
        raise Stopped(f"{kind}: does not run without this project: {said[-1]}", status=1)

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()
