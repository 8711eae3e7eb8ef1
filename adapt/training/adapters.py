"""Adapters of a student: where they go, what they start from, and that nothing else trains."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from adapt.data import DataSet, some
from adapt.disk.files import sha256
from adapt.disk.tensors import load_tensors, read_metadata, read_tensors
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, batches_of
from adapt.evaluation.ridge import FITTED, ridge_maps
from adapt.machine.runtime import Runtime, say
from adapt.networks.adapters import Sizes, adapted, is_added, load_maps, sizes_in
from adapt.networks.batchnorm import freeze
from adapt.networks.layers import ELEMENT, auto_taps, check, proposal, trace
from adapt.networks.saved import BASE, Model, base_digest
from adapt.networks.taps import resolve
from adapt.settings.checks import AUTO
from adapt.settings.choices import RIDGE
from adapt.settings.training import TrainConfig


def with_adapters(config: TrainConfig, start: Model | None) -> TrainConfig:
    """The configuration with the adapters that the start has; InputError where it gives others, or
    some to a network that is new."""
    if config.adapters and start is None:
        raise InputError(
            f"adapters are for a network that is trained already, not for start={config.start}: "
            "give teacher=RUN, start=RUN or a weights file"
        )
    known = ranks(sizes_in(start.net.state_dict())) if start else {}
    if known and config.adapters not in ("", known):
        raise InputError(
            f"adapters is {config.adapters}; the start has some already, which train on: {known}"
        )
    return replace(config, adapters=known) if known else config


def ranks(sizes: Sizes) -> dict[str, int]:
    """Layer -> rank."""
    return {layer: rank for layer, (_, rank) in sizes.items()}


def add_adapters(student: nn.Module, config: TrainConfig, size: tuple[int, int]) -> dict[str, str]:
    """Give the student the adapters of a configuration, where it has none yet: new ones, or those
    of a file, whose digest is returned; (H, W) is the size of images. A line says where they are.

    Raises:
        InputError: layers that cannot have one, or a file of another network's adapters.
    """
    digest = {}
    if not sizes_in(student.state_dict()):
        if isinstance(config.adapters, str):
            digest = {"adapters": load_adapters(student, Path(config.adapters))}
        else:
            adapted(student, places(student, config.adapters, size))
    found = ranks(sizes_in(student.state_dict()))
    said = (f"{layer} ({f'rank {rank}' if rank else 'linear'})" for layer, rank in found.items())
    say(f"adapters after {', '.join(said)}; all else stays as it is, batch norm too (bn=eval)")
    return digest


def load_adapters(student: nn.Module, path: Path) -> str:
    """Put the adapters of a file on the network that they were trained on; returns the file's
    SHA-256."""
    tensors = read_tensors(path)
    base, own = read_metadata(path).get(BASE, ""), base_digest(student.state_dict())
    if not base or not all(map(is_added, tensors)):
        raise InputError(f"adapters: {path} has other weights too; give RUN/adapters.safetensors")
    if base != own:
        raise InputError(
            f"adapters: {path} is for the network whose weights have the SHA-256 {base}; those of "
            f"the start have {own}"
        )
    adapted(student, sizes_in(tensors))
    load_tensors(student, student.state_dict() | tensors, str(path))
    return sha256(path)


def start_at_ridge(
    config: TrainConfig,
    student: nn.Module,
    teacher: Model | None,
    machine: Runtime,
    data: DataSet,
    size: tuple[int, int],
) -> None:
    """Fit the linear adapters of rank `ridge` to pairs in closed form (`ridge_maps`), each behind
    those before it, so that the student's maps of x2 are brought to the teacher's of x1.

    Raises:
        InputError: no pairs, or no teacher of the student's own network.
    """
    asked = {k: v for k, v in dict(config.adapters).items() if v == RIDGE}
    if teacher is None or config.teacher_network.name or not data.paired:
        raise InputError(
            f"adapters.{next(iter(asked))} is {RIDGE}, which is fitted on pairs to a teacher that "
            "is the student's own network; give teacher=RUN and data.target, or a rank"
        )
    machine.place(teacher.net)
    reading = Reading(config.data, config.network, config.batch, config.workers)
    chosen, wanted = some(data, FITTED), places(student, asked, size)
    order = [layer.name for layer in trace(student, size) if layer.name in wanted]
    for layer in order:
        pairs = batches_of(machine, reading, chosen, f"ridge {layer}", "x1", "x2")
        load_maps(student, ridge_maps(student, [layer], pairs, teacher.net))
    say(f"adapters after {', '.join(order)} start as ridge maps of {len(chosen.samples)} pairs")


def places(
    net: nn.Module, given: Mapping[str, int | str], size: tuple[int, int]
) -> dict[str, list[int]]:
    """The sizes of adapters by layer; `auto` = those that taps=auto takes.

    Raises:
        InputError: a layer that is not known, or whose output is not one map (B, C, h, w).
    """
    layers = trace(net, size)
    if AUTO in given and not auto_taps(layers):
        raise InputError(f"adapters: {proposal(layers)}; name layers yourself")
    wanted = dict.fromkeys(auto_taps(layers), given[AUTO]) if AUTO in given else {}
    wanted |= {layer: rank for layer, rank in given.items() if layer != AUTO}
    check(layers, wanted, "adapters")
    known = {layer.name: layer for layer in layers}
    ends = {end_of(net, n if n in known else resolve(net, n)): rank for n, rank in wanted.items()}
    check(layers, ends, "adapters")
    for layer in (known[name] for name in ends):
        if layer.type == ELEMENT or len(layer.shape) != 4 or layer.shape != (1, *layer.map):
            raise InputError(
                f"adapters: {layer.name} cannot have one (a {layer.type} of {layer.shape}); it "
                "goes after a layer of one map (B, C, h, w)"
            )
    return {name: [known[name].map[0], 0 if r == RIDGE else int(r)] for name, r in ends.items()}


def end_of(net: nn.Module, name: str) -> str:
    """The layer that puts out what another does: of a Sequential the last member.

    Raises:
        InputError: a Sequential with a forward pass of its own, or without members.
    """
    module = dict(net.named_modules()).get(name)
    if not isinstance(module, nn.Sequential):
        return name
    if type(module).forward is not nn.Sequential.forward or not len(module):
        raise InputError(
            f"adapters: {name} cannot have one (a {type(module).__name__} with a forward pass of "
            "its own); give a layer before or inside it"
        )
    return end_of(net, resolve(net, f"{name}.{[*module._modules][-1]}", "adapters"))


def freeze_base(net: nn.Module) -> None:
    """Only adapters train: all else has no gradient and stays in eval mode, batch norm's statistics
    and dropout included."""
    freeze(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(is_added(name))
