"""Hydra's part: what it composes from, and its errors in one line with the nearest name."""

import re
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    OmegaConfBaseException,
    ValidationError,
)

from adapt.cli.commands import COMMANDS
from adapt.cli.help import help_page, sections
from adapt.errors import InputError, listing, unknown
from adapt.settings.presets import CHOICES, CONFIGS

ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
"""What composing raises when the command line or a YAML file is wrong."""
HYDRA = {
    "output_subdir": None, "run": {"dir": "."}, "sweep": {"dir": "runs", "subdir": "."},
    "job": {"chdir": False}, "callbacks": {"sweep": {"_target_": "adapt.cli.sweep.Sweep"}},
}  # fmt: skip
"""Hydra only composes: it makes no run folder, no log and no change of directory. A sweep (-m)
leaves its record, multirun.yaml, in runs."""
Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
"""Hydra would compose everything twice, first to see whether hydra.mode wants a sweep: -m does."""
QUIET = [{f"override hydra/{what}_logging": "none"} for what in ("job", "hydra")]
NOISE = re.compile("To append|See http|Available options|Config search path|Set the env|\t| {4}")
"""Beginnings of lines of Hydra's messages that serve nobody here."""


@cache
def register(name: str) -> None:
    """Make known to Hydra the settings of a command, its defaults, and the choices in CHOICES."""
    store, command = ConfigStore.instance().store, COMMANDS[name]
    store(name=f"{name}_schema", node=command.settings())
    groups: list[Any] = [{group: choice} for group, choice in command.groups.items()]
    last = [groups.pop()] if "experiment" in command.groups else []
    defaults = [f"{name}_schema", *groups, "_self_", *last, *QUIET]
    store(name=name, node={"defaults": defaults, "hydra": HYDRA})
    for group, choices in CHOICES.items():
        for choice, values in choices.items():
            package = "data" if group == "augment" else group
            store(name=choice, group=group, node=values, package=package)


def arguments(name: str, given: list[str]) -> Namespace:
    """Hydra's options, and in `overrides` the settings, of a command line, in any order.

    Raises:
        InputError: an option that is not known, or a setting without name or value.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; see {name} --help")

    parser = get_args_parser()
    parser.add_argument("--dry-run", action="store_true")
    parser.allow_abbrev = False
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_intermixed_args(given)
    if options.dry_run and options.multirun:
        refuse("--dry-run looks at one run, -m makes several")
    if options.experimental_rerun:
        refuse("unrecognized arguments: --experimental-rerun, which would unpickle a file")
    for override in OverridesParser.create().parse_overrides(options.overrides):
        group, value = override.key_or_group, override.value()
        if not group:
            raise InputError(f"{override.input_line!r}: give SETTING=VALUE")
        choosing = group in COMMANDS[name].groups and not override.is_delete()
        if choosing and (not value or isinstance(value, int | float)):
            raise InputError(f"{override.input_line}: {group} takes the name of a choice")
    return options


def composed(name: str, overrides: list[str]) -> DictConfig:
    """The settings of a command, and Hydra's below `hydra`, with a command line's."""
    register(name)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, overrides, return_hydra_config=True)


def help_text(name: str, options: Namespace) -> str:
    """The page of `--help`, with the values that the command line gives so far."""
    folders = [CONFIGS, *([Path(options.config_dir)] if options.config_dir else [])]
    places = [f"file://{folder.resolve()}" for folder in folders[1:]]
    parsed = OverridesParser.create().parse_overrides(options.overrides)
    given = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    found = composed(name, [f"hydra.searchpath={places}", *given])
    every = found.hydra.runtime.choices
    chosen = {group: every[group] for group in COMMANDS[name].groups if every.get(group)}
    return help_page(name, OmegaConf.to_container(found), chosen, folders)


def names(name: str) -> list[str]:
    """What can stand before the = on a command's line, without the dots."""
    known = [f.name for f in fields(COMMANDS[name].settings())]
    return [*known, *(group for group in COMMANDS[name].groups if group not in known)]


def in_one_line(name: str, error: Exception) -> str:
    """What is wrong with the command line or a YAML file of a command, with the nearest name."""
    lines = [line.strip() for line in str(error).splitlines() if not NOISE.match(line)]
    text = " ".join(filter(None, lines))
    if isinstance(error, InputError | yaml.YAMLError):
        return text
    found = re.match("In '(.*?)'", text)
    place = f"{found[1]}: " if found and found[1] not in (name, "hydra/config") else ""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return place + str(unknown(group, choice, error.options))
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, text)
    for cause in causes(error):
        schema, key = cause.object_type, str(cause.full_key)
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            if isinstance(schema, type) and is_dataclass(schema):
                choices = [f.name for f in fields(schema)] if "." in key else names(name)
                every = (s.name for _, part in sections(COMMANDS[name].settings()) for s in part)
                if deeper := [n for n in every if n.rpartition(".")[2] == key]:
                    return f"{place}{key}: no such setting; there is {listing(deeper)}"
                return place + str(unknown(key, str(cause.key), choices))
            if found := re.search(r"config use (\+.*)", str(error)):
                return (
                    f"{key}: a new name in a mapping takes a +: '{found[1]}', which joins those "
                    f"that are there; '~{key.rpartition('.')[0]}.NAME' takes one away"
                )
        merged = re.match(r"Error merging override [+~]*([\w./]+)=", str(error))
        if merged and not key.startswith(merged[1]):  # OmegaConf knows a value's place in it only
            place += merged[1] + ("" if key.startswith("[") else ".")
        return place + ill_typed(name, cause) if cause.full_key else text
    found = re.match(r"Could not [^']*'([\w/.]+)", text)
    if found and "delete" in found[0] and "." in found[1]:
        return f"{found[1]}: {found[1].rpartition('.')[0]} has nothing of this name to take away"
    if found and found[1] not in names(name):
        return str(unknown(found[1], found[1], names(name)))
    if found := re.match("Ambiguous value for argument '(.*?)=(.*?)'", text):
        return (
            f"{found[1]}={found[2]}: give -m for one run for each value, or "
            f"{found[1]}=[{found[2]}] for a list"
        )
    return text


def causes(error: BaseException | None) -> Iterator[OmegaConfBaseException]:
    """The errors of OmegaConf among an error and what caused it."""
    while error is not None:
        if isinstance(error, OmegaConfBaseException):
            yield error
        error = error.__cause__ or error.__context__


def ill_typed(name: str, error: OmegaConfBaseException) -> str:
    """For a value that its setting does not take, or that refers to nothing."""
    reason = str(error).splitlines()[0].rstrip(".")
    if isinstance(error, GrammarParseError):
        reason += r"; ${ begins a reference to a setting, and \${ stands for these two characters"
    if found := re.search('raised while resolving interpolation: "(.*)"', reason):
        return f"{error.full_key}: {found[1]}"
    if reason.endswith("is not Optional"):
        return f"{error.full_key}: null is no value of it; '~{error.full_key}' takes a name away"
    kinds = {s.name: s.kind for _, part in sections(COMMANDS[name].settings()) for s in part}
    wanted = kinds.get(str(error.full_key)) if isinstance(error, ValidationError) else None
    return f"{error.full_key}: {reason}" + (f" (give: {wanted})" if wanted else "")


def unreadable(override: str, text: str) -> str:
    """For a word of the command line that Hydra's grammar does not take."""
    setting, equals, value = override.partition("=")
    if not re.fullmatch(r"[~+]*[\w/@.:-]+", setting):
        return f"{override!r}: give SETTING=VALUE"
    if not equals:
        return f"{override}: give a value, {setting}=VALUE"
    reason = text.removeprefix(f"Error parsing override '{override}'").strip()
    return (
        f"{override}: this value cannot be read ({reason}); brackets and quotes come in pairs, and "
        f"a value with any of ,:=[]{{}}() in it stands in quotes: '{setting}=\"{value}\"'"
    )
