"""Imports run one way, and what must stand in one place stands there only."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "transforms": {"transforms"},
    "adapt": {"adapt", "transforms"},
    "viz": {"adapt", "transforms", "viz"},
    "scripts": {"adapt", "transforms", "viz", "scripts"},
}
ONLY_IN = {
    "hydra": ("scripts",),
    "omegaconf": ("scripts",),
    "matplotlib": ("viz",),
    "albumentations": ("adapt/augment.py", "transforms"),
}
FILES = sorted(p for folder in MAY_IMPORT for p in (ROOT / folder).rglob("*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> set[str]:
    """Top-level names of every import in a file, wherever it stands."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def calls(path: Path) -> set[str]:
    """Dotted names of everything that a file calls."""
    return {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_run_one_way(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    wrong = (imported(path) & MAY_IMPORT.keys()) - MAY_IMPORT[folder]
    assert not wrong, f"{folder} must not import {wrong}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_edge_libraries_stay_at_the_edge(path: Path) -> None:
    for library, places in ONLY_IN.items():
        if library in imported(path):
            assert name(path).startswith(places), f"{library} belongs into {places}"


def test_images_and_checkpoints_are_opened_in_one_place() -> None:
    sources = [p for p in FILES if p.parts[-2] != "viz"]
    assert [name(p) for p in sources if "Image.open" in calls(p)] == ["adapt/images.py"]
    assert [name(p) for p in FILES if "torch.load" in calls(p)] == ["adapt/tensors.py"]


def test_files_stay_small() -> None:
    """The house rule is about 250 lines."""
    long = {name(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 260}
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
