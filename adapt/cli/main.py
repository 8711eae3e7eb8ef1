"""The edge: Hydra composes YAML and overrides, the result becomes a dataclass, one call follows."""

import atexit
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from adapt.cli.commands import COMMANDS
from adapt.disk.files import unwritten, write_whole
from adapt.errors import InputError, Stopped
from adapt.machine.processes import processes, refuse_several, shared_errors, silent
from adapt.machine.runtime import REQUEUING, explained
from adapt.networks.factory import permit
from adapt.settings.mapping import EXPLICIT, build

ROOT = Path(__file__).resolve().parents[2]
UNWRITTEN = 74
"""Exit status of a full or read-only disk: EX_IOERR of sysexits.h."""


def name_explicit(values: Any, overrides: Sequence[str]) -> None:
    """Note in each inheritable group which of its fields the command line sets."""
    for override in overrides:
        group, _, name = override.lstrip("+~").split("=")[0].partition(".")
        if name and EXPLICIT in (values.get(group) or ()):
            values[group][EXPLICIT].append(name.split(".")[0])


def terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM leaves as Ctrl-C does, through every `finally`; a second one ends at once."""
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt(number)


def fail(message: str, status: int) -> NoReturn:
    """End with the message on stderr and the status.

    In a sweep (-m) the other runs go on and Hydra ends it with status 1 behind the last one; only a
    signal ends it at once. A launcher's job, which is a process of its own, has the status too.
    """
    signalled = status > 128
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if sweep:
        given = [o for o in HydraConfig.get().overrides.task if "$" not in o]
        message += f" (in the sweep: {' '.join(given)})"
    print(message, file=sys.stderr, flush=True)
    if status == 128 + REQUEUING and callable(signal.getsignal(REQUEUING)):
        signal.raise_signal(REQUEUING)  # submitit's handler queues the job again
    if signalled or not sweep:
        sys.exit(status)
    if "SUBMITIT_EXECUTOR" in os.environ:
        atexit.register(os._exit, status)
    raise CompactHydraException(message)


class Record(Callback):
    """Of a sweep: Hydra writes it, and ends in a traceback where it cannot be written."""

    def on_multirun_start(self, config: DictConfig, **given: Any) -> None:
        record = Path(config.hydra.sweep.dir) / "multirun.yaml"
        try:
            write_whole(record, OmegaConf.to_yaml(config).encode())
        except OSError as error:
            print(f"error: {unwritten(error)}", file=sys.stderr)
            sys.exit(UNWRITTEN)


def main(name: str) -> None:
    """Compose configs/<name>.yaml with the command line and call the command with its settings.

    Wrong input ends with one line on stderr and status 2, an interrupted run with its own status, a
    file that cannot be written with UNWRITTEN, a signal with 128 and its number.
    """
    command = COMMANDS[name]
    schema = command.settings()
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    known = os.environ.get("PYTHONPATH")  # a launcher's jobs begin elsewhere and import from there
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([known] if known else [])])

    @hydra.main(version_base="1.3", config_path=str(ROOT / "configs"), config_name=name)
    def entry(composed: DictConfig) -> None:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        name_explicit(values, HydraConfig.get().overrides.task)
        try:
            if not command.several:
                refuse_several(name)
            with processes():
                with shared_errors():
                    config: Any = build(schema, values)
                permit(getattr(getattr(config, "network", None), "factory", ""))
                command.function()(config)
        except (InputError, Stopped) as error:
            if silent(error):
                sys.exit(error.status)
            fail(f"error: {error}" if isinstance(error, InputError) else str(error), error.status)
        except (RuntimeError, MemoryError) as error:
            if (stop := explained(error)) is None:
                raise
            fail(str(stop), stop.status)
        except OSError as error:
            if error.filename is None:
                raise
            fail(f"error: {unwritten(error)}", UNWRITTEN)

    signal.signal(signal.SIGTERM, terminate)
    try:
        entry()
    except KeyboardInterrupt as stop:
        print("stopped by a signal; nothing is half written", file=sys.stderr)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
