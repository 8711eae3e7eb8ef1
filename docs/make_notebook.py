"""Runs docs/python.ipynb, writes what it printed into it, and makes docs/python.md: make notebook.

python docs/make_notebook.py [NAME=NUMBER ...]    # sets constants of its cells, STEPS=2 say
"""

import ast
import io
import json
import re
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
NOTEBOOK = ROOT / "docs/python.ipynb"


def executed(notebook: dict[str, Any], **constants: int) -> dict[str, Any]:
    """The notebook with the text that its cells print, run in a folder of its own; what they say on
    standard error is left out."""
    scope: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work, chdir(work):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                code = "".join(cell["source"])
                for name, value in constants.items():
                    code = re.sub(rf"^{name} = \d+", f"{name} = {value}", code, flags=re.MULTILINE)
                printed = io.StringIO()
                with redirect_stdout(printed):
                    exec(compile(ast.parse(code), "python.ipynb", "exec"), scope)
                said = printed.getvalue().replace(f"{Path(work).resolve()}/", "")
                text = said.splitlines(keepends=True)
                stream = {"name": "stdout", "output_type": "stream", "text": text}
                cell["outputs"] = [stream] if text else []
    return notebook


def page(notebook: dict[str, Any]) -> str:
    """The notebook as Markdown."""
    text = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        text.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            text.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
    return "\n\n".join(text) + "\n"


def main() -> None:
    constants = {k: int(v) for k, _, v in (a.partition("=") for a in sys.argv[1:])}
    notebook = executed(json.loads(NOTEBOOK.read_text(encoding="utf-8")), **constants)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")
    NOTEBOOK.with_suffix(".md").write_text(page(notebook), encoding="utf-8")


if __name__ == "__main__":
    main()
