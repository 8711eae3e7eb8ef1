"""The one loop: teacher, B1, B2 and feature regression are configurations of it."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapt import checkpoint
from adapt.commands import TrainConfig
from adapt.errors import InputError, Stopped
from adapt.inference import Reading, evaluate_networks, headline
from adapt.models import save_model
from adapt.objectives import Maps, Part
from adapt.runs import RunFolder, check_inputs, open_run, read_metrics
from adapt.runtime import progress, say, stop_signals
from adapt.sampling import Batch, Stream, batches
from adapt.schedules import set_rate
from adapt.settings import plain
from adapt.setup import Setup, prepare, resolve
from adapt.taps import forward, normalise
from adapt.tensors import load_tensors


def one_step(setup: Setup, batch: Batch, step: int) -> dict[str, Any]:
    """Forward, backward, penalty, update; returns what is worth logging.

    Raises:
        Stopped: a loss or gradient that is not finite, before anything is updated.
    """
    config, machine = setup.config, setup.machine
    rate = set_rate(setup.optimizer, step, config.steps, config.schedule)
    tensors = {k: batch[k].to(machine.device) for k in masks_of(batch)}
    shown: Maps = {
        key: normalise(machine.images(batch[key]), config.network.mean, config.network.std)
        for key in ("x1", "x2")
        if key in batch
    }
    with machine.autocast():
        target: Maps = {}
        if setup.teacher is not None:
            with torch.no_grad():
                target = forward(setup.teacher, shown["x1"], setup.objective.teacher)
        maps = forward(setup.student, shown[setup.image], setup.objective.student)
    loss, parts = setup.objective(maps, target, tensors | shown)
    setup.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in setup.student.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    refuse_non_finite(loss, norm, parts, step, batch["name"])
    setup.penalty.before_step(setup.optimizer)
    setup.optimizer.step()
    setup.penalty.after_step(setup.optimizer)
    if setup.average is not None:
        setup.average.update_parameters(setup.student)
    return {
        "step": step + 1,
        "lr": rate,
        "loss": loss.item(),
        "grad_norm": norm.item(),
        "parts": parts,
    }


def masks_of(batch: Batch) -> list[str]:
    """Labels, and the valid mask where it masks anything."""
    masked = "valid" in batch and not bool(batch["valid"].all())
    return [k for k, there in (("y", "y" in batch), ("valid", masked)) if there]


def refuse_non_finite(
    loss: Tensor, norm: Tensor, parts: dict[str, Part], step: int, names: list[str]
) -> None:
    if math.isfinite(loss.item()) and math.isfinite(norm.item()):
        return
    broken = [k for k, (raw, _) in parts.items() if not math.isfinite(raw.item())]
    what = ", ".join(broken) or "the gradient"
    raise Stopped(
        f"step {step + 1}: {what} is not finite (samples {', '.join(names)}); nothing was updated. "
        "A lower schedule.lr or precision=fp32 usually helps",
        status=3,
    )


def record(setup: Setup, entry: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A line of metrics.jsonl: the step's numbers with raw and weighted value of every part."""
    parts = {
        k: {"raw": raw.item(), "weighted": raw.item() * w} for k, (raw, w) in entry["parts"].items()
    }
    return {**entry, "parts": parts, "penalty": setup.penalty.value(), "seconds": round(seconds, 3)}


def train(config: TrainConfig, on_step: Callable[[int], None] | None = None) -> Path:
    """Run, or resume, or recognise as finished, one training; returns its folder.

    `on_step(step)` is called after every completed step (tests interrupt runs with it).

    Raises:
        InputError: wrong configuration or data, before anything is written where possible.
        Stopped: a signal (status 143 or 130) or a non-finite value (3); the folder can be resumed.
    """
    resolved, start, teacher = resolve(config)
    path = Path(config.run)
    setup = prepare(resolved, start, teacher)
    with open_run(path, plain(resolved), plain(TrainConfig())) as run:
        if run.finished:
            say(f"{path} is finished already; nothing to do")
            return path
        step, before = restore(setup, run)
        say(describe(setup, run))
        fit(setup, run, step, before, on_step)
    return path


def describe(setup: Setup, run: RunFolder) -> str:
    """What is about to be trained, and how its parameters are split."""
    config, split = setup.config, setup.penalty.split
    pulled = (split.to_start + split.to_zero) / 1e6
    how = "" if config.penalty.apply == "gradient" else f" ({config.penalty.apply})"
    line = (
        f"{run.path}: {config.objective.name}, penalty {config.penalty.name}{how} on {pulled:.2f} "
        f"of {split.parameters / 1e6:.2f} M parameters, {config.steps} steps of {config.batch} "
        f"from {len(setup.data.samples)} samples, {setup.machine.device} in {config.precision}"
    )
    return "\n".join([line, *split.lines()])


def restore(setup: Setup, run: RunFolder) -> tuple[int, float]:
    """Bring the newest intact checkpoint back; (step, seconds trained before)."""
    found, warnings = checkpoint.newest(run.checkpoints)
    for warning in warnings:
        say(f"warning: {warning}")
    if found is None:
        if read_metrics(run.path):
            say(f"warning: {run.path} has no checkpoint: it begins again at step 0")
        run.rewind(0)
        return 0, 0.0
    check_inputs(found.meta["inputs"], setup.inputs, run.path)
    load_tensors(setup.student, found.state["student"], str(run.path))
    setup.optimizer.load_state_dict(found.state["optimizer"])
    if setup.average is not None:
        setup.average.load_state_dict(found.state["average"])
    torch.set_rng_state(found.state["rng"][0])
    if setup.machine.device.type == "cuda":
        torch.cuda.set_rng_state(found.state["rng"][1], setup.machine.device)
    run.rewind(found.step)
    say(f"resuming {run.path} at step {found.step}")
    return found.step, float(found.meta["seconds"])


def rng_states(device: torch.device) -> list[Tensor]:
    """What dropout draws from, on the CPU and on the GPU that is used."""
    gpu = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *gpu]


def fit(
    setup: Setup, run: RunFolder, first: int, before: float, on_step: Callable[[int], None] | None
) -> None:
    """Steps first..steps-1 with logging, evaluation and checkpoints, then the finished model."""
    from torch.utils.tensorboard import SummaryWriter

    config, started = setup.config, time.monotonic() - before
    stream = Stream(setup.data, config.data, setup.fields, config.seed)
    on_gpu = setup.machine.device.type == "cuda"
    source = batches(stream, config.batch, first, config.steps, config.workers, pin=on_gpu)
    bar = progress(source, what=run.path.name, total=config.steps, initial=first)
    step = first
    with stop_signals() as signals, SummaryWriter(str(run.path / "tensorboard")) as board:
        try:
            for batch in bar:
                entry = one_step(setup, batch, step)
                step += 1
                last, seconds = step == config.steps, time.monotonic() - started
                if step % config.log_every == 0 or last:
                    line = record(setup, entry, seconds)
                    if setup.drift and (
                        last or step % (config.log_every * config.drift_every) == 0
                    ):
                        line["distances"] = setup.drift.relative()
                    note(run, board, line)
                    bar.set_postfix(loss=f"{line['loss']:.4f}", lr=f"{line['lr']:.2e}")
                if setup.held_out and (step % config.eval_every == 0 or last):
                    validate(setup, run, board, step)
                if on_step is not None:
                    on_step(step)
                if step % config.checkpoint_every == 0 or last or signals:
                    save(setup, run, step, seconds)
                if signals and not last:
                    where = f"stopped by a signal; {run.path} resumes at step {step}"
                    raise Stopped(where, 128 + signals[0])
        except InputError:  # a broken image, say: nothing that was reached is lost
            if step > first:
                save(setup, run, step, time.monotonic() - started)
            raise
    seconds = time.monotonic() - started
    save_model(run.path, setup.result, config.network, setup.data.classes)
    split = setup.penalty.summary()
    summary = {
        "steps": config.steps,
        "seconds": round(seconds, 1),
        "samples": len(setup.data.samples),
        "ema": config.ema,
        "inputs": setup.inputs,
        "parameters": split,
    }
    run.finish(summary)
    resting = split["equal_to_start"]
    at_start = f"; {resting:.1f} % of the pulled weights are their start" if resting else ""
    say(f"{run.path}: finished {config.steps} steps in {seconds:.0f} s{at_start}")


def save(setup: Setup, run: RunFolder, step: int, seconds: float) -> None:
    """A checkpoint of everything that step + 1 depends on."""
    state = {
        "student": setup.student.state_dict(),
        "optimizer": setup.optimizer.state_dict(),
        "rng": rng_states(setup.machine.device),
    }
    if setup.average is not None:
        state["average"] = setup.average.state_dict()
    checkpoint.save(run.checkpoints, step, state, {"inputs": setup.inputs, "seconds": seconds})


def note(run: RunFolder, board: Any, line: dict[str, Any]) -> None:
    """A step's numbers to metrics.jsonl and TensorBoard."""
    run.log(line)
    for tag in ("loss", "penalty", "lr", "grad_norm"):
        board.add_scalar(tag, line[tag], line["step"])
    for name, values in line["parts"].items():
        board.add_scalar(name, values["raw"], line["step"])


def validate(setup: Setup, run: RunFolder, board: Any, step: int) -> None:
    """Scores on the val split, beside the training's numbers; training goes on undisturbed."""
    assert setup.held_out is not None
    config = setup.config
    reading = Reading(config.data, config.network, config.batch, config.workers)
    networks = (setup.result, reading, setup.held_out, setup.image, setup.teacher)
    found = headline(evaluate_networks(setup.machine, *networks))
    run.log({"step": step, "evaluation": found})
    for tag, value in found.items():
        board.add_scalar(f"val/{tag}", value, step)
