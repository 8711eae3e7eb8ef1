"""What an adaptation brought on pairs that it has not seen, without a label.

The teacher's prediction on the old image serves as truth for what each network says of the new one.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from adapt.data import DataSet, some
from adapt.data.augment import resize
from adapt.data.images import as_rgb, void_of, write_png
from adapt.data.targets import target_of
from adapt.disk.files import read_mapping, text_digest, write_json
from adapt.disk.runs import SUMMARY, read_summary
from adapt.errors import InputError
from adapt.evaluation.baselines import TooFewValuesError, adapt_to
from adapt.evaluation.inference import Reading, Whole, groups, stack
from adapt.evaluation.metrics import ious, tally
from adapt.evaluation.protocol import predict
from adapt.machine.processes import all_gather, on_rank_zero, shared_errors
from adapt.machine.runtime import Runtime
from adapt.networks.batchnorm import batch_norms, eval_mode
from adapt.networks.factory import copied
from adapt.settings.checks import one_of
from adapt.settings.choices import ADABN as ADABN_NAME
from adapt.settings.choices import TEACHER
from adapt.settings.mapping import build
from adapt.training.checks import weights_of
from adapt.training.expected import in_words
from adapt.training.resampling import mious, resampled

VERDICT, PICTURES = "verdict.json", "held_out"
BEFORE, ADABN, AFTER = "before", "adabn", "after"
ROWS = (BEFORE, ADABN, AFTER)
"""teacher(x2), the same with batch-norm statistics of the new domain, student(x2). Where the
student is another network the first two are its start's, and TEACHER is a row of its own."""
STARTED, UNTRAINED = "start", "untrained"
STARTS = {"": "", STARTED: " (the student's start)", UNTRAINED: " (a start without training)"}
"""What `before` is: the teacher, a start that was trained for the task, or one that was not, at
least in part; and what is said of it."""
GAIN, OVER_ADABN, OVER_TEACHER = "gain", "over_adabn", "over_teacher"
"""after - before, or after - teacher where the start was UNTRAINED; after - adabn or - teacher."""
WORTH, NOT_WORTH, UNCLEAR = "worth using", "not worth using", "unclear"
FEWEST = 10
"""Pairs below which nothing is concluded."""
INTERVAL = 5, 95
"""The percentiles that bound the bootstrap's 90 % interval."""
ADABN_IMAGES = 256
"""Training images, evenly spaced, that AdaBN's statistics are estimated on at most."""
MOST = 100
"""Letters of a folder's name."""
KEPT, SIDE = 4, 1024
"""Held-out pairs whose pictures are kept, and the longer side of these, in pixels, at most."""
VIEWS = ("x1", "x2", "teacher_x1", BEFORE, AFTER)
"""The pictures of a pair: two images, then index masks with void where the pair is not valid."""


@dataclass(frozen=True)
class Verdict:
    """Agreement with teacher(x1) on held-out pairs: mIoU in percent, from the sums of the pairs'
    counts. What has a default is not in files of version 0.1."""

    pairs: int
    before: float | None
    """teacher(x2): what using the old network as it is would give; None = no valid pixel. Where the
    student is another network, `start` is not empty and it is the student's start on x2."""
    after: float | None
    """student(x2)."""
    better: int
    """Pairs on which more pixels agree than before (UNTRAINED: than with the teacher)."""
    worse: int
    conclusion: str = ""
    reasons: list[str] = field(default_factory=list)
    """What nothing can be concluded from."""
    adabn: float | None = None
    """The teacher with batch-norm statistics of the new domain's training images."""
    adabn_images: int = 0
    """How many images these are of."""
    no_adabn: str = ""
    """Why there is no AdaBN."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """5th and 95th percentile of each of ROWS, GAIN and OVER_ADABN over resampled pairs."""
    classes: list[str] = field(default_factory=list)
    agreement: dict[str, list[float | None]] = field(default_factory=dict)
    """IoU of each class, by row; None = a class that neither network predicts."""
    pictures: list[str] = field(default_factory=list)
    """Folders in PICTURES, each with the files of VIEWS."""
    start: str = ""
    """STARTED or UNTRAINED, where the student is another network than the teacher."""
    teacher: float | None = None
    """teacher(x2), where that is not `before`."""
    targets: "dict[str, Verdict]" = field(default_factory=dict)
    """Of several new domains, by name: the verdict on the pairs of each."""
    clean: float | None = None
    """The teacher's mIoU by labels on old images, where its run has been evaluated there."""
    of: dict[str, str] = field(default_factory=dict)
    """`weights_of` the run; {} = of an earlier version, which is believed."""

    @property
    def adabn_is_as_good(self) -> bool:
        """Is the student not clearly better than AdaBN alone?"""
        return not self.reasons and self.intervals.get(OVER_ADABN, [1.0])[0] <= 0

    @property
    def names(self) -> dict[str, str]:
        """What to call each row."""
        own = {BEFORE: BEFORE + STARTS[self.start], ADABN: ADABN_NAME, AFTER: AFTER}
        return {TEACHER: "the teacher itself", **own} if self.start else own

    @property
    def than(self) -> str:
        """What the gain and the better pairs are over, where that is not `before`."""
        return "the teacher itself" if self.start == UNTRAINED else ""

    def remarks(self) -> list[str]:
        """What must be said beside the conclusion."""
        said = list(self.reasons)
        if not self.conclusion:
            said.append(f"no interval: made by version 0.1 (without {VERDICT} it is made anew)")
        if self.adabn_is_as_good:
            gap = "{:+.1f} to {:+.1f}".format(*self.intervals[OVER_ADABN])
            said += [f"AdaBN alone is as good (after - AdaBN: {gap}); adabn=true steps=0 keeps it"]
        low, high = self.intervals.get(OVER_TEACHER, (1.0, 1.0))
        if low <= 0 and self.start == STARTED and not self.reasons:
            said.append(
                "the teacher itself is as good on the new images (after - teacher: "
                f"{low:+.1f} to {high:+.1f})"
            )
        if self.clean is not None and not (self.start or self.reasons):
            said.append(in_words(self.before or 0.0, self.after or 0.0, self.clean))
        return said

    @property
    def facts(self) -> str:
        """The agreement before and after, and on how many pairs it is better and worse."""
        rows = {name: getattr(self, row) for row, name in self.names.items()}
        scores = ", ".join(f"{v:.1f} {name}" for name, v in rows.items() if v is not None)
        text = f"agreement with the teacher on {self.pairs} held-out pairs: {scores or 'none'}"
        if GAIN in self.intervals:
            low, high = self.intervals[GAIN]
            over = f" over {self.than}" if self.than else ""
            text += f" (90 % interval of the gain{over}: {low:+.1f} to {high:+.1f})"
        share, than = 100 / max(1, self.pairs), f" than {self.than}" if self.than else ""
        shares = (f"{n} ({n * share:.0f} %)" for n in (self.better, self.worse))
        return text + "; better{} on {}, worse on {}".format(than, *shares)

    def __str__(self) -> str:
        said = "; ".join([f"{self.facts}: {self.conclusion or UNCLEAR}", *self.remarks()])
        return "\n".join([said, *(f"{target}: {own}" for target, own in self.targets.items())])


def read_verdict(folder: Path) -> Verdict | None:
    """The verdict in a run's folder, None where there is none or it is of other weights, as after
    the run was made anew; one of version 0.1 has no intervals and no conclusion. InputError for a
    file that is no verdict."""
    path = folder / VERDICT
    if not path.is_file():
        return None
    found = build(Verdict, read_mapping(path), f"{path}: ")
    one_of(f"{path}: conclusion", found.conclusion, ("", WORTH, NOT_WORTH, UNCLEAR))
    one_of(f"{path}: start", found.start, STARTS)
    wrong = [name for name, ends in found.intervals.items() if len(ends) != 2]
    wrong += [name for name, iou in found.agreement.items() if len(iou) != len(found.classes)]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} has a wrong number of values")
    if any(name != safe(name) for name in found.pictures):
        raise InputError(f"{path}: pictures must be names of folders in {PICTURES}")
    return None if found.of and found.of != weights_of(folder) else found


@dataclass(frozen=True)
class Pair:
    """One held-out pair: `counts` int64 (rows, 3, C), of each network's prediction the pixels of
    each class that agree, that teacher(x1) says and that it says itself; `views` as VIEWS, {} = not
    kept."""

    name: str
    counts: np.ndarray
    views: dict[str, np.ndarray]


def judge(
    machine: Runtime,
    teacher: nn.Module,
    student: nn.Module,
    reading: Reading,
    held_out: DataSet,
    training: DataSet | None,
    folder: Path,
    start: nn.Module | None = None,
    kind: str = "",
    clean: float | None = None,
) -> Verdict:
    """Compare two networks on pairs that neither was fitted to; the run's folder gets verdict.json
    and pictures of KEPT pairs. The processes of a run share the work.

    Args:
        machine: the device, onto which the networks are brought, and the precision.
        teacher: logits (B, C, h, w) of images; its train and eval modes are left as they were.
        student: likewise.
        reading: the size, the batch and the normalisation of the student and of the teacher.
        held_out: pairs with the names of the classes.
        training: pairs on whose x2 AdaBN's statistics are estimated; None = no AdaBN.
        folder: of the run; a summary.json in it tells whether there was a training.
        start: what the student started from, where it is another network than the teacher; else
            that is the teacher.
        kind: STARTED or UNTRAINED, where there is one.
        clean: the teacher's mIoU by labels on old images, where it is known.
    """
    before = teacher if start is None else start
    for net in (teacher, before, student):
        machine.place(net)
    with eval_mode(teacher), eval_mode(before), eval_mode(student), shared_errors():
        adabn, images, why = None, 0, "the student's start was not trained for the task"
        if kind != UNTRAINED:
            adabn, images, why = with_statistics(machine, before, reading, training)
        every = {TEACHER: teacher if kind else None, BEFORE: before, ADABN: adabn, AFTER: student}
        nets = {row: net for row, net in every.items() if net is not None}
        own = list(compare(machine, teacher, nets, reading, held_out))
    pairs = sorted((p for share in all_gather(own) for p in share), key=lambda p: p.name)
    steps = read_summary(folder)["steps"] if (folder / SUMMARY).is_file() else None

    def verdict(of: list[Pair]) -> Verdict:
        counts = np.stack([pair.counts for pair in of])
        return replace(
            conclude(counts, list(nets), held_out.classes, steps, kind),
            adabn_images=images,
            no_adabn=why,
            pictures=[safe(pair.name) for pair in of if pair.views],
            clean=clean,
        )

    each = {t: [p for p in pairs if target_of(p.name) == t] for t in held_out.targets}
    targets = {target: verdict(of) for target, of in each.items()}
    found = replace(verdict(pairs), targets=targets, of=weights_of(folder))

    def write() -> None:
        for pair, (name, view) in ((p, item) for p in pairs for item in p.views.items()):
            write_png(folder / PICTURES / safe(pair.name) / f"{name}.png", view)
        write_json(folder / VERDICT, asdict(found))

    on_rank_zero(write)
    return found


def with_statistics(
    machine: Runtime, before: nn.Module, reading: Reading, training: DataSet | None
) -> tuple[nn.Module | None, int, str]:
    """AdaBN (Li et al. 2016): a copy of a network with the new domain's batch-norm statistics and
    the number of images that these are of; or why there is none."""
    if not batch_norms(before):
        return None, 0, "the network has no batch norm"
    if training is None:
        return None, 0, "there are no training images of the new domain"
    images, net = some(training, ADABN_IMAGES), copied(before)
    try:
        adapt_to(machine, net, reading, images, "x2")
    except TooFewValuesError as error:
        return None, 0, f"its statistics cannot be estimated: {error.__cause__}"
    return net.eval(), len(images.samples), ""


def compare(
    machine: Runtime,
    teacher: nn.Module,
    networks: dict[str, nn.Module],
    reading: Reading,
    data: DataSet,
) -> Iterator[Pair]:
    """This process's pairs, the prediction of x2 of each row's network against teacher(x1)."""
    whole = Whole(data, reading.data, ["x1", "x2", "valid"], reading.restyle)
    classes = len(data.classes)
    kept = {sample.name for sample in some(data, KEPT).samples}
    seen = {row: reading.of_teacher if row == TEACHER else reading for row in networks}
    for group in groups(whole, reading, "verdict", shared=True):
        size = group[0]["size"]
        truth = predict(machine, teacher, reading.of_teacher.network, stack(group, "x1"), size)
        found = {
            row: predict(machine, net, seen[row].network, stack(group, "x2"), size)
            for row, net in networks.items()
        }
        for number, item in enumerate(group):
            wanted, predictions = truth[number], {row: maps[number] for row, maps in found.items()}
            if "valid" in item:
                wanted[np.asarray(item["valid"]) == 0] = void_of(classes)
            counts = np.stack([tally(wanted, one, classes) for one in predictions.values()])
            views = {}
            if item["name"] in kept:
                maps = [wanted, predictions[BEFORE], predictions[AFTER]]
                views = pictures([item["x1"], item["x2"]], maps)
            yield Pair(item["name"], counts, views)


def pictures(images: list[torch.Tensor], maps: list[np.ndarray]) -> dict[str, np.ndarray]:
    """VIEWS of images (C, h, w) at one size, that of the maps (H, W) but for SIDE."""
    scale = min(1.0, SIDE / max(maps[0].shape))
    size = [max(1, round(side * scale)) for side in maps[0].shape]
    arrays = [as_rgb(image.permute(1, 2, 0).numpy()) for image in images]
    shown = [resize({"x1": array}, size)["x1"] for array in arrays]
    shown += [resize({"y": found}, size)["y"] for found in maps]
    return dict(zip(VIEWS, shown, strict=True))


def safe(name: str) -> str:
    """A sample's name as that of a folder; where it cannot be one, a digest keeps it apart."""
    plain = re.sub(r"[^\w.-]", "_", name)[-MOST:].lstrip(".")
    if plain == name:
        return name
    digest = text_digest(name)
    return f"{plain[9 - MOST :]}-{digest[:8]}".lstrip(".")


def conclude(
    counts: np.ndarray,
    rows: list[str],
    classes: tuple[str, ...],
    steps: int | None,
    start: str = "",
) -> Verdict:
    """The verdict that counts (N, rows, 3, C) give.

    Pairs without a valid pixel are neither better nor worse, and nothing is drawn from them.

    Args:
        counts: of each pair, as in `Pair`.
        rows: the names of its second axis, from ROWS, and TEACHER.
        classes: the names of its last one.
        steps: of the training; None = not known.
        start: what `before` is, as in `Verdict`. A start without training for the task is nobody's
            alternative: the student must be better than the teacher then.
    """
    base = TEACHER if start == UNTRAINED else BEFORE
    valid = counts[:, 0, 1].sum(axis=-1) > 0
    there, total = counts[valid], counts.sum(axis=0)
    hits = counts[:, :, 0].sum(axis=-1)
    change = hits[:, rows.index(AFTER)] - hits[:, rows.index(base)]
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    scores = dict(zip(rows, mious(total), strict=True))
    intervals: dict[str, list[float]] = {}
    if len(there) > 1:
        draws = dict(zip(rows, resampled(there).T, strict=True))
        over = {GAIN: base, OVER_ADABN: ADABN, OVER_TEACHER: TEACHER}
        draws |= {name: draws[AFTER] - draws[row] for name, row in over.items() if row in draws}
        intervals = {k: np.percentile(v, INTERVAL).tolist() for k, v in draws.items()}
    reasons = degeneracies(total[0, 1], len(there), len(counts), steps)
    low, high = intervals.get(GAIN, (0.0, 0.0))
    both = mious(there)[:, [rows.index(base), rows.index(AFTER)]]
    if low > 0 and min(worse, (both[:, 1] > both[:, 0]).sum()) > len(there) / 2:
        reasons.append(
            "on most pairs the mIoU is higher and fewer pixels agree: rare classes gain what a "
            "frequent one loses, as the IoU of each class says"
        )
    conclusion = UNCLEAR
    if not reasons and low > 0 and better > len(there) / 2:
        conclusion = WORTH
    elif not reasons and (high <= 0 or worse > len(there) / 2):
        conclusion = NOT_WORTH

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return Verdict(
        pairs=len(counts),
        before=number(scores[BEFORE]),
        after=number(scores[AFTER]),
        better=better,
        worse=worse,
        conclusion=conclusion,
        reasons=reasons,
        adabn=number(scores.get(ADABN, np.nan)),
        intervals=intervals,
        classes=list(classes),
        agreement={k: [number(v) for v in iou] for k, iou in zip(rows, ious(total), strict=True)},
        start=start,
        teacher=number(scores.get(TEACHER, np.nan)),
    )


def degeneracies(truth: np.ndarray, valid: int, pairs: int, steps: int | None) -> list[str]:
    """Why nothing can be concluded. `truth`: (C,), pixels of each class that teacher(x1) says;
    `valid`: how many of the `pairs` have a valid pixel."""
    used, found = int((truth > 0).sum()), []
    if not valid:
        found.append("no held-out pair has a valid pixel, so that there is no agreement")
    elif valid < FEWEST:
        masked = f" of {pairs} have a valid pixel" if valid < pairs else ""
        found.append(f"fewer than {FEWEST} held-out pairs: {valid}{masked}")
    if used == 1 or (used == 2 and len(truth) > 2):
        found.append(f"the teacher uses {used} of its {len(truth)} classes on the old images")
    if steps == 0:
        found.append("the run has 0 steps, so that nothing was trained")
    return found
