"""The one loop: teacher, B1, B2 and feature regression are configurations of it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapt.data import DataSet, by_target, once
from adapt.data.objects import batches_of
from adapt.data.sampling import Batch, Stream, batches
from adapt.disk.files import sha256
from adapt.disk.runs import (
    SUMMARY,
    WEIGHTS,
    RunFolder,
    open_run,
    other_curve,
    read_summary,
    unfinished,
)
from adapt.errors import DIVERGED, InputError, Stopped
from adapt.evaluation.inference import Reading, evaluate_networks, headline
from adapt.machine.processes import (
    all_gather,
    all_max,
    all_mean,
    in_lockstep,
    on_rank_zero,
    rank,
    shared_errors,
    world,
)
from adapt.machine.runtime import explained, progress, say, stop_signals
from adapt.networks.preprocessing import as_input, sees
from adapt.networks.saved import save_model
from adapt.networks.taps import of_task
from adapt.objective.terms import Maps, Part
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import as_dict, differences
from adapt.settings.training import TrainConfig
from adapt.training.loggers import Logger, Loggers
from adapt.training.mixing import Crops, crops, mixup
from adapt.training.resume import restore, save
from adapt.training.schedules import set_rate
from adapt.training.setup import Setup, prepare, process_seed, resolve
from adapt.training.trial import trial, unchanged

WHOLE = 1000
"""Classes of which the cross-entropy of whole images is computed, whose logits grow with them."""
NUMBERS = ("step", "loss", "lr", "grad_norm")
"""Of a step, for `on_step`."""
OnStep = Callable[[dict[str, Any]], object]


def train(
    config: TrainConfig,
    on_step: OnStep | None = None,
    at_start: Callable[[Setup], object] | None = None,
) -> Path:
    """Run, or resume, or recognise as finished, one training; returns its folder.

    `at_start` is called before the first step, if the run is not resumed; `on_step` after every
    completed step with its numbers: step, loss, lr, grad_norm.

    Raises:
        InputError: wrong configuration or data, before anything is written where possible.
        Stopped: a signal (status 143 or 130), a non-finite value (3), too little memory or a worker
            that died (4); the folder can be resumed.
    """
    path = Path(config.run)
    with shared_errors():
        read = once()
        resolved, start, teacher = resolve(config, read)
        setup = prepare(resolved, start, teacher, read)
        trial(setup)
    with open_run(path, as_dict(setup.config), as_dict(TrainConfig())) as run:
        if finished(setup, path):
            return path
        step, before = restore(setup, run)
        say(describe(setup))
        if at_start is not None and not step:
            at_start(setup)
        fit(setup, run, step, before, on_step)
    return path


def finished(setup: Setup, run: Path) -> bool:
    """Is there nothing left to do? What is not as the training left it is said."""
    weights = run / WEIGHTS
    problem = unfinished(run, sha256(weights) if weights.is_file() else "")
    if problem and (run / SUMMARY).exists():
        say(f"warning: {problem}; it is finished again")
    if problem:
        return False
    summary = read_summary(run)
    if summary.get("curve") and (other := other_curve(run, summary["curve"])):
        say(f"warning: {other}")
    known = {k: v for k, v in setup.inputs.items() if k in summary["inputs"]}
    if changed := differences(summary["inputs"], known):
        say(f"warning: {run} was trained from other inputs than there are now: "
            f"{'; '.join(changed)}. Give a new run= to train from these")  # fmt: skip
    say(f"{run} is finished already; nothing to do")
    return True


def describe(setup: Setup) -> str:
    """What is about to be trained, and how its parameters are split."""
    config, split, run = setup.config, setup.penalty.split, Path(setup.config.run)
    pulled = (split.to_start + split.to_zero) / 1e6
    how = "" if config.penalty.apply == "gradient" else f" ({config.penalty.apply})"
    line = (
        f"{run}: {config.objective.name}, penalty {config.penalty.name}{how} on {pulled:.2f} "
        f"of {split.parameters / 1e6:.2f} M parameters, {config.steps} steps of {config.batch} "
        f"from {setup.samples} samples, {setup.machine.device} in {config.precision}"
    )
    if not config.steps:
        what = "its start with new statistics" if config.adabn else "its start as it is"
        line = f"{run}: {what}, nothing to train, {setup.machine.device} in {config.precision}"
    if setup.cache is not None:
        line += f"; {setup.cache}"
    if world() > 1:
        line += f", {world()} processes of {config.batch // world()} each"
    lines = [line]
    if setup.tasks:
        heads = (f"{task} ({len(own)})" for task, own in setup.tasks.items())
        lines.append(f"heads: {', '.join(heads)}")
    if targets := setup.data.targets:
        counts = zip(targets, map(len, setup.data.places()), strict=True)
        domains = (f"{target} ({count})" for target, count in counts)
        lines.append(f"new domains, evenly in batches: {', '.join(domains)}")
    seen = {key: sees(network) for key, network in setup.networks.items()}
    same = seen["x1"] == seen["x2"]
    lines += [seen["x2"]] if same else [f"{key}: {text}" for key, text in seen.items()]
    lines += split.lines()
    if list(setup.projectors.parameters()):
        lines.append(str(setup.projectors))
    return "\n".join(lines)


def fit(setup: Setup, run: RunFolder, begin: int, before: float, on_step: OnStep | None) -> None:
    """Steps begin..steps-1 with logging, evaluation and checkpoints, then the finished model."""
    config, started = setup.config, time.monotonic() - before
    source = batches_from(setup, begin)
    bar = progress(in_lockstep(source), what=run.path.name, total=config.steps, initial=begin)
    loggers = Loggers(config.loggers, run.path, begin + 1)
    step, batch = begin, Batch()
    with stop_signals() as signals, closing(loggers):
        try:
            for batch in bar:
                entry = one_step(setup, batch, step)
                step += 1
                last, seconds = step == config.steps, time.monotonic() - started
                if step % config.log_every == 0 or last:
                    line = record(setup, entry, seconds)
                    if setup.drift and (last or step // config.log_every % config.drift_every == 0):
                        line["distances"] = setup.drift.relative()
                    log(run, loggers, line)
                    bar.set_postfix(loss=f"{line['loss']:.4f}", lr=f"{line['lr']:.2e}")
                if setup.scored and (step % config.eval_every == 0 or last):
                    validate(setup, run, loggers, step)
                if on_step is not None:
                    on_step({k: entry[k] for k in NUMBERS})
                stopping = all_max(signals[0] if signals else 0)
                if step % config.checkpoint_every == 0 or last or stopping:
                    save(setup, run, step, seconds)
                if stopping:
                    break
        except InputError:  # a broken image, say: nothing that was reached is lost
            if step > begin:
                save(setup, run, step, time.monotonic() - started)
            raise
        except (RuntimeError, MemoryError) as error:
            if stop := explained(error, doing(step, batch) if batch else ""):
                raise stop from None
            raise
    if stopping := all_max(signals[0] if signals else 0):  # or while the last step was saved
        where = f"stopped by a signal; {run.path} resumes at step {step}"
        raise Stopped(where, 128 + stopping, everywhere=True)
    finish(setup, run, time.monotonic() - started)


def batches_from(setup: Setup, begin: int) -> Iterator[Batch]:
    """The batches of the steps begin..steps-1."""
    config, objects = setup.config, setup.data.objects
    if objects and objects.loader is not None:
        return batches_of(objects.loader, begin, config.steps, process_seed(config.seed, 0))
    kept, on_gpu = setup.cache is not None, setup.machine.device.type == "cuda"
    how = (setup.fields, config.seed, kept, setup.tasks)
    stream = None
    for data, settings in reversed(setup.sets):
        stream = Stream(data, settings, *how, also=stream)
    assert stream is not None
    return batches(stream, config.batch, begin, config.steps, config.workers, pin=on_gpu)


def one_step(setup: Setup, batch: Batch, step: int) -> dict[str, Any]:
    """Forward, backward, penalty, update; returns what is worth logging.

    Raises:
        Stopped: a loss or gradient that is not finite, before anything is updated.
    """
    config, machine = setup.config, setup.machine
    rate = set_rate(setup.optimizer, step, config.steps, config.schedule)
    given = {k: batch[k].to(machine.device) for k in masks_of(batch)}
    given |= {
        key: as_input(machine.images(batch[key]), network)
        for key, network in setup.networks.items()
        if key in batch
    }
    if config.mixup:
        given = mixup(given, config.mixup, [config.seed, step, rank(), 2])
    seen, moved = given, None
    if config.crop_shift:
        size = given["x1"].shape[-2:]
        moved = crops(size, config.crop_shift, setup.cell, [config.seed, step, 0, 1])
        seen = {key: moved.crop(given[key], key) for key in setup.networks}
    with machine.autocast():
        target = setup.target(seen["x1"], batch) if setup.teacher is not None else {}
        maps = setup.tapped(seen[setup.image])
        if setup.teacher is not None:
            maps |= setup.continued(maps, seen["x1"], step)
    if moved is not None:
        maps, target = moved.cells(maps, "x2"), moved.cells(target, "x1")
        given = {k: v if k.startswith("has_") else moved.common(v) for k, v in given.items()}
    loss, parts = setup.objective(maps, target, given, step)
    setup.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in setup.tapped.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    loss = all_mean(loss.detach())
    refuse_non_finite(loss, norm, parts, step, batch["name"])
    if config.schedule.clip:
        torch.nn.utils.clip_grads_with_norm_(setup.tapped.parameters(), config.schedule.clip, norm)
    rate = setup.update(given, rate)
    if setup.objective.weighting is not None:
        again = partial(losses_after, setup, seen[setup.image], target, given, moved)
        setup.objective.weighting.after(step, again)
    if setup.average is not None:
        setup.average.update_parameters(setup.student)
    numbers = {"step": step + 1, "lr": rate, "loss": loss.item(), "grad_norm": norm.item()}
    return {**numbers, "parts": parts}


@torch.no_grad()
def losses_after(
    setup: Setup, images: Tensor, target: Maps, given: Maps, moved: Crops | None
) -> Tensor:
    """The losses of the regressed layers on a batch again, after its update."""
    with unchanged(setup.student), setup.machine.autocast():
        maps = setup.alone(images)
    maps = moved.cells(maps, "x2") if moved is not None else maps
    return setup.objective.losses(setup.objective.parts(maps, target, given))


def masks_of(batch: Batch) -> list[str]:
    """Labels, of several tasks with which images have them, and the valid mask where it masks
    anything, for this process or maybe another."""
    masked = "valid" in batch and (world() > 1 or not bool(batch["valid"].all()))
    labels = [k for k in batch if k[0] == "y" or k.startswith("has_")]
    return [*labels, "valid"] if masked else labels


def refuse_non_finite(
    loss: Tensor, norm: Tensor, parts: dict[str, Part], step: int, names: list[str]
) -> None:
    """Loss and norm are those of all processes, so that all of them stop or none."""
    if math.isfinite(loss.item()) and math.isfinite(norm.item()):
        return
    broken = [k for k, (raw, _) in parts.items() if not math.isfinite(raw.item())]
    found = all_gather((broken, names))
    at_fault = [one for one in found if one[0]] or found
    what = ", ".join(dict.fromkeys(k for terms, _ in at_fault for k in terms)) or "the gradient"
    raise Stopped(
        f"step {step + 1}: {what} is not finite (samples "
        f"{', '.join(name for _, samples in at_fault for name in samples)}); nothing was updated. "
        "A lower schedule.lr or precision=fp32 usually helps",
        status=DIVERGED,
        everywhere=True,
    )


def doing(step: int, batch: Batch) -> str:
    """What a step works on, for messages."""
    sizes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in batch.items() if k != "name")
    return f"step {step + 1} ({sizes}; samples {', '.join(batch['name'])})"


def record(setup: Setup, entry: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A line of metrics.jsonl: the step's numbers with raw and weighted value of every part, but of
    a task that no image of the batch has."""
    there = {k: p for k, p in entry["parts"].items() if p[1] or not k.startswith("supervised/")}
    raws = {k: all_mean(raw.detach()).item() for k, (raw, _) in there.items()}
    parts = {k: {"raw": raws[k], "weighted": raws[k] * w} for k, (_, w) in there.items()}
    return {**entry, "parts": parts, "penalty": setup.penalty.value(), "seconds": round(seconds, 3)}


def log(run: RunFolder, loggers: Logger, line: dict[str, Any]) -> None:
    """A step's numbers to metrics.jsonl and the loggers."""
    run.log(line)
    own = {tag: line[tag] for tag in ("loss", "penalty", "lr", "grad_norm")}
    parts = {name: values["raw"] for name, values in line["parts"].items()}
    loggers.add(own | parts, line["step"])


def validate(setup: Setup, run: RunFolder, loggers: Logger, step: int) -> None:
    """Scores on the val split and, on request, of training images, beside the training's numbers;
    training goes on undisturbed."""
    found = {name: scores_of(setup, sets) for name, sets in setup.scored.items()}
    run.log({"step": step} | found)
    tags = {"evaluation": "val", "training": "train"}
    numbers = {f"{tags[n]}/{tag}": v for n, scores in found.items() for tag, v in scores.items()}
    loggers.add(numbers, step)


def scores_of(setup: Setup, sets: Mapping[str, tuple[DataConfig, DataSet]]) -> dict[str, float]:
    """The student's scores on data sets, each after its `task/`, and of several new domains after
    their `name/`; where labels of pixels are learnt with their mean cross-entropy, `loss`."""
    config, machine, image = setup.config, setup.machine, setup.image
    found: dict[str, float] = {}
    every = ((t, *one) for t, of in sets.items() for one in by_target(*of).items())
    for task, target, (settings, data) in every:
        how = (settings, config.network, config.batch, config.workers)
        reading = Reading(*how, teacher=setup.networks["x1"])
        teacher = of_task(setup.teacher, task) if setup.teacher else None
        net, pixels = of_task(setup.result, task), len(data.classes) <= WHOLE
        loss = pixels and config.objective.supervised.weight > 0
        scored = evaluate_networks(machine, net, reading, data, image, teacher, loss)
        scores = headline(scored) | ({} if scored.loss is None else {"loss": scored.loss})
        found |= {"/".join(filter(None, (task, target, k))): v for k, v in scores.items()}
    return found


def finish(setup: Setup, run: RunFolder, seconds: float) -> None:
    """The finished model and the summary that marks the run as finished."""
    config, split = setup.config, setup.penalty.summary(setup.result)
    about = (config.network, setup.data.classes, setup.tasks)
    summary = {
        "steps": config.steps,
        "seconds": round(seconds, 1),
        "samples": setup.samples,
        "ema": config.ema,
        "inputs": setup.inputs,
        "parameters": split,
    }

    def write() -> None:
        save_model(run.path, setup.result, *about)
        run.finish(summary)

    on_rank_zero(write)  # what follows reads both, in all processes
    resting = split["equal_to_start"]
    at_start = f"; {resting:.1f} % of the pulled weights are their start" if resting else ""
    say(f"{run.path}: finished {config.steps} steps in {seconds:.0f} s{at_start}")
