"""What a training is resumed from: everything that its next step depends on."""

from typing import Any

import torch
from torch import Tensor

from adapt.disk import checkpoint
from adapt.disk.files import digest
from adapt.disk.runs import METRICS, MODEL, SUMMARY, RunFolder, curve, decisive_differences
from adapt.disk.tensors import load_tensors
from adapt.errors import InputError
from adapt.machine.processes import all_gather, rank, rank_zero_first, rank_zero_only
from adapt.machine.runtime import say
from adapt.settings.mapping import as_dict, differences
from adapt.settings.training import TrainConfig
from adapt.training.setup import Setup, process_seed


def save(setup: Setup, run: RunFolder, step: int, seconds: float) -> None:
    """A checkpoint of everything that step + 1 depends on, of all processes."""
    state = {
        "student": setup.student.state_dict(),
        "optimizer": setup.update.state_dict(),
        "rng": all_gather(rng_states(setup.machine.device)),
    }
    if setup.average is not None:
        state["average"] = setup.average.state_dict()
    if projectors := setup.projectors.state_dict():
        state["projectors"] = projectors
    if setup.objective.weighting is not None:
        state["weighting"] = setup.objective.weighting.memory
    about = {"settings": run.recorded, "curve": curve(run.path)}
    rank_zero_only(checkpoint.save)(run.checkpoints, step, state, setup.inputs, seconds, **about)


def restore(setup: Setup, run: RunFolder) -> tuple[int, float]:
    """Bring the newest intact checkpoint back; (step, seconds trained before).

    Processes beyond those that the checkpoint was made by draw their dropout from a new seed.

    Raises:
        InputError: changed inputs, a checkpoint of another run, or processes that see different
            checkpoints.
    """
    found, warnings = rank_zero_first(lambda: checkpoint.newest(run.checkpoints))  # sets aside
    for warning in warnings:
        say(f"warning: {warning}")
    steps = set(all_gather(found.step if found else 0))
    if len(steps) > 1:
        raise InputError(
            f"run: the processes see different checkpoints in {run.path} (steps {sorted(steps)}): "
            "it must lie on a file system that they share"
        )
    if found is None:
        if any((run.path / name).exists() for name in (METRICS, SUMMARY, *MODEL)):
            say(f"warning: {run.path} has no checkpoint: it begins again at step 0")
        run.rewind(0)
        return 0, 0.0
    check_own(setup, run, found)
    try:
        bring_back(setup, found.state, found.step)
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{run.checkpoints}: the checkpoint of step {found.step} holds no training's state of "
            f"this network and optimiser ({type(error).__name__}: {error})"
        ) from None
    run.rewind(found.step, found.meta.get("curve"))
    say(f"resuming {run.path} at step {found.step}")
    if changed := run.elsewhere():
        say(
            f"warning: since the run began, {'; '.join(changed)}: sums are rounded otherwise, so "
            "it will not end with the bits of a run that was never stopped"
        )
    return found.step, float(found.meta["seconds"])


def check_own(setup: Setup, run: RunFolder, found: checkpoint.Checkpoint) -> None:
    """InputError where a checkpoint is not of this run: by its settings or, of an earlier version,
    by their digest; or where what the run starts from has changed since."""
    name, default = f"step_{found.step:08d}", as_dict(TrainConfig())
    present = setup.inputs | {"configuration": digest(run.recorded)}
    if settings := found.meta.get("settings"):
        if changed := decisive_differences(settings, run.recorded, default):
            raise InputError(
                f"run: {run.checkpoints / name} is a checkpoint of another run (its settings -> "
                f"this run's): {'; '.join(changed)}. Bring this run's own back, or delete "
                f"{run.checkpoints} to start from scratch"
            )
    else:
        say(f"{name} is of an earlier version and has no settings: only digests are compared")
    recorded: dict[str, str] = found.meta["inputs"]
    if changed := differences(recorded, {k: v for k, v in present.items() if k in recorded}):
        raise InputError(
            f"run: {run.path} cannot be resumed, its inputs changed: {'; '.join(changed)}"
        )


def bring_back(setup: Setup, state: dict[str, Any], step: int) -> None:
    """Student, optimiser, average, weights of layers and random state as a checkpoint has them."""
    load_tensors(setup.student, state["student"], "the checkpoint")
    setup.update.load_state_dict(state["optimizer"])
    if setup.average is not None:
        setup.average.load_state_dict(state["average"])
    if setup.projectors.state_dict():
        load_tensors(setup.projectors, state["projectors"], "the checkpoint")
    if setup.objective.weighting is not None:
        setup.objective.weighting.memory.copy_(state["weighting"])
    if rank() >= len(state["rng"]):
        torch.manual_seed(process_seed(setup.config.seed, step))
        return
    on_cpu, *on_gpu = state["rng"][rank()]
    torch.set_rng_state(on_cpu)
    if on_gpu and setup.machine.device.type == "cuda":
        torch.cuda.set_rng_state(on_gpu[0], setup.machine.device)


def rng_states(device: torch.device) -> list[Tensor]:
    """What dropout draws from, on the CPU and on the GPU that is used."""
    gpu = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *gpu]
