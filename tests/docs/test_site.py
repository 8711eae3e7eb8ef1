"""The documentation: its site is built, every page is in it, and no link is dead."""

import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SNIPPET = re.compile(r'^--8<-- "(.+?):(\d+):"$', re.MULTILINE)
"""`--8<-- "FILE:LINE:"` stands for the file from this line on."""


def place(page: Path) -> str:
    return page.relative_to(ROOT if page.parent == ROOT else DOCS).as_posix()


def text_of(page: Path) -> str:
    """A page with the files that it includes and without its blocks of code."""

    def included(found: re.Match[str]) -> str:
        return "\n".join((ROOT / found[1]).read_text().splitlines()[int(found[2]) - 1 :])

    text = SNIPPET.sub(included, page.read_text())
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that the site gives to a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        words = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", words))
    return found


def pages_of(nav: object) -> Iterator[str]:
    """The files that a part of the navigation names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[attr-defined]
            yield from pages_of(part)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages_of(nav)) == sorted(map(place, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_a_page_begins_with_a_heading_and_a_sentence(page: Path) -> None:
    heading, first, *_ = page.read_text().split("\n\n")
    assert re.fullmatch("# .+", heading)
    assert re.match(r"[A-Z][^|]+\w[.?](\s|$)", first), first


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=place)
def test_no_link_is_dead(page: Path) -> None:
    """A page of the site links to other pages and to files beside them, never out of docs/."""
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", text_of(page))):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert page.parent == ROOT or target.is_relative_to(DOCS), f"{link} leads out of docs/"
        assert not anchor or anchor in anchors(target), link


@pytest.mark.system
@pytest.mark.skipif(find_spec("zensical") is None, reason="zensical is not installed")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in ("mkdocs.yml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        built = (tmp_path / "site" / place(page)).with_suffix(".html").read_text()
        assert all(f'id="{anchor}"' in built for anchor in anchors(page)), page
        assert "--8<--" not in built, page
    rules = anchors(ROOT / "CONTRIBUTING.md") - {"contributing"}
    assert rules and rules < anchors(DOCS / "develop.md"), "the site has the repository's page"
