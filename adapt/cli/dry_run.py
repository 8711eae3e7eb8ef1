"""`--dry-run`: what a command would do, checked as far as that is known without doing it.

Nothing is written, but for weights by name (`imagenet`), which torch keeps in its own cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from adapt.cli.help import shown
from adapt.cli.study import cells_of, check
from adapt.data import layout_of, once
from adapt.disk import checkpoint
from adapt.disk.files import read_yaml
from adapt.disk.runs import CONFIG, check_same, unfinished
from adapt.errors import InputError
from adapt.evaluation.evaluate import heads_for
from adapt.machine.runtime import runtime, say
from adapt.networks.names import place_of
from adapt.networks.pretrained import is_pretrained
from adapt.networks.saved import is_file, load_model
from adapt.settings.commands import EvaluateConfig
from adapt.settings.mapping import DRAWN, EXPLICIT, as_dict, flatten
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.study import study_of
from adapt.study.record import Record
from adapt.training.setup import prepare, resolve
from adapt.training.train import describe
from adapt.training.trial import trial

READ = ("run", "teacher", "runs", "image", "images")
"""Settings that may name what a command reads; `images` is a number elsewhere."""
SOURCES = ("run", "teacher", "start")
"""Settings from which `data` is inherited."""
T = TypeVar("T", TrainConfig, EvaluateConfig, StudyConfig)


@contextmanager
def elsewhere(config: T) -> Iterator[T]:
    """The settings without a download, and with scenes that are not drawn yet drawn for a while."""
    with TemporaryDirectory() as place:
        found = {}
        for group in ("data", "also"):
            if data := getattr(config, group, None):
                found[group] = replace(data, download=False)
                if data.name == DRAWN and not Path(data.root).exists():
                    found[group].root = f"{place}/scenes"
        yield replace(config, **found)


def training(config: TrainConfig) -> None:
    """Data, networks, taps and penalty as the first step would find them, and which step that is.

    Raises:
        InputError: for whatever the training itself would refuse before its first step.
    """
    run = Path(config.run)
    with elsewhere(config) as found:
        read = once()
        resolved, start, teacher = resolve(found, read)
        setup = prepare(resolved, start, teacher, read)
        trial(setup)
        say(describe(setup))
    data = replace(resolved.data, download=config.data.download)
    known = replace(setup.config, data=data)
    if (run / CONFIG).is_file():
        check_same(run, read_yaml(run / CONFIG), as_dict(known), as_dict(TrainConfig()))
    saved = checkpoint.committed(run / "checkpoints")
    if not unfinished(run):
        say(f"would do nothing: {run} is finished")
    else:
        say(f"would resume from {saved[-1]}" if saved else f"would start in {run}")


def evaluation(config: EvaluateConfig) -> None:
    """The run, and the images that it would be scored on."""
    what = "run" if config.run else "teacher"
    folder = Path(config.run or config.teacher)
    if is_file(str(folder)):
        say(f"would make a run of {folder}, which trains nothing, and score it")
        return
    runtime(config.device, config.precision)
    with elsewhere(config) as found:
        model = load_model(folder, what)
        domain, heads = heads_for(folder, model, found.data, config.domain, config.split)
    for task, (_, data) in heads.items():
        head = f", head {task}," if task else ""
        say(f"would score {folder}{head} on {len(data.samples)} images of {data.name}, {domain}, "
            f"{config.split}")  # fmt: skip


def study(config: StudyConfig) -> None:
    """The cells of the study, each with whether it is done."""
    with elsewhere(config) as found:
        check(found)
        planned = study_of(found)
        cells = cells_of(planned)
        Record(planned.folders).check(cells)
    for number, cell in enumerate(cells, 1):
        done = cell.done
        say(f"[{number}/{len(cells)}] {'done' if done else 'would do'}: {cell.name}")


def settings(config: Any) -> None:
    """All settings of another command, which were checked as they were made; what it would read
    must be there.

    Raises:
        InputError: a run, file or folder that is not.
    """
    read = {name: getattr(config, name, "") for name in READ}
    if isinstance(read["runs"], list):  # `run` is what becomes of them
        read = {f"runs[{i}]": run for i, run in enumerate(read["runs"])}
    if data := getattr(config, "data", None):
        if not any(getattr(config, source, "") for source in SOURCES):
            layout_of(data)
        if not data.download and (data.name or DRAWN) != DRAWN:
            read["data.root"] = data.root
        read |= {"data.target": data.target, "data.pairs": data.pairs}
        read |= {f"data.targets.{name}": place for name, place in data.targets.items()}
    for what, place in read.items():
        if isinstance(place, str) and place and not is_pretrained(place):
            file, _ = place_of(place)
            if not file.exists():
                raise InputError(f"{what}: no such file or folder: {file}")
    for name, value in flatten(as_dict(config)).items():
        if not name.endswith(EXPLICIT):
            say(f"{name}={shown(value)}")
