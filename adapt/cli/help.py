"""What each setting means: names, types and defaults of the dataclasses in adapt.settings, and the
docstrings below their fields. `--help` prints it; docs/make_settings.py writes docs/settings.md."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import Field, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import yaml

from adapt.cli.commands import COMMANDS
from adapt.settings.checks import Range, hints
from adapt.settings.mapping import EXPLICIT, default_of
from adapt.settings.presets import CHOICES, CONFIGS

TYPES = {int: "whole number", float: "number", str: "text", bool: "true | false", Any: "anything"}
LAST = ("device", "precision", "workers")
"""Settings of the machine come after the others."""
COLUMN, WIDTH = 30, 100
"""Where the meanings begin and end."""
paragraph = partial(fill, width=WIDTH, break_on_hyphens=False)
USAGE = """\
  fra {0} SETTING=VALUE ...              in a checkout also python scripts/{0}.py
  fra {0} SETTING=VALUE,VALUE ... -m     one run for each combination of values
  fra {0} SETTING=VALUE ... --dry-run    check all of it, say what would be done, and end
  fra {0} SETTING=VALUE ... --help       this page with the values that these give
  fra {0} SETTING=VALUE ... --cfg job    all values as YAML
  --config-dir DIR: a folder like configs/ with choices of your own
"""


class Setting(NamedTuple):
    """What is said of one setting."""

    name: str
    kind: str
    """Type and choices."""
    value: str
    meaning: str


@cache
def docstrings(module: str) -> dict[str, dict[str, str]]:
    """The docstrings of a module's classes ('') and of their fields, each in one line."""
    found: dict[str, dict[str, str]] = {}
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8"))
    for made in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        own = found[made.name] = {"": " ".join((ast.get_docstring(made) or "").split())}
        for node, below in zip(made.body, made.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
                own[ast.unparse(node.target)] = " ".join(ast.literal_eval(below.value).split())
    return found


def meaning(schema: type, name: str = "") -> str:
    """The docstring of a dataclass, or of one of its fields, wherever that is inherited from."""
    every = (docstrings(base.__module__).get(base.__name__, {}) for base in schema.__mro__[:-1])
    return next((own[name] for own in every if own.get(name)), "")


def first_sentence(text: str) -> str:
    """Up to the first full stop that is not of `et al.` or `...`"""
    return re.split(r"(?<!et al)(?<!\.\.)\. ", text)[0].rstrip(".") + "."


def kind(hint: Any) -> str:
    """Type and choices of an annotation."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{kind(inner[0])} {inner[1]}" if isinstance(inner[1], Range) else str(inner[1])
    if origin is list:
        return f"[{kind(inner[0])}, ...]"
    return f"{{name: {kind(inner[1])}}}" if origin is dict else TYPES[hint]


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n...")[0].strip()


def group_of(hint: Any) -> type | None:
    """The dataclass of a group of settings, or of groups by name."""
    schema = get_args(hint)[1] if get_origin(hint) is dict else hint
    return schema if isinstance(schema, type) and is_dataclass(schema) else None


def given_fields(schema: Any) -> list[Field]:
    """The fields that a user sets."""
    return sorted((f for f in fields(schema) if f.name != EXPLICIT), key=lambda f: f.name in LAST)


def settings(schema: type, values: Any = None, before: str = "") -> Iterator[Setting]:
    """The settings of a dataclass without its groups, with their defaults or these values."""
    for f in given_fields(schema):
        if group_of(hint := hints(schema)[f.name]) is None:
            value = shown((values or {}).get(f.name, default_of(f)))
            yield Setting(before + f.name, kind(hint), value, meaning(schema, f.name))


def groups(schema: type, before: str = "") -> Iterator[tuple[str, type, str]]:
    """The groups of settings in a dataclass, those inside groups included: name with dots, the
    group's dataclass, and what it means there."""
    for f in given_fields(schema):
        if found := group_of(hint := hints(schema)[f.name]):
            name = f"{before}{f.name}" + (".NAME" if get_origin(hint) is dict else "")
            yield name, found, meaning(schema, f.name) or meaning(found)
            yield from groups(found, f"{name}.")


def choices(group: str, folders: Iterable[Path] = (CONFIGS,)) -> list[str]:
    """What `group=` can be."""
    files = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted({*CHOICES.get(group, ()), *files})


def help_page(name: str, values: Any, chosen: dict[str, str], folders: Iterable[Path]) -> str:
    """The page of a command's `--help`.

    Args:
        name: of the command.
        values: its settings as composed.
        chosen: the choice of each of its groups.
        folders: those that choices are read from, configs/ and the like.
    """
    schema = COMMANDS[name].settings()
    lines = [paragraph(meaning(schema)), "", USAGE.format(name)]
    if chosen:
        lines.append("Choices, each of which sets several of the settings below at once")
    for group, choice in chosen.items():
        lines.append(entry(f"{group}={choice}", f"<{' | '.join(choices(group, folders))}>"))
    for about, part in sections(schema, values):
        lines += ["", paragraph(about)]
        for s in part:
            lines.append(entry(f"{s.name}={s.value}", f"{first_sentence(s.meaning)} <{s.kind}>"))
    return "\n".join(lines)


def sections(schema: type, values: Any = None) -> Iterator[tuple[str, list[Setting]]]:
    """The settings of a dataclass, then those of each group in it: what they are about, and they
    themselves, with their defaults or these values."""
    yield "Settings", list(settings(schema, values))
    for group, inside, about in groups(schema):
        part = values
        for key in group.split("."):
            part = (part or {}).get(key)
        if found := list(settings(inside, part, f"{group}.")):
            yield f"{group}: {first_sentence(about)}", found


def entry(head: str, text: str) -> str:
    """The head in its column, or in a line of its own, and the text beside it."""
    gap = " " * COLUMN
    if len(head) > COLUMN - 4:
        return f"  {head}\n{paragraph(text, initial_indent=gap, subsequent_indent=gap)}"
    return paragraph(text, initial_indent=f"  {head}".ljust(COLUMN), subsequent_indent=gap)
