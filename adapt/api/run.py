"""`fit`: the adapt command with a network and pairs that are objects of Python; `load`: its result.

It is the command: the same settings, the same numbers bit for bit, the same run folder.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import safetensors.torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

from adapt.data.objects import Pairs, offer, refuse_of_items
from adapt.disk.files import read_yaml, sha256, write_json, write_whole
from adapt.disk.lock import whole_folder
from adapt.disk.runs import (
    CONFIG,
    STUDENT,
    SUMMARY,
    TEACHER,
    begun,
    read_config,
    read_metrics,
    read_summary,
)
from adapt.errors import InputError
from adapt.machine.processes import on_rank_zero, processes, rank
from adapt.networks.factory import COMPILED, given, giving
from adapt.networks.preprocessing import with_preprocessing
from adapt.networks.saved import load_model
from adapt.settings.commands import MergeConfig
from adapt.settings.groups import IMAGENET_MEAN, IMAGENET_STD
from adapt.settings.mapping import build
from adapt.settings.presets import preset
from adapt.settings.training import AdaptConfig
from adapt.settings.viz import ReportConfig
from adapt.training.adapt import adapt
from adapt.training.merge import merge as merge_runs
from adapt.training.train import OnStep
from adapt.training.verdict import Verdict, read_verdict

Network = nn.Module | Callable[[], nn.Module]


@dataclass
class Result:
    """A finished adaptation.

    Attributes:
        run: its folder, with everything that the command leaves there.
        student: the adapted network on the CPU in eval mode: normalised images -> logits.
        verdict: agreement with the teacher on pairs that it was not trained on, before and after;
            None where no pairs were held out.
        history: one mapping for each logged step (step, loss, parts, lr, grad_norm, seconds, ...).
    """

    run: Path
    student: nn.Module
    verdict: Verdict | None
    history: list[dict[str, Any]]
    _temporary: TemporaryDirectory[str] | None = field(default=None, repr=False)

    def save(self, folder: str | Path | None = None) -> Path:
        """Copy the run's folder to a new one, from which `adapt.load` reads it; None = it stays
        where it is, which `run=` of `fit` has said.

        Raises:
            InputError: the folder exists, or none was given and the run's own is temporary.
        """
        if folder is None and self._temporary is None:
            return self.run
        if folder is None:
            raise InputError("save: this run has no folder of its own; give one")
        target = Path(folder)
        if target.exists():
            raise InputError(f"save: {target} exists already; give a new folder")
        with whole_folder(target, "save") as new:
            shutil.copytree(self.run, new, dirs_exist_ok=True)
            record = read_yaml(new / CONFIG)
            for name in ("run", "teacher", "start"):  # which may name the folder or a file in it
                place = Path(str(record.get(name)))
                if place.is_relative_to(self.run):
                    record[name] = str(target / place.relative_to(self.run))
            write_whole(new / CONFIG, yaml.safe_dump(record, sort_keys=False))
            write_json(new / SUMMARY, read_summary(new) | {"config": sha256(new / CONFIG)})
        return target

    def report(self, path: str | Path) -> Path:
        """Write the report of this run, one HTML file that opens offline; returns its path."""
        from viz.report.page import report

        return report(ReportConfig(runs=str(self.run), out=str(path)))


def fit(
    teacher: Network | str | Path,
    pairs: Any,
    *,
    student: Network | None = None,
    taps: str | Sequence[str] | Mapping[str, float | str] = "",
    objective: str = "",
    penalty: str | Mapping[str, Any] = "l2_sp",
    steps: int = 1000,
    batch: int = 8,
    lr: float = 0.01,
    held_out: Sequence[Any] | None = None,
    classes: Sequence[str] = (),
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    order: str = "rgb",
    range: int = 1,
    device: str = "auto",
    run: str | Path | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Adapt a network to a new domain from pairs of images, without labels (seed paper 003).

    Args:
        teacher: the network that was trained on the old domain: any module from normalised images
            (B, C, H, W) to logits; or a function that makes it with its weights; or, as on the
            command line, the folder of a run. It is not changed.
        pairs: two folders (old, new) of images that match by name, where new may be a mapping from
            names to folders of several new domains; or a map-style data set of (x1, x2) or
            (x1, x2, valid); or a DataLoader of such batches. Images are uint8 or
            uint16, arrays (H, W, C) or tensors (C, H, W), RGB where C is 3, and are normalised
            here; floating point ones, also those in 0..1, count as normalised. `valid` (H, W) marks
            the pixels at which both show the same thing. A data set is shuffled and mirrored as
            files are; a DataLoader keeps its own order and gets no augmentation, and a run that is
            resumed passes over its first batches, for which torch draws the same again.
        student: another network that is to learn from the teacher, a module or a function that
            makes it, and starts from its own weights; None = a copy of the teacher. It is not
            changed.
        taps: layers whose maps are regressed: `auto`, names, names with their weights, or the
            teacher's names with the student's; none = those of the objective or, where none is
            named, `auto`.
        objective: a choice of configs/objective, whose layers `taps` replaces; none = regression.
        penalty: a choice of configs/penalty, or settings of it with its `name` (none = l2_sp); what
            they leave out is as in that choice.
        steps: of the optimiser.
        batch: images in a step; that of a DataLoader is its own.
        lr: learning rate, the setting schedule.lr.
        held_out: map-style data set of pairs for the verdict; None = a tenth of the pairs.
        classes: names of the outputs; none = class 0, class 1, ...
        mean: of each channel, in the network's order and range, with which the teacher was trained;
            as many numbers as images have channels.
        std: standard deviation likewise.
        order: in which the network sees three channels, `rgb` or `bgr`.
        range: largest value of a channel before mean and std, 1 or 255.
        device: auto, cpu, cuda or cuda:N.
        run: folder to save to and to resume from; None = a temporary one (`Result.save`).
        seed: of the order of the pairs and their augmentation.
        on_step: called after each step with a mapping of step, loss, lr and grad_norm.
        settings: any other setting of the adapt command by its name: {"data.crop": [321, 321]}.

    Raises:
        InputError: a setting, network or pair that is wrong, by name.
        Stopped: a signal, a value that is not finite, or too little memory; with `run` the same
            call goes on from the last checkpoint.
    """
    temporary = TemporaryDirectory(prefix="adapt-") if run is None else None
    folder = Path(temporary.name) / "run" if temporary else Path(str(run))
    pull = {"name": penalty} if isinstance(penalty, str) else dict(penalty)
    values: dict[str, Any] = {
        "run": str(folder), "objective": preset("objective", objective or "pool5"),
        "taps": taps or ("" if objective else "auto"),
        "penalty": preset("penalty", pull.get("name", "l2_sp")) | pull,
        "schedule": {"lr": lr},
        "network": {"mean": list(mean), "std": list(std), "order": order, "range": range},
        "steps": steps, "batch": batch, "device": device, "seed": seed,
        "data": {"classes": list(classes)},
    }  # fmt: skip
    values["data"] |= preset("data", "pairs") | data_of(pairs, held_out)
    if isinstance(pairs, DataLoader):
        values["batch"] = pairs.batch_size or batch
    with processes(), giving():
        own, contents = values["network"], dict[Path, bytes]()
        if student is not None:
            own = values["teacher_network"] = dict(own)
            path = folder / STUDENT
            values["start"] = named(student, path, values["network"], contents, "student")
        values["teacher"] = named(teacher, folder / TEACHER, own, contents)
        for name, value in (settings or {}).items():
            for setting in leaves(name, value):
                place(values, *setting)
        config = with_preprocessing(build(AdaptConfig, values))
        if isinstance(pairs, DataLoader):
            refuse_of_items(config)
        on_rank_zero(lambda: keep(folder, contents))
        try:
            adapt(config, on_step)
        except InputError:
            discard(folder, contents)
            raise
        result = read(folder)
    result._temporary = temporary
    return result


def load(run: str | Path, network: Network | None = None) -> Result:
    """A finished run, of `fit` or of the adapt command.

    Args:
        run: its folder.
        network: what makes its architecture, where that was an object or is a factory: a module
            of the same layers, or a function that returns one.

    Raises:
        InputError: no such run, not finished, or a network that was not given or does not fit.
    """
    with giving():
        trust(run, network)
        return read(Path(run))


def merge(
    runs: Sequence[str | Path],
    run: str | Path,
    *,
    weights: Sequence[float] = (),
    network: Network | None = None,
) -> Result:
    """Average students that were adapted apart from one teacher: the merge command.

    Args:
        runs: folders of finished runs; their teacher's may be one of them, for the old camera.
        run: the merged run's folder, a new one.
        weights: how much each of the runs counts; none = all alike.
        network: as in `load`.

    Raises:
        InputError: a run that is not finished, or of another network or teacher than the first, or
            a folder that exists.
    """
    config = MergeConfig([str(one) for one in runs], [float(w) for w in weights], str(run))
    with giving():
        trust(config.runs[0], network)
        return read(merge_runs(config))


def trust(run: str | Path, network: Network | None) -> None:
    """Let an object, where one is given, make the architecture that a run recorded."""
    factory = str(read_config(Path(run))["network"]["factory"])
    if network is not None:
        given(factory, network)


def read(folder: Path) -> Result:
    """The result in a run's folder."""
    net = load_model(folder).net.eval()
    return Result(folder, net, read_verdict(folder), read_metrics(folder))


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A setting; of a group that is given as a mapping each that it names."""
    schema: Any = AdaptConfig
    for part in name.split("."):
        schema = get_type_hints(schema).get(part) if is_dataclass(schema) else None
    if is_dataclass(schema) and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(f"{name}.{key}", inner)
    else:
        yield name, value


def place(values: dict[str, Any], name: str, value: Any) -> None:
    """Set a setting by its name with dots; InputError for one of what is no group, and for run."""
    if name == "run":
        raise InputError("settings: run is an argument of fit itself: run=")
    *groups, last = name.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise InputError(f"settings: {name}: {group} is {values!r}, which has no {last}")
    values[last] = value


def data_of(pairs: Any, held_out: Sequence[Any] | None) -> dict[str, Any]:
    """Settings that name the pairs.

    Raises:
        InputError: neither two folders, nor a data set, nor a DataLoader, or none at all.
    """
    apart = {} if held_out is None else {"parts": {}, "part": ""}
    old, new = pairs if isinstance(pairs, tuple | list) and len(pairs) == 2 else (None, None)
    several = isinstance(new, Mapping) and {name: str(where) for name, where in new.items()}
    if is_path(old) and (several or is_path(new)):
        if held_out is not None:
            raise InputError("held_out: of folders a part is held out: settings data.parts")
        return {"root": str(old)} | ({"targets": several} if several else {"target": str(new)})
    if isinstance(pairs, DataLoader):
        inner: Any = pairs.dataset
        items = inner if hasattr(inner, "__getitem__") and hasattr(inner, "__len__") else ()
        return {"pairs": offer(Pairs(items, held_out or (), pairs)), "parts": {}, "part": ""}
    if hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__") and not is_path(pairs):
        if not len(pairs):
            raise InputError("pairs: there are none")
        return {"pairs": offer(Pairs(pairs, held_out))} | apart
    raise InputError(
        f"pairs is a {type(pairs).__name__}; give two folders (old, new), a map-style data set of "
        "(x1, x2[, valid]), or a DataLoader"
    )


def is_path(value: Any) -> bool:
    return isinstance(value, str | Path)


def named(
    network: Network | str | Path,
    path: Path,
    settings: dict[str, Any],
    contents: dict[Path, bytes],
    what: str = "teacher",
) -> str:
    """What the settings `teacher` and `start` name: a path as it is. A module's weights are the
    content of a file in the run's folder, and it makes the architecture, the factory in `settings`.

    Raises:
        InputError: a function that makes no module.
    """
    if isinstance(network, str | Path):
        return str(network)
    settings["factory"] = given("", network, "student " if what == "student" else "")
    net = network if isinstance(network, nn.Module) else network()
    if not isinstance(net, nn.Module):
        raise InputError(f"{what} is a {type(net).__name__}; it must be a module, or make one")
    own = {name.replace(f"{COMPILED}.", ""): v for name, v in net.state_dict().items()}
    single = {k: v.float() if v.is_floating_point() else v for k, v in own.items()}
    tensors = {name: v.detach().cpu().contiguous().clone() for name, v in single.items()}
    contents[path] = safetensors.torch.save(tensors)
    return str(path)


def keep(run: Path, contents: Mapping[Path, bytes]) -> None:
    """Write the weights that a run begins with into its folder.

    Raises:
        InputError: the run was started from other ones, or the folder is not a run's.
    """
    started = any(begun(run))
    for path, content in contents.items():
        if not (started and path.is_file()):
            write_whole(path, content)
        elif path.read_bytes() != content:
            raise InputError(f"run: {run} was started from another {path.stem}; give a new run=")


def discard(run: Path, contents: Iterable[Path]) -> None:
    """Remove the weights of a run that was refused before it began."""
    if rank() == 0 and not any(begun(run)):
        for path in contents:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it has other files
            run.rmdir()
