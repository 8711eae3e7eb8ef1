"""Which layers are regressed: what `taps`, or an objective without a name, means for a teacher and
a student that may be two networks; and the student as their maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from adapt.data import Read
from adapt.errors import InputError, listing
from adapt.evaluation.inference import Reading
from adapt.evaluation.ridge import ridge
from adapt.machine.runtime import Runtime, say
from adapt.networks import build_network
from adapt.networks.cuts import check_cuts, obstacle
from adapt.networks.gradient_checkpointing import recomputed
from adapt.networks.layers import Layer, auto_taps, check, linear, proposal, scale, trace, weighted
from adapt.networks.saved import Model
from adapt.networks.taps import LOGITS, aliases, forward, tasks_of
from adapt.objective.projectors import Projectors
from adapt.objective.terms import TERMS, Objective
from adapt.settings.checks import AUTO, BY_PAIRS
from adapt.settings.choices import DEFAULT_TAP
from adapt.settings.training import TrainConfig
from adapt.training.checks import seen_size

PAIRED = "'taps={LAYER_OF_THE_TEACHER: LAYER_OF_THE_STUDENT}' pairs layers of two networks"


class Tapped(nn.Module):
    """A network's maps at some taps, as a module: (B, 3, H, W) -> name -> (B, C, h, w), as
    `projectors` hand them on. Those inside the blocks `again` are not kept for the backward pass.
    """

    def __init__(
        self,
        net: nn.Module,
        taps: frozenset[str],
        again: Sequence[nn.Module] = (),
        projectors: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.net, self.taps, self.projectors = net, taps, projectors or nn.Identity()
        self.again = tuple(again)  # no ModuleList: they are the network's own

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        with recomputed(self.again):
            return self.projectors(forward(self.net, images, self.taps))


def with_taps(
    config: TrainConfig,
    start: Model | None,
    teacher: Model | None,
    machine: Runtime,
    read: Read,
) -> TrainConfig:
    """The configuration in whose objective stand the layers that `taps`, an objective without a
    name, or a stitch without taps, means; a line says which ones.

    Args:
        config: of a training, resolved.
        start: of the student, if it is a network.
        teacher: of the training, if it has one.
        machine: where the teacher runs for `taps=pairs`.
        read: the data sets, where layers must be known.

    Raises:
        InputError: `taps` without a teacher, a layer that is not known or cannot be tapped, or a
            network in which `taps=auto` finds none.
    """
    size = partial(seen_size, config.data, read)
    objective, taps, why = config.objective, config.taps, ""
    nets = {"network": teacher.net} if teacher is not None else {}
    if teacher is not None and config.teacher_network.name:
        own_net = start.net if start else build_network(config.network, len(teacher.classes))
        nets = {"teacher": teacher.net, "student": own_net}
    if not objective.name:
        objective = replace(objective, name=DEFAULT_TAP)
        for what, net in nets.items() if DEFAULT_TAP in objective.regression.taps else ():
            if not taps and DEFAULT_TAP not in {*aliases(net), *dict(net.named_modules())}:
                taps, why = AUTO, f"the {what} has no {DEFAULT_TAP}: "
    if not taps:
        return with_cuts(replace(config, objective=objective), nets, size)
    if not nets:
        raise InputError(f"taps={taps} needs teacher=RUN")
    theirs, *others = (trace(net, size()) for net in nets.values())
    own, asked = others[0] if others else theirs, taps
    if taps == BY_PAIRS:
        if "student" in nets:
            raise InputError(
                "taps=pairs chooses layers for a student of the teacher's own network; of two "
                "networks taps=auto chooses"
            )
        net = machine.place(nets["network"])
        reading = Reading(config.data, config.network, config.batch, config.workers)
        found = ridge(machine, net, reading, read(config.data))
        say(str(found))
        taps = found.as_good
    weights, pairs = chosen(taps, theirs, own, objective.regression.student)
    renamed = {tap: partner for tap, partner in pairs.items() if partner != tap}
    by_name = asked in (AUTO, BY_PAIRS)
    line = f"{why}{f'taps={asked} takes' if by_name else 'taps:'} {weighted(weights)}"
    if renamed:
        line += f", of the student {{{', '.join(f'{a}: {b}' for a, b in renamed.items())}}}"
    if alone := auto_taps(theirs).keys() - weights.keys() if taps == AUTO else ():
        line += f"; the student has no map of the stride of {listing(alone)}"
    say(line)
    further = [t for t in TERMS if t != "regression" and getattr(objective, t).weight]
    regression = replace(
        objective.regression,
        weight=objective.regression.weight or 1.0,
        taps=weights,
        student=renamed,
    )
    name = "_".join([asked if by_name else "taps", *further])
    objective = replace(objective, name=name, regression=regression)
    return with_cuts(replace(config, taps="", objective=objective), nets, size)


def with_cuts(
    config: TrainConfig, nets: Mapping[str, nn.Module], size: Callable[[], tuple[int, int]]
) -> TrainConfig:
    """The configuration in whose stitch stand layers of the teacher that are cuts, the shallowest
    first; of taps=auto where it names none, and then a line says which ones.

    Args:
        config: of a training, resolved.
        nets: the teacher and, where that is another network, the student.
        size: as in `with_taps`.

    Raises:
        InputError: a layer that is not known, cannot be tapped, or is no cut.
    """
    stitch, teacher = config.objective.stitch, next(iter(nets.values()), None)
    if not stitch.weight or teacher is None or tasks_of(teacher):  # refused where tasks are
        return config
    at = size()
    theirs, *others = (trace(net, at) for net in nets.values())
    own = others[0] if others else theirs
    what, layers = "objective.stitch.taps", {layer.name: layer for layer in theirs}
    check_cuts(teacher, theirs, stitch.taps, at, what)
    weights, pairs = chosen(stitch.taps or AUTO, theirs, own, stitch.student)
    left = {tap for tap in weights if not stitch.taps and obstacle(teacher, layers[tap], at)}
    taps = [tap for tap in weights if tap not in left]
    if not taps:
        check_cuts(teacher, theirs, list(left)[:1], at, what)
    if not stitch.taps:
        passed = f"; not from {listing(left)}, which skip connections pass by" if left else ""
        say(f"stitch: the teacher goes on from {', '.join(taps)}{passed}")
    partners = {tap: pairs[tap] for tap in taps if pairs[tap] != tap}
    stitch = replace(stitch, taps=taps, student=partners)
    return replace(config, objective=replace(config.objective, stitch=stitch))


def chosen(
    taps: Any, theirs: Sequence[Layer], own: Sequence[Layer], partners: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """The weights of the teacher's layers that `taps` means, and the student's layer of each; where
    `taps` does not say them, those of `partners` or of the same name."""
    if taps == AUTO:
        pairs = matched(theirs, own)
        return linear(theirs, pairs), pairs
    names = [str(name) for name in taps]
    check(theirs, names)
    values = list(taps.values()) if isinstance(taps, dict) else []
    if values and isinstance(values[0], str):
        check(own, values, "taps, of the student")
        return linear(theirs, names), dict(zip(names, values, strict=True))
    weights = {n: float(weight) for n, weight in zip(names, values, strict=False)}
    return weights or linear(theirs, names), {n: partners.get(n, n) for n in names}


def matched(theirs: Sequence[Layer], own: Sequence[Layer]) -> dict[str, str]:
    """The teacher's layer -> the student's, of those that `taps=auto` takes of each: on the way
    down those of one stride, and the last maps before the classifiers."""
    down, last = [], []
    for layers in (theirs, own):
        named = {layer.name: layer for layer in layers}
        if not (taps := list(auto_taps(layers))):
            raise InputError(f"{proposal(layers)}; name taps yourself")
        down.append({scale(named[tap]): tap for tap in taps[:-1]})
        last.append(taps[-1])
    return {t: down[1][s] for s, t in down[0].items() if s in down[1]} | {last[0]: last[1]}


def projectors(
    objective: Objective, own: Sequence[Layer], theirs: Sequence[Layer], two: bool
) -> Projectors:
    """What brings the student's maps to the names and channels of the teacher's.

    Args:
        objective: of the training.
        own: the student's layers as `trace` met them.
        theirs: the teacher's; without one the student's.
        two: are they two networks?

    Raises:
        InputError: a layer that the objective needs cannot be tapped, maps that cannot be regressed
            onto each other, or logits of which only one network has void.
    """
    try:
        check(own, objective.student, "objective, on the student" if two else "objective")
    except InputError as error:
        hint = f". {PAIRED}" if two else "; add it, or name layers by taps"
        raise InputError(f"{error}{hint}") from None
    check(theirs, objective.teacher, "objective, on the teacher")
    student, teacher = (
        {
            name: layer.map if layer.name else (max(2, layer.shape[1]), *layer.shape[2:])
            for layer in layers
            for name in (layer.name or LOGITS, *layer.aliases)
        }
        for layers in (own, theirs)
    )
    outputs = student[LOGITS][0], teacher[LOGITS][0]
    if LOGITS in objective.teacher and outputs[0] != outputs[1]:
        raise InputError(
            f"network: the student has {outputs[0]} outputs, the teacher {outputs[1]}, of which "
            "one is void; give both networks network.void=true, or neither"
        )
    return Projectors(objective.pairs, student, teacher)
