"""The console command `fra`: every command by its name, as the script of that name does it."""

import os
import re
import sys
from importlib.metadata import version

from adapt.cli.commands import COMMANDS
from adapt.cli.help import first_sentence, meaning
from adapt.errors import InputError, unknown
from adapt.machine.streams import keep_streams

SHORT = {"demo": ("study", "experiment=demo")}
"""Names of a command with a setting."""
PAGE = """\
Adapt a segmentation network to a new camera, season or scanner from unlabelled image pairs.

  fra COMMAND SETTING=VALUE ...
  fra COMMAND --help                every setting of a command
  fra --version
  eval "$(fra -sc install=bash)"    completion of commands and settings in bash
"""


def help_page() -> str:
    """The page of `fra --help`: all commands with a line each."""
    lines = {name: meaning(command.settings()) for name, command in COMMANDS.items()}
    lines |= {name: f"The same as {' '.join(same)}." for name, same in SHORT.items()}
    told = (f"  {name:20}{first_sentence(text)}" for name, text in lines.items())
    return "\n".join([PAGE, *told])


def complete() -> None:
    """Answer a shell, which has the line so far in COMP_LINE: the names of the commands, or what
    Hydra knows of the settings of the one that stands there."""
    command = re.match(r"\s*\S+\s+(\S+)\s+(.*)", os.environ.get("COMP_LINE", ""), re.DOTALL)
    if command is None:
        print("\n".join([*COMMANDS, *SHORT]))
    elif command[1] in (*COMMANDS, *SHORT):
        os.environ["COMP_LINE"] = f"fra {command[2]}"
        call(command[1])


def call(name: str) -> None:
    """Do a command with what else stands on the command line."""
    name, *given = SHORT.get(name, (name,))
    sys.argv[1:1] = given
    from adapt.cli.main import main as perform  # Hydra is not needed before

    perform(name)


def main() -> None:
    """`fra NAME ...`; a name that is not known is answered with the nearest one and status 2."""
    keep_streams()
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if first in ("--help", "-h"):
        print(help_page())
    elif first == "--version":
        print(version("feature-regression-adaptation"))
    elif first in ("-sc", "--shell-completion"):
        complete() if any(a.startswith("query=") for a in sys.argv) else call("train")
    elif first in (*COMMANDS, *SHORT):
        del sys.argv[1]
        call(first)
    else:
        print(f"error: {unknown('fra', first, (*COMMANDS, *SHORT))}", file=sys.stderr)
        sys.exit(InputError.status)
