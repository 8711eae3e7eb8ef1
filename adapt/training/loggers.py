"""Where the numbers of a training go beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

Each has the two functions of `Logger`. Only rank 0 writes.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from adapt.disk.files import text_digest, writing
from adapt.errors import InputError
from adapt.machine.processes import rank


class Logger(Protocol):
    """What a logger does; adding one is a class, a line in LOGGERS and its name in the choices."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Tag -> value of one step."""

    def close(self) -> None:
        """After the last step, also where an error ends the run."""


class TensorBoard:
    """Scalars of the steps from `first` on, in an event file in RUN/tensorboard.

    TensorBoard drops what earlier files of the folder have of these steps, so that a resumed run
    shows each of them once. The writer and its thread are made with the first values, when the
    data loader's workers are forked already.
    """

    def __init__(self, run: Path, first: int) -> None:
        self.folder, self.first = run / "tensorboard", first
        self.writer: Any = None

    def add(self, values: Mapping[str, float], step: int) -> None:
        """They are in the file when this returns, or an OSError tells why not."""
        with writing(self.folder):
            if self.writer is None:
                self.writer = self._open()
            for tag, value in values.items():
                self.writer.add_scalar(tag, value, step)
            self.writer.flush()  # raises what the thread met

    def _open(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # only where a run is written

        printed = threading.excepthook
        threading.excepthook = lambda met: issubclass(met.exc_type, OSError) or printed(met)
        return SummaryWriter(str(self.folder), purge_step=self.first)

    def close(self) -> None:
        if self.writer is not None:
            with writing(self.folder):
                self.writer.close()


class WandB:
    """Weights & Biases, as its own environment says (WANDB_MODE=offline, WANDB_PROJECT, ...). A run
    that is resumed goes on under the same id."""

    def __init__(self, run: Path, first: int) -> None:
        import wandb

        self.run = wandb.init(dir=str(run), id=identity(run), name=run.name, resume="allow")

    def add(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """MLflow's tracking, where MLFLOW_TRACKING_URI says, else in RUN/mlflow.db; the experiment is
    MLFLOW_EXPERIMENT_NAME or `adapt`. A run that is resumed goes on in the same record."""

    def __init__(self, run: Path, first: int) -> None:
        import os

        from mlflow import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.absolute()}/mlflow.db"
        self.client = MlflowClient(place)
        name, tag = os.environ.get("MLFLOW_EXPERIMENT_NAME", "adapt"), identity(run)
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name)
        found = self.client.search_runs([experiment], f"tags.adapt = '{tag}'")
        tags = {"adapt": tag, "mlflow.runName": run.name}
        made = found[0] if found else self.client.create_run(experiment, tags=tags)
        self.id = made.info.run_id

    def add(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.id, name, value, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.id)


LOGGERS: dict[str, Callable[[Path, int], Logger]] = {
    "tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow,
}  # fmt: skip


def identity(run: Path) -> str:
    """A name of a run's folder that other services accept."""
    return text_digest(str(run.absolute()))[:12]


class Loggers:
    """Several as one; none in other processes than the first.

    Raises:
        InputError: the package of one of them is missing.
    """

    def __init__(self, names: Sequence[str], run: Path, first: int) -> None:
        self.each: list[Logger] = []
        for name in names if rank() == 0 else ():
            try:
                self.each.append(LOGGERS[name](run, first))
            except ImportError as error:
                self.close()
                raise InputError(
                    f"loggers: {name} is not installed ({error}); pip install "
                    f"'feature-regression-adaptation[{name}]'"
                ) from None

    def add(self, values: Mapping[str, float], step: int) -> None:
        for logger in self.each:
            logger.add(values, step)

    def close(self) -> None:
        for logger in self.each:
            logger.close()
