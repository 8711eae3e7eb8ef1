"""A network on disk: model.safetensors (plain weights) and model.json (what they are)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from adapt.disk.checkpoint import STATE
from adapt.disk.files import read_mapping, sha256, write_json, write_whole
from adapt.disk.runs import ABOUT, ADAPTERS, AGAIN, WEIGHTS, other_config, unfinished
from adapt.disk.tensors import check_shapes, load_tensors, read_tensors
from adapt.errors import InputError, listing
from adapt.machine.runtime import say
from adapt.networks import build_network
from adapt.networks.adapters import adapted, is_added, sizes_in
from adapt.networks.factory import stand_in
from adapt.networks.names import COUNTER, place_of, read_named
from adapt.networks.planned import check_size, planned
from adapt.networks.pretrained import COCO, IMAGENET, enum_of, is_pretrained, pretrained
from adapt.networks.sizes import outputs
from adapt.settings.checks import MOST_CLASSES
from adapt.settings.choices import AUXILIARY_HEAD, BACKBONE
from adapt.settings.groups import NetworkConfig, TeacherNetworkConfig
from adapt.settings.mapping import (
    as_dict,
    build,
    check_record,
    differences,
    inherit_network,
    teachers_network,
)

BASE = "base"
"""In the header of ADAPTERS, the adapters of a network alone: the SHA-256 of their base."""
FORMATS = (1, 2)
"""Of model.json; the last one is written, all of them are read."""
ONE_MORE = "network.void=true is for a last output that means void"
DATA = "the data"
"""How messages call the data set."""
NO_START = "none"
"""What `start` records where a run began from He initialisation."""
FILES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar")
Tasks = Mapping[str, tuple[str, ...]]
"""The classes of each task, where there are several."""
SHOWN = 12
"""Classes that a message names."""


@dataclass(frozen=True)
class Model:
    """A loaded network with its description."""

    net: nn.Module
    network: NetworkConfig
    classes: tuple[str, ...]
    digest: str
    """SHA-256 of model.safetensors."""
    tasks: Tasks = field(default_factory=dict)
    """Of a network with several heads; `classes` is empty then."""

    @property
    def counted(self) -> str:
        """`6 classes`; of several heads `6 classes of kind, 3 of pattern`."""
        first, *others = self.tasks or {"": self.classes}
        heads = [f"{len(self.tasks[task])} of {task}" for task in others]
        own = self.tasks.get(first, self.classes)
        return ", ".join([f"{len(own)} classes{f' of {first}' if first else ''}", *heads])


@dataclass
class About:
    """What model.json must have."""

    format: int
    network: dict[str, Any]
    classes: list[str]
    sha256: str
    """Of model.safetensors."""
    tasks: dict[str, list[str]] = field(default_factory=dict)
    """Of several heads only."""


def save_model(
    folder: Path,
    net: nn.Module,
    network: NetworkConfig,
    classes: tuple[str, ...],
    tasks: Tasks | None = None,
) -> None:
    """Write a network so that `DeepLabVGG16(...).load_state_dict(load_file(...))` reads it back.
    What has two names in it is written under both, an auxiliary head not at all. Adapters are
    written into a file of their own as well."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in net.state_dict().items()}
    if network.auxiliary and not network.factory:
        tensors = {k: v for k, v in tensors.items() if not k.startswith(f"{AUXILIARY_HEAD}.")}
        network = replace(network, auxiliary=0.0)
    write_whole(folder / WEIGHTS, safetensors.torch.save(tensors))
    if added := {k: v for k, v in tensors.items() if is_added(k)}:
        header = {BASE: base_digest(tensors)}
        write_whole(folder / ADAPTERS, safetensors.torch.save(added, header))
    about = About(FORMATS[-1], as_dict(network), list(classes), sha256(folder / WEIGHTS))
    several = {"tasks": {task: list(own) for task, own in tasks.items()}} if tasks else {}
    write_json(folder / ABOUT, {k: v for k, v in as_dict(about).items() if v != {}} | several)


def base_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a network's tensors but for its adapters: that of the model.safetensors from which
    a training of adapters started."""
    base = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items() if not is_added(k)}
    return hashlib.sha256(safetensors.torch.save(base)).hexdigest()


def with_added(net: nn.Module, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network with the adapters that tensors are for, where it has none there."""
    known = {name for name, _ in net.named_modules()} - sizes_in(net.state_dict()).keys()
    return adapted(net, {k: v for k, v in sizes_in(tensors).items() if k in known})


def is_file(source: str) -> bool:
    """Is a teacher or start a weights file: by its suffix, or any file that is there?"""
    path, _ = place_of(source)
    if source == NO_START or is_pretrained(source) or path.is_dir():
        return False
    return path.name.lower().endswith(FILES) or path.is_file()


def is_run(source: str) -> bool:
    """Is a teacher or start the name of a run folder?"""
    return source not in ("", NO_START) and not is_file(source) and not is_pretrained(source)


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that nobody named."""
    return tuple(f"class {i}" for i in range(count))


def same_classes(known: tuple[str, ...], given: tuple[str, ...]) -> bool:
    """Are these the classes of a network? Where one side's are only numbered, any as many are."""
    if len(given) != len(known):
        return not given
    return given == known or numbered(len(known)) in (known, given)


def check_classes(known: tuple[str, ...], given: tuple[str, ...], whose: str, data: str) -> None:
    """Raises InputError unless the classes of a network (`whose`) are those of the data."""
    if not same_classes(known, given):
        raise InputError(
            f"{whose} has {named(known)}; {data} has {named(given)}; "
            "give a network and data of the same classes"
        )


def check_outputs(count: int, classes: tuple[str, ...], whose: str, remedy: str = "") -> None:
    """Raises InputError unless a network (`whose`) has an output for each class of the data, or one
    logit for both of two; without class names only more outputs than masks can hold are refused."""
    what = f"{count} output{'s' if count > 1 else ' (one logit, for two classes)'}"
    if classes and max(2, count) != len(classes):
        remedy = remedy or "give a network for these classes, or a name for each of its outputs"
        remedy += f"; {ONE_MORE}" if count == len(classes) + 1 else ""
        raise InputError(f"{whose} has {what}; the data has {named(classes)}; {remedy}")
    if count > MOST_CLASSES:
        raise InputError(
            f"{whose} has {what}; masks of 16 bits hold at most {MOST_CLASSES} classes"
        )


def check_tasks(known: Tasks, given: Tasks, whose: str, data: str, remedy: str = "") -> None:
    """Raises InputError unless a network (`whose`) has the heads of the data's tasks, or one head
    as the data has one label map."""
    for task in {**known, **given}:
        if task not in known or task not in given:
            heads, maps = listing(known) or "one head", listing(given) or "one label map"
            raise InputError(
                f"{whose} has {heads}, {data} {maps}; give both the same tasks (data.tasks){remedy}"
            )
        check_classes(known[task], given[task], f"{whose}, {task}", data)


def check_one_head(model: Model, whose: str) -> None:
    """Raises InputError where a network (`whose`) has several."""
    if model.tasks:
        heads = listing(model.tasks)
        raise InputError(f"{whose} has several heads ({heads}); this is for a network with one")


def named(classes: tuple[str, ...]) -> str:
    """`2 classes: sky, road`, of many the first ones."""
    rest = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    plural = "" if len(classes) == 1 else "es"
    return f"{len(classes)} class{plural}: {', '.join(classes[:SHOWN])}{rest}"


def common_classes(given: Sequence[str], models: Mapping[str, Model]) -> tuple[str, ...]:
    """The classes of a training: the data's, or what one of the models calls them.

    Args:
        given: the data's; there may be none.
        models: what each is, for messages -> a network with outputs for these classes.

    Raises:
        InputError: one of them has other classes, or another order.
    """
    known = {DATA: tuple(given)} | {what: tuple(m.classes) for what, m in models.items()}
    known = {what: own for what, own in known.items() if own}
    chosen = [what for what, own in known.items() if own != numbered(len(own))] or list(known)
    classes = known[chosen[0]] if chosen else ()
    for what, own in known.items():
        if what == DATA and not same_classes(own, classes):  # which the message names last
            check_classes(classes, own, chosen[0], what)
        check_classes(own, classes, what, chosen[0])
    return classes


def start_point_of(config: dict[str, Any]) -> str:
    """The teacher, or the network that a supervised run was fine-tuned from; empty = neither.

    `config` is a run's record; a start of ImageNet weights is no network for the task.
    """
    start = str(config["start"])
    return str(config["teacher"]) or (start if is_run(start) or is_file(start) else "")


def started_from(start: str) -> str:
    """Folder of the run whose network, backbone or weights file a start is; empty = none."""
    if is_run(start):
        return start
    path = Path(start.removeprefix(BACKBONE))
    folder = path.parent if path.name == WEIGHTS else path
    return str(folder) if (folder / ABOUT).is_file() else ""


def load_model(source: Path, what: str = "run", like: Model | None = None) -> Model:
    """The network of a finished run's folder, or of weights that lie elsewhere, on the CPU.

    Args:
        source: run folder; or a weights file or pretrained weights' name (`load_complete`).
        what: the setting that named it, for messages.
        like: for the latter: the model whose architecture and classes it has.

    Raises:
        InputError: no such run or file, not finished, weights that do not have the recorded
            digest, or that lack or add a tensor.
    """
    if not is_run(str(source)):
        if like is None:
            raise InputError(
                f"{what}: {source} is no run; make it one: fra train start={source} steps=0 "
                "run=DIR network=NAME data=NAME data.root=DIR"
            )
        return load_complete(str(source), like.network, like.classes, what, None)
    if not source.is_dir():
        near = get_close_matches(str(source), (IMAGENET, COCO, NO_START), n=1)
        hint = f". Did you mean {near[0]!r}?" if near and what in ("start", "teacher") else ""
        raise InputError(f"{what}: no such run folder: {source}{hint}")
    if (source / STATE).exists():
        raise InputError(
            f"{what}: {source} is a checkpoint, from which its training goes on by itself; give "
            "the folder of a finished run"
        )
    path = source / WEIGHTS
    digest = sha256(path) if path.is_file() else ""
    if problem := unfinished(source, digest):
        raise InputError(f"{what}: {problem}; {AGAIN}")
    if problem := other_config(source):
        say(f"warning: {problem}")
    about = read_mapping(source / ABOUT)
    if about.get("format") not in FORMATS:
        raise InputError(f"{source / ABOUT}: format {about.get('format')!r}; this is {FORMATS[-1]}")
    check_record(About, about, str(source / ABOUT))
    if len(about["classes"]) == 1:
        raise InputError(
            f"{source / ABOUT}: one class, of an earlier version; one logit is two classes now: "
            "train or adapt that network again"
        )
    network = build(NetworkConfig, about["network"], f"{source / ABOUT}: network.")
    network = replace(network, factory=stand_in(network.factory))
    tasks = {task: tuple(own) for task, own in about.get("tasks", {}).items()}
    counts = {task: len(own) for task, own in tasks.items()}
    classes = counts or len(about["classes"])
    tensors = read_tensors(path)
    check_size(network, classes, tensors, f"{source / ABOUT}: network", WEIGHTS)
    net = build_network(network, classes)
    load_tensors(with_added(net, tensors), tensors, str(path))
    return Model(net, network, tuple(about["classes"]), digest, tasks)


def load_run(run: str, given: NetworkConfig, what: str = "run") -> Model:
    """The network of a run's folder, where a command may name a network as well; `what` is the
    setting that named the run, for messages.

    Raises:
        InputError: as `load_model`, or `given` sets anything that the run's network is not.
    """
    model = load_model(Path(run), what)
    check_network(model, inherit_network(given, model.network), run)
    return model


def check_network(
    model: Model, given: NetworkConfig, source: str, what: str = "network", hint: str = ""
) -> None:
    """InputError for network settings that are not those of a model from `source`; `keys`, which
    rename tensors of a file, may differ."""
    known = as_dict(replace(model.network, keys=given.keys))
    if changed := "; ".join(differences(known, as_dict(given))):
        raise InputError(
            f"{what} differs from the one in {source} (there -> given): {changed}{hint}"
        )


def load_teacher(source: str, recorded: dict[str, Any], student: Model) -> Model:
    """The teacher of a run, from a run or a weights file: its network is the student's, unless
    `recorded`, the run's configuration, has another one. It raises as `load_model`."""
    given = build(TeacherNetworkConfig, recorded["teacher_network"], "teacher_network.")
    like = replace(student, network=teachers_network(given, student.network))
    return load_model(Path(source), "teacher", like=like)


def load_complete(
    source: str,
    network: NetworkConfig,
    classes: tuple[str, ...],
    what: str,
    size: tuple[int, int] | None,
) -> Model:
    """A network with weights from a file (`FILE` or `FILE@KEY`) or torchvision (`coco`).

    Its outputs are counted on a blank image of a size (H, W) of the data's; None = it is like a
    network of which that is known. Without class names (pairs without labels) they are numbered by
    the outputs. One output is one logit for two classes (`NetworkConfig.one_logit`).

    Raises:
        InputError: no such weights, weights that do not fit, or another number of outputs.
    """
    if is_pretrained(source):
        if not classes and not source.startswith(BACKBONE):
            classes = tuple(enum_of(source, network).meta["categories"])
        net = build_network(network, len(classes))
        tensors, digest = pretrained(source, network, net)
    else:
        known = len(classes) or int(not network.factory)
        net, built = planned(network, known), network.outputs(known)
        tensors, digest = read_named(source, network.keys, net.state_dict().keys())
        wanted = outputs_in(tensors, net.state_dict(), built)
        network = replace(network, one_logit=wanted == 1)
        if wanted != built:
            net = planned(network, wanted - network.void)
    hint = f"start={BACKBONE}{source} takes all but its last layers" if what == "start" else ""
    if all(map(is_added, tensors)):
        raise InputError(
            f"{what}: {source} has adapters only; fra train start=BASE adapters={source} steps=0 "
            "run=DIR puts them on their network, a run or weights file"
        )
    net = with_added(net, tensors)
    try:
        if any(tensor.is_meta for tensor in net.state_dict().values()):
            check_shapes(net.state_dict(), counters(net) | tensors, f"{what}: {source}")
            net = with_added(build_network(network, wanted - network.void), tensors)
        load_tensors(net, counters(net) | tensors, f"{what}: {source}")
    except InputError as error:
        hints = (hint, ONE_MORE if has_one_more(tensors, net.state_dict()) else "")
        raise InputError(". ".join(filter(None, [str(error), *hints]))) from None
    count = outputs(net, size) - network.void if size else len(classes)
    check_outputs(count, classes, f"{what}: {source}", hint)
    return Model(net, network, classes or numbered(max(2, count)), digest)


def counters(net: nn.Module) -> dict[str, torch.Tensor]:
    """Of batch norm, which files of before PyTorch 0.4.1 do not have."""
    return {k: v for k, v in net.state_dict().items() if k.endswith(COUNTER)}


def has_one_more(tensors: dict[str, torch.Tensor], made: dict[str, torch.Tensor]) -> bool:
    """Are the last tensors that differ in their shape for one output more than the network has?"""
    apart = [(len(v), len(made[k])) for k, v in tensors.items() if k in made and v.ndim]
    return [theirs - ours for theirs, ours in apart if theirs != ours][-1:] == [1]


def outputs_in(tensors: dict[str, torch.Tensor], made: dict[str, torch.Tensor], built: int) -> int:
    """How many outputs weights are for: another number than a network was `built` with where that
    alone makes their shapes differ from its own."""
    apart = {
        (made[k].shape[:1], v.shape[:1])
        for k, v in tensors.items()
        if k in made and made[k].shape != v.shape
    }
    ours, theirs = apart.pop() if len(apart) == 1 else ((), ())
    return theirs[0] if theirs and ours == (built,) else built
