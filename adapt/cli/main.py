"""The edge: Hydra composes YAML and overrides, the result becomes a dataclass, one call follows."""

import atexit
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adapt.cli.commands import COMMANDS, named
from adapt.cli.composing import ERRORS, arguments, help_text, in_one_line, register
from adapt.cli.sweep import UNWRITTEN
from adapt.errors import InputError, Stopped
from adapt.machine.streams import keep_streams
from adapt.settings.mapping import EXPLICIT, build
from adapt.settings.presets import CONFIGS, PACKAGE


class Failed(CompactHydraException):
    """A run of a sweep has failed and said why."""


def overrides() -> Any:
    """What the command line says of the settings of this run, one text each."""
    return OmegaConf.to_container(HydraConfig.get().overrides.task)


def name_explicit(values: Any) -> None:
    """Note in each inheritable group which of its fields the command line sets."""
    for override in overrides():
        group, _, name = override.lstrip("+~").split("=")[0].partition(".")
        if (name or group == "network") and EXPLICIT in (values.get(group) or ()):
            values[group][EXPLICIT].append(name.split(".")[0] or "name")  # network=NAME


def terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM leaves as Ctrl-C does, through every `finally`; a second one ends at once. SIGHUP, of
    a lost terminal, and SIGUSR1 may come twice."""
    signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def perform(name: str, composed: DictConfig, dry_run: bool) -> tuple[str, int]:
    """Do a command, or say what it would do; returns what went wrong, in a line, and the exit
    status, which is 0 if nothing did. Only settings that are right cost the import of torch."""
    command = COMMANDS[name]
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        name_explicit(values)
        config: Any = build(command.settings(), values)
    except (InputError, OmegaConfBaseException) as error:
        return wrong(name, error), InputError.status

    from adapt.disk.files import unwritten
    from adapt.machine.processes import processes, refuse_several, silent
    from adapt.machine.runtime import explained
    from adapt.networks.preprocessing import with_preprocessing

    groups = [group for group in ("network", "teacher_network") if hasattr(config, group)]
    factories = [name for group in groups if (name := getattr(config, group).factory)]
    whose = " or ".join(f"network.factory={factory}" for factory in factories)
    try:
        if not command.several:
            refuse_several(name)
        for factory in factories:
            from adapt.networks.factory import permit

            permit(factory)
        with processes():
            action = f"adapt.cli.dry_run:{command.dry_run}" if dry_run else command.action
            named(action)(with_preprocessing(config))
    except (InputError, Stopped) as error:
        said = f"error: {error}" if isinstance(error, InputError) else str(error)
        return "" if silent(error) else said, error.status
    except ImportError as error:  # in the user's own network, when it is used
        if not factories:
            raise
        from adapt.networks.own_modules import LATE

        return f"error: {whose}: {error} ({LATE})", InputError.status
    except SystemExit as error:  # as the user's own network computes
        from adapt.networks.factory import ended

        return f"error: {whose or 'a network'} ends the program ({ended(error)})", InputError.status
    except (RuntimeError, MemoryError) as error:
        if (stop := explained(error)) is None:
            raise
        return str(stop), stop.status
    except OSError as error:
        if error.filename is None:
            raise
        return f"error: {unwritten(error)}", UNWRITTEN
    return "", 0


def wrong(name: str, error: Exception) -> str:
    """For the command line, which all processes have: the first one says what is wrong with it."""
    return f"error: {in_one_line(name, error)}" if os.environ.get("RANK", "0") == "0" else ""


def fail(message: str, status: int) -> None:
    """End with the message on stderr and the status.

    In a sweep (-m) the other runs go on, and main ends it with status 1 after the last one; only a
    signal ends it at once. A launcher's job is a process of its own, which tells the first one by
    this exception; that of submitit has the status too.
    """
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    given = [o for o in overrides() if "$" not in o]
    if sweep and message and given:
        message += f" (in the sweep: {' '.join(given)})"
    if message:
        print(message, file=sys.stderr, flush=True)
    if status > 128:
        from adapt.machine.runtime import REQUEUING

        if status == 128 + REQUEUING and callable(signal.getsignal(REQUEUING)):
            signal.raise_signal(REQUEUING)  # submitit's handler queues the job again
    if status > 128 or not sweep:
        sys.exit(status)
    if "SUBMITIT_EXECUTOR" in os.environ:
        atexit.register(os._exit, status)
    if HydraConfig.get().runtime.choices["hydra/launcher"] != "basic":
        raise Failed(message)


def check_folder() -> None:
    """InputError where the folder in which the command was started was deleted since."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            f"the folder from which the command is started is gone ({error.strerror}); cd to one "
            "that is there"
        ) from None


def leave(done: list[bool]) -> None:
    """The last thing that one of several processes does if it was `done`: end without taking the
    interpreter apart, which threads that PyTorch leaves behind now and then turn into an abort
    (pytorch/pytorch#190489), so that torchrun calls a finished run failed."""
    if done:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def main(name: str) -> None:
    """Compose the settings of a command from YAML and the command line, and call its function.

    Wrong input ends with one line on stderr and status 2, an interrupted run with its own status, a
    file that cannot be written with UNWRITTEN, a signal with 128 and its number.
    """
    failed: list[int] = []
    done: list[bool] = []
    if os.environ.get("WORLD_SIZE", "1") != "1":
        atexit.register(leave, done)  # the first to be registered is the last to be called
    keep_streams()

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)
    def entry(composed: DictConfig) -> None:
        message, status = perform(name, composed, options.dry_run)
        if status:
            fail(message, status)
            failed.append(status)

    if CONFIGS.parent != PACKAGE:  # a checkout: a launcher's jobs begin elsewhere and import it
        known = os.environ.get("PYTHONPATH")
        checkout = str(CONFIGS.parent)
        os.environ["PYTHONPATH"] = os.pathsep.join([checkout, *([known] if known else [])])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors come here instead of being printed there
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if number == signal.SIGTERM or signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores
            signal.signal(number, terminate)
    try:
        check_folder()
        options = arguments(name, sys.argv[1:])
        if options.help:
            print(help_text(name, options))
            return
        register(name)
        first = [a for a in sys.argv[1:] if a not in (*options.overrides, "--dry-run")]
        sys.argv[1:] = [*first, *options.overrides]
        entry()
    except (InputError, *ERRORS) as error:
        if message := str(error) if isinstance(error, Failed) else wrong(name, error):
            print(message, file=sys.stderr)
        sys.exit(1 if isinstance(error, Failed) else InputError.status)
    except KeyboardInterrupt as stop:
        print("stopped by a signal; nothing is half written", file=sys.stderr)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    if failed:
        sys.exit(1)
    done.append(True)
