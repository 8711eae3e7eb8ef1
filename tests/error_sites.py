"""Where the product refuses something, found in its source, and a recorder of what it says."""

import ast
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("adapt", "viz", "transforms", "scripts")
ANYTHING = r"[\s\S]*"
EITHER = re.compile(r"\(\?:((?:[^()\\]|\\.)*)\)")
"""Alternatives in a pattern."""
INTERNAL = (
    "AssertionError", "BrokenError", "MatError", "RuntimeError", "CompactHydraException", "OSError",
    "KeyboardInterrupt",
)  # fmt: skip
"""Errors for ourselves, or for a caller that adds the file's name or explains them."""
MAKERS = ("unknown", "differing")
"""Functions that return an error for their caller to raise."""


@dataclass(frozen=True)
class Site:
    """One `raise` of a new error."""

    file: str
    """Relative to the repository's root."""
    function: str
    """Dotted name within the file."""
    first: int
    last: int
    """Its lines."""
    pattern: str
    """Regular expression of its messages: the constant parts, and anything between them."""

    @property
    def key(self) -> str:
        return f"{self.file} {self.function}"

    @property
    def weight(self) -> int:
        """How much of the message is constant at least."""
        return len(EITHER.sub(lambda found: min(found[1].split("|"), key=len), self.words))

    @property
    def relays(self) -> bool:
        """Has its message no words of its own, because it passes on that of another error?"""
        return self.weight < 3

    @property
    def words(self) -> str:
        return self.pattern.replace(ANYTHING, "")

    def fits(self, message: str) -> bool:
        return re.fullmatch(self.pattern, message) is not None


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def sources() -> list[Path]:
    return sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))


Texts = dict[str, list[ast.AST]]
"""Name -> every expression that it is set to."""


@cache
def made_by(maker: str) -> str:
    """Pattern of what a function of MAKERS returns."""
    (found,) = (
        pattern(node.value, {})
        for path in sources()
        for function in ast.walk(parsed(path))
        if isinstance(function, ast.FunctionDef) and function.name == maker
        for node in ast.walk(function)
        if isinstance(node, ast.Return)
    )
    return found


def pattern(node: ast.AST | None, named: Texts) -> str:
    """Of an expression: the text that it can become. Of an error: its message."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern(part, named) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        numeric = any(isinstance(n, ast.Constant) and not isinstance(n.value, str)
                      for n in (node.left, node.right))  # fmt: skip
        return ANYTHING if numeric else pattern(node.left, named) + pattern(node.right, named)
    if isinstance(node, ast.IfExp):
        either = {pattern(part, named): None for part in (node.body, node.orelse)}
        return next(iter(either)) if len(either) == 1 else f"(?:{'|'.join(either)})"
    if isinstance(node, ast.FormattedValue) and node.conversion < 0 and not node.format_spec:
        return pattern(node.value, named)
    if isinstance(node, ast.Name) and len(texts := named.get(node.id, [])) == 1:
        return pattern(texts[0], {k: v for k, v in named.items() if k != node.id})
    if isinstance(node, ast.Call) and node.args:
        name = ast.unparse(node.func)
        if name in MAKERS:
            parts = (pattern(a, named) for a in node.args if not isinstance(a, ast.Name))
            return "".join(f"(?={ANYTHING}{p})" for p in parts if p != ANYTHING) + made_by(name)
        if name[:1].isupper() and name != "Path":
            return pattern(node.args[0], named)
    return ANYTHING


def texts_in(function: ast.AST) -> Texts:
    """What a function's names are set to. A name that is set in no plain way has no text here."""
    found: dict[str, list[ast.AST]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name):
                        plain = part is target and not isinstance(node, ast.AugAssign)
                        value = node.value if plain and node.value else ast.Pass()
                        found.setdefault(part.id, []).append(value)
        elif isinstance(node, ast.For | ast.comprehension | ast.withitem | ast.arg):
            target = getattr(node, "target", None) or getattr(node, "optional_vars", None)
            names = [node.arg] if isinstance(node, ast.arg) else [
                n.id for n in ast.walk(target or ast.Pass()) if isinstance(n, ast.Name)
            ]  # fmt: skip
            for name in names:
                found.setdefault(name, []).append(ast.Pass())
    return found


@cache
def catches(path: Path) -> bool:
    """Does a file catch ValueErrors, so that its own are for itself?"""
    handlers = [n.type for n in ast.walk(parsed(path)) if isinstance(n, ast.ExceptHandler)]
    return any(kind and "ValueError" in ast.unparse(kind) for kind in handlers)


def told(node: ast.Raise, path: Path) -> bool:
    """Is it a new error, for whoever gave the input?"""
    kind = ast.unparse(node.exc.func) if isinstance(node.exc, ast.Call) else "AssertionError"
    return kind not in INTERNAL and not (kind == "ValueError" and catches(path))


def sites_in(path: Path) -> list[Site]:
    """In the order of the source."""
    file, found = path.relative_to(ROOT).as_posix(), []

    def visit(node: ast.AST, names: tuple[str, ...], texts: Texts) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names, texts = (*names, node.name), texts | texts_in(node)
        if isinstance(node, ast.Raise) and told(node, path):
            lines = (node.lineno, node.end_lineno or node.lineno)
            found.append(Site(file, ".".join(names), *lines, pattern(node.exc, texts)))
        for child in ast.iter_child_nodes(node):
            visit(child, names, texts)

    visit(parsed(path), (), {})
    return found


@cache
def sites() -> list[Site]:
    """Every one of the product but for relays, in the order of files and lines."""
    return [site for path in sources() for site in sites_in(path) if not site.relays]


@cache
def relays() -> list[Site]:
    return [site for path in sources() for site in sites_in(path) if site.relays]


@cache
def by_line() -> dict[tuple[str, int], Site]:
    return {
        (str(ROOT / site.file), line): site
        for site in sites()
        for line in range(site.first, site.last + 1)
    }


def site_under_way() -> Site | None:
    """The innermost `raise` of the product that is being executed."""
    frame = sys._getframe(1)
    while frame is not None:
        if site := by_line().get((frame.f_code.co_filename, frame.f_lineno)):
            return site
        frame = frame.f_back  # type: ignore[assignment]
    return None


def shortened(message: str) -> str:
    """Without the folders of this machine."""
    temporary = rf"{re.escape(tempfile.gettempdir())}/pytest-of-[^/]+/pytest-\d+"
    for folder, name in (
        (rf"{temporary}/(popen-gw\d+/)?[^/\s,;:'\")]+", "DIR"),
        (re.escape(str(ROOT)), "HERE"),
        (re.escape(str(Path.home())), "~"),
    ):
        message = re.sub(rf"(?<![\w.]){folder}", name, message)
    return message.replace("\0", "\\0")


def record(to: Path) -> None:
    """From now on append the `raise` and the message of every error of this process to a file.

    InputError and Stopped are told apart from others by their class; a module that raises
    ValueError for its caller, and catches none, gets one of its own that is recorded likewise.
    """
    from adapt.errors import InputError, Stopped

    seen = set()

    def note(error: Exception) -> None:
        site = site_under_way()
        line = site and json.dumps([site.key, shortened(str(error))])
        if line and line not in seen:
            seen.add(line)
            with to.open("a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")

    def noted(kind: type[Exception]) -> None:
        made = kind.__init__

        def init(self: Exception, *given: Any, **named: Any) -> None:
            made(self, *given, **named)
            note(self)

        kind.__init__ = init  # type: ignore[method-assign]

    noted(InputError)
    noted(Stopped)
    for path in sources():
        raised = {ast.unparse(n.exc.func) for n in ast.walk(parsed(path))
                  if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)}  # fmt: skip
        if "ValueError" in raised and not catches(path):
            parts = path.relative_to(ROOT).with_suffix("").parts
            own = type("ValueError", (ValueError,), {})
            noted(own)
            import_module(".".join(parts)).ValueError = own  # type: ignore[attr-defined]
