"""Writes docs/settings.md, with the text of `--help`: make settings."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from adapt.cli.commands import COMMANDS
from adapt.cli.help import choices, groups, meaning, settings

PREFACE = """\
# Commands and settings

For everybody who calls a command and wants to know what it can be told. This page has the same text
as `fra COMMAND --help` and is made from the same place by `make settings`.

A setting is given as `name=value`, one of a group as `group.name=value`. A choice such as
`penalty=l2_sp` sets several settings of its group at once; what is given beside it wins. Lists are
written `'[1,2]'`, mappings `'{name: value}'`, and `+` before the name of a mapping adds to it.
`-m` with several values, `seed=1,2`, makes one run for each combination of them.

`fra` lists the commands with a line each, and `fra demo` is `fra study experiment=demo`. In a
checkout `python scripts/COMMAND.py` is the same as `fra COMMAND`; torchrun starts it as `torchrun
--no-python … fra train …`.

`--dry-run` checks a command and says what it would do, without doing it or writing anything. A
training reads its data, networks, taps and penalty as before its first step, and says whether it
would start, resume or has finished. An evaluation names its run and images, and a study lists its
cells, those that are done among them. Other commands check their settings, and that what they
would read is there, and print them. Weights that are given by name, such as `imagenet`, are fetched
all the same.

In bash, `eval "$(fra -sc install=bash)"`, in `~/.bashrc` for good, lets Tab complete the names of
commands, settings and choices. Hydra has the same for fish (`fra -sc install=fish | source`) and
for zsh (bash's, after `autoload -U bashcompinit && bashcompinit`), which we have not tried.

Where stderr is no terminal, a command that takes longer than 30 s writes a line of progress every
30 s or every tenth of its way, whichever comes first: steps, loss, learning rate, steps a second,
time left. A reader that leaves (`| head`) stops nothing; the rest is dropped."""


def page() -> str:
    """The commands, their choices, and each group of settings once."""
    schemas = {name: command.settings() for name, command in COMMANDS.items()}
    text = [PREFACE, "## Commands"]
    for name, command in COMMANDS.items():
        text.append(f"### {name}\n\n{meaning(schemas[name])}")
        if command.groups:
            chosen = ", ".join(f"`{group}={choice}`" for group, choice in command.groups.items())
            text.append(f"[Choices](#choices) that it starts from: {chosen}.")
        text += parts(schemas[name])
    used = dict.fromkeys(group for command in COMMANDS.values() for group in command.groups)
    text += ["## Choices", table(("group", "choices"), [(f"`{g}`", listed(g)) for g in used])]
    text.append("## Groups")
    every = dict.fromkeys(inside for schema in schemas.values() for _, inside, _ in groups(schema))
    for schema in (inside for inside in every if inside not in schemas.values()):
        text += [f"### {heading(schema)}", meaning(schema), *parts(schema)]
    return "\n\n".join(text) + "\n"


def parts(schema: type) -> list[str]:
    """A table of a dataclass's settings, and links to its groups."""
    rows = [
        (f"`{s.name}`", s.kind, s.value and f"`{s.value}`", s.meaning) for s in settings(schema)
    ]
    links = "\n".join(
        f"- [`{name}`](#{heading(inside)}): {about}"
        for name, inside, about in groups(schema)
        if "." not in name.removesuffix(".NAME")
    )
    found = [table(("setting", "type", "default", "meaning"), rows)] if rows else []
    return [*found, *(["Groups:", links] if links else [])]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(c.replace("|", r"\|") for c in r) for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(group: str) -> str:
    return ", ".join(f"`{choice}`" for choice in choices(group))


def heading(schema: type) -> str:
    return schema.__name__.removesuffix("Config").lower()


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(page(), encoding="utf-8")
