"""A user's own modules named as this project's: `adapt`, `transforms` or `viz` in their folder."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OURS = ("adapt", "transforms", "viz")
LATE = f"of {', '.join(OURS)} only what is imported before the factory returns can be your own"
ROOT = Path(__file__).resolve().parents[2]

_theirs: dict[Path, dict[str, ModuleType]] = {}
"""By folder: the user's modules under this project's names, while these mean the project's."""


class OwnFirst(MetaPathFinder):
    """Finds some top-level modules in a folder, whatever else has their names."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = str(folder), names

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self.folder]) if name in self.names else None


@contextmanager
def own_first(folder: Path) -> Iterator[None]:
    """Inside, the folder comes first on the path, and its own modules hide this project's of the
    same name; afterwards it comes last, and these names mean the project's again."""
    here, names = str(folder), [n for n in OURS if folder != ROOT and is_module(folder, n)]
    for name in names:  # the project's, before the folder is on the path
        import_module(name)

    def taken() -> dict[str, ModuleType]:
        return {k: sys.modules.pop(k) for k in [*sys.modules] if k.partition(".")[0] in names}

    finder, ours = OwnFirst(folder, names), taken()
    sys.modules.update(_theirs.get(folder, {}))
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.meta_path.remove(finder)
        _theirs[folder] = taken()
        sys.modules.update(ours)
        if here not in sys.path:
            sys.path.append(here)


def is_module(folder: Path, name: str) -> bool:
    """Has the folder a module or a package of this name, and not only data?"""
    return (folder / f"{name}.py").is_file() or any((folder / name).glob("*.py"))
