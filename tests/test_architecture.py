"""Imports run one way, and what must stand in one place stands there only."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 400
"""Lines of a product file."""

BASE = {"adapt.errors", "adapt.settings", "adapt.machine"}
STORED = BASE | {"adapt.disk", "transforms"}
LOADED = STORED | {"adapt.data", "adapt.networks"}
METHOD = LOADED | {"adapt.objective", "adapt.penalties", "adapt.evaluation", "adapt.align"}
COMMANDS = METHOD | {
    "adapt.training",
    "adapt.shift",
    "adapt.scan",
    "adapt.analysis",
    "adapt.export",
}
MAY_IMPORT = {
    "transforms": set(),
    "adapt": set(),
    "adapt.errors": set(),
    "adapt.settings": {"adapt.errors"},
    "adapt.machine": {"adapt.errors"},
    "adapt.disk": BASE,
    "adapt.data": STORED,
    "adapt.networks": STORED,
    "adapt.align": LOADED,
    "adapt.objective": LOADED,
    "adapt.penalties": LOADED,
    "adapt.evaluation": LOADED | {"adapt.objective"},
    "adapt.scan": LOADED | {"adapt.align"},
    "adapt.training": METHOD,
    "adapt.shift": METHOD,
    "adapt.analysis": METHOD,
    "adapt.export": METHOD | {"adapt.training"},
    "adapt.study": COMMANDS,
    "viz": COMMANDS | {"adapt.study"},
    "adapt.api": COMMANDS | {"viz"},
    "adapt.cli": COMMANDS | {"adapt.study", "viz"},
    "scripts": COMMANDS | {"adapt.cli"},
    "results.page": COMMANDS | {"adapt.study", "viz"},
}
"""A package a row: what it may import beside itself."""

ONLY_IN = {
    "hydra": ("adapt/cli",),
    "omegaconf": ("adapt/cli",),
    "matplotlib": ("viz", "results/page"),
    "numba": ("transforms/loops.py",),
    "albumentations": ("adapt/data/augment.py", "transforms/albumentations.py"),
}
FOLDERS = ("transforms", "adapt", "viz", "scripts", "results/page")
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> set[str]:
    """Dotted names of every import in a file, wherever it stands."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package(dotted: str) -> str | None:
    """The row of MAY_IMPORT that a module, or a name in it, belongs to; None = not ours."""
    parts = dotted.split(".")
    rows = (".".join(parts[:n]) for n in (2, 1))
    return next((row for row in rows if row in MAY_IMPORT), None)


def calls(path: Path) -> set[str]:
    """Dotted names of everything that a file calls."""
    return {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_run_one_way(path: Path) -> None:
    own = package(name(path).removesuffix(".py").replace("/", "."))
    assert own
    wrong = {
        m for m in imported(path) if (row := package(m)) and row not in {own} | MAY_IMPORT[own]
    }
    assert not wrong, f"{own} must not import {wrong}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_edge_libraries_stay_at_the_edge(path: Path) -> None:
    used = {module.split(".")[0] for module in imported(path)}
    for library, places in ONLY_IN.items():
        if library in used:
            assert name(path).startswith(places), f"{library} belongs into {places}"


def test_images_and_checkpoints_are_opened_in_one_place() -> None:
    sources = [p for p in FILES if not name(p).startswith("viz")]
    assert [name(p) for p in sources if "Image.open" in calls(p)] == ["adapt/data/formats.py"]
    assert [name(p) for p in FILES if "torch.load" in calls(p)] == ["adapt/disk/tensors.py"]


def test_files_stay_small() -> None:
    long = {name(p): n for p in FILES if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long


def is_compiled(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(d, ast.Name) and d.id == "compiled" for d in node.decorator_list
    )


@pytest.mark.parametrize("path", [p for p in FILES if "transforms" in name(p)], ids=name)
def test_compiled_functions_keep_to_their_own_file(path: Path) -> None:
    """What numba keeps on disk is only made anew when the function's own file changes."""
    foreign = {
        alias.name
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transforms")
        for alias in node.names
    }
    for function in filter(is_compiled, nodes(path)):
        assert isinstance(function, ast.FunctionDef)
        used = {n.id for part in function.body for n in ast.walk(part) if isinstance(n, ast.Name)}
        assert not used & foreign, f"{function.name} uses {used & foreign} of another file"
