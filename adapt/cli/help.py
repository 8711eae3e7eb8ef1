"""What each setting means, for `--help` and for docs/settings.md.

Names, types and defaults come from the dataclasses in adapt.settings, the meanings from the
docstrings below their fields. `python -m adapt.cli.help` prints the page (`make settings`).
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import yaml

from adapt.cli.commands import CHOICES, COMMANDS
from adapt.settings.checks import OneOf, Pixels, hints
from adapt.settings.mapping import EXPLICIT

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TYPES = {int: "whole number", float: "number", str: "text", bool: "true | false", Any: "anything"}
COLUMN, WIDTH = 30, 100
"""Of `--help`: where the meanings begin and end."""
USAGE = """\
  python scripts/{0}.py SETTING=VALUE ...
  python scripts/{0}.py SETTING=VALUE,VALUE ... -m       one run for each combination of values
  python scripts/{0}.py SETTING=VALUE ... --help         this page, with the values that these give
  python scripts/{0}.py SETTING=VALUE ... --cfg job      all values as YAML
  --config-dir DIR                                      a folder like configs/ with choices of yours
"""
PREFACE = """\
# Commands and settings

For everybody who calls a command and wants to know what it can be told. This page has the same text
as `python scripts/COMMAND.py --help` and is made from the same place by `make settings`.

A setting is given as `name=value`, one of a group as `group.name=value`. A choice such as
`penalty=l2_sp` sets several settings of its group at once; what is given beside it wins. Lists are
written `'[1,2]'`, mappings `'{name: value}'`, and `+` before the name of a mapping adds to it.
`-m` with several values, `seed=1,2`, makes one run for each combination of them."""


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
                text = str(ast.literal_eval(below.value))
                own[ast.unparse(node.target)] = " ".join(text.split())
    return found


def meaning(schema: type, name: str = "") -> str:
    """The docstring of a dataclass, or of one of its fields, wherever that is inherited from."""
    every = (docstrings(base.__module__).get(base.__name__, {}) for base in schema.__mro__[:-1])
    return next((own[name] for own in every if own.get(name)), "")


def first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".") + "."


def kind(hint: Any) -> str:
    """Type and choices of an annotation."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rule = inner[1]
        return str(rule) if isinstance(rule, OneOf | Pixels) else f"{kind(inner[0])} {rule}"
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


def own_fields(schema: type) -> list[Field]:
    """The fields that a user sets, the inherited ones last."""
    base = {f.name for b in schema.__mro__[1:] if is_dataclass(b) for f in fields(b)}
    return sorted((f for f in fields(schema) if f.name != EXPLICIT), key=lambda f: f.name in base)


def settings(schema: type, values: Any = None, before: str = "") -> Iterator[Setting]:
    """The settings of a dataclass without its groups, with their defaults or these values."""
    for f in own_fields(schema):
        hint = hints(schema)[f.name]
        if group_of(hint) is None:
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            value = (values or {}).get(f.name, default)
            yield Setting(before + f.name, kind(hint), shown(value), meaning(schema, f.name))


def groups(schema: type, before: str = "") -> Iterator[tuple[str, type, str]]:
    """The groups of settings in a dataclass, those inside groups included: name with dots, the
    group's dataclass, and what it means there."""
    for f in own_fields(schema):
        hint = hints(schema)[f.name]
        if found := group_of(hint):
            name = f"{before}{f.name}" + (".NAME" if get_origin(hint) is dict else "")
            yield name, found, meaning(schema, f.name) or meaning(found)
            yield from groups(found, f"{name}.")


def choices(group: str, folders: Iterable[Path] = (CONFIGS,)) -> list[str]:
    """What `group=` can be."""
    files = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted({*CHOICES.get(group, ()), *files})


def as_text(name: str, values: Any, chosen: dict[str, str], folders: Iterable[Path]) -> str:
    """The page of a command's `--help`.

    Args:
        name: of the command.
        values: its settings as composed.
        chosen: the choice of each of its groups.
        folders: those that choices are read from, configs/ and the like.
    """
    schema = COMMANDS[name].settings()
    lines = [fill(COMMANDS[name].does, WIDTH), "", USAGE.format(name), "Settings"]
    lines += map(line, settings(schema, values))
    if chosen:
        lines += ["", "Choices, each of which sets several of the settings below at once"]
    for group, choice in chosen.items():
        lines.append(entry(f"{group}={choice}", f"<{' | '.join(choices(group, folders))}>"))
    for group, inside, about in groups(schema):
        part = values
        for key in group.split("."):
            part = (part or {}).get(key)
        if rows := list(settings(inside, part, f"{group}.")):
            lines += ["", fill(f"{group}: {first_sentence(about)}", WIDTH), *map(line, rows)]
    return "\n".join(lines)


def line(of: Setting) -> str:
    return entry(f"{of.name}={of.value}", f"{first_sentence(of.meaning)} <{of.kind}>")


def entry(head: str, text: str) -> str:
    """The head in its column, or in a line of its own, and the text beside it."""
    gap = " " * COLUMN
    if len(head) > COLUMN - 4:
        return f"  {head}\n{fill(text, WIDTH, initial_indent=gap, subsequent_indent=gap)}"
    return fill(text, WIDTH, initial_indent=f"  {head}".ljust(COLUMN), subsequent_indent=gap)


def page() -> str:
    """docs/settings.md: the commands, their choices, and each group of settings once."""
    text, done = [PREFACE, "## Commands"], {}
    for name, command in COMMANDS.items():
        schema = command.settings()
        text.append(f"### {name}\n\n{command.does}")
        if command.groups:
            chosen = ", ".join(f"`{group}={choice}`" for group, choice in command.groups.items())
            text.append(f"[Choices](#choices) that it starts from: {chosen}.")
        if schema in done:
            other = ", ".join(f"`{key}={shown(value)}`" for key, value in command.values.items())
            text.append(f"Its settings are those of [{done[schema]}](#{done[schema]}); {other}.")
        else:
            done[schema] = name
            text.append(section(schema))
    used = dict.fromkeys(group for command in COMMANDS.values() for group in command.groups)
    rows = [f"| `{group}` | {', '.join(f'`{c}`' for c in choices(group))} |" for group in used]
    text += ["## Choices", "\n".join(["| group | choices |", "|---|---|", *rows]), "## Groups"]
    for command in COMMANDS.values():
        for _, schema, _ in groups(command.settings()):
            if schema not in done:
                done[schema] = heading(schema)
                text.append(f"### {heading(schema)}\n\n{meaning(schema)}\n\n{section(schema)}")
    return "\n\n".join(text) + "\n"


def heading(schema: type) -> str:
    return schema.__name__.removesuffix("Config").lower()


def section(schema: type) -> str:
    """The table of a dataclass's settings, and links to its groups."""
    parts = []
    if found := list(settings(schema)):
        cells = [(f"`{s.name}`", s.kind, s.value and f"`{s.value}`", s.meaning) for s in found]
        rows = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in cells]
        parts.append("| setting | type | default | meaning |\n|---|---|---|---|")
        parts[0] += "".join(f"\n| {row} |" for row in rows)
    links = [
        f"- [`{name}`](#{heading(inside)}): {about}"
        for name, inside, about in groups(schema)
        if name.removesuffix(".NAME").count(".") == 0
    ]
    return "\n\n".join([*parts, *(["Groups:\n\n" + "\n".join(links)] if links else [])])


if __name__ == "__main__":
    print(page(), end="")
