"""Several new domains at once: where the pairs of each are, by its name."""

from dataclasses import replace
from pathlib import Path

from adapt.errors import InputError, listing
from adapt.settings.groups import DataConfig


def each_target(config: DataConfig) -> dict[str, DataConfig]:
    """Name -> the settings that read one of `data.targets` alone; without any, `config` under the
    empty name.

    Raises:
        InputError: settings beside them that name one new domain or belong to one.
    """
    if not config.targets:
        return {"": config}
    for what in ("pairs", "shards", "transforms"):
        if given := getattr(config, what):
            raise InputError(
                f"data.{what} is {given} and belongs to one new domain; data.targets names several"
                + (": give those aligned copies (align)" if what == "transforms" else "")
            )
    if wrong := [name for name in config.targets if not name or "/" in name]:
        raise InputError(f"data.targets: {wrong[0]!r} cannot name a new domain; it has no / in it")
    if config.target and config.target not in config.targets.values():
        there = listing([f"{name}: {where}" for name, where in config.targets.items()])
        raise InputError(f"data.target is {config.target}, which is none of data.targets: {there}")
    lists = {name: where if Path(where).is_file() else "" for name, where in config.targets.items()}
    return {
        name: replace(config, targets={}, target="" if lists[name] else where, pairs=lists[name])
        for name, where in config.targets.items()
    }


def of_old(config: DataConfig) -> DataConfig:
    """The settings without the folders of new domains and where these lie on the old one; lists of
    pairs name the old images too."""
    lists = {name: where for name, where in config.targets.items() if Path(where).is_file()}
    return replace(config, target="", targets=lists, transforms="")


def target_of(name: str) -> str:
    """Which of several new domains a sample's name begins with."""
    return name.partition("/")[0]


def refuse_targets(config: DataConfig, what: str) -> None:
    """InputError where several new domains are named; `what` looks at one."""
    if config.targets:
        raise InputError(
            f"data.targets is {config.targets}; {what} looks at one new domain: give data.target, "
            "or data.pairs"
        )
