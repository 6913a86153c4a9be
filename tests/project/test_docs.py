"""The examples in docstrings are right; the documentation site is built without a warning and has no dead link."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ..conftest import ROOT
from .pages import blocks

_FOLDERS = {"berg_jax": "berg_jax", "berg_jax.convert": "convert", "berg_jax.experiments": "experiments"}
_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}  # without a click

BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def _modules() -> dict[str, Path]:
    found = {}
    for package, folder in _FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def _modules_with_examples() -> list[str]:
    return [name for name, path in _modules().items() if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.docs
@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples(name: str, demo: Path) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


class _Page(HTMLParser):
    """A page's anchors, links, and what a browser loads with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.anchors, self.links, self.loaded = path, {""}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attributes}
        self.anchors |= {held[name] for name in ("id", "name") if name in held}
        if tag == "a" and "href" in held:
            self.links.append(held["href"])
        if tag in _LOADED and _LOADED[tag] in held:
            self.loaded.append(held[_LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, _Page]:
    """The pages of the site, built anew by the contributing page's command, into another folder."""
    (command,) = (
        line
        for block in blocks(ROOT / "docs" / "contributing" / "index.md", "bash")
        for line in block.splitlines()
        if line.startswith("python -m sphinx")
    )
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "-W --keep-going" in command
    folder = tmp_path_factory.mktemp("site").resolve()
    arguments = [str(folder) if word == "docs/_build/html" else word for word in command.split()[1:]]
    run = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {path: _Page(path) for path in folder.rglob("*.html") if "_static" not in path.parts}


def _dead(site: dict[Path, _Page], page: _Page, link: str) -> bool:
    """Whether a link within the site leads nowhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    if target not in site:
        return not target.is_file()
    return unquote(parts.fragment) not in site[target].anchors


@pytest.mark.docs
def test_no_link_is_dead(site: dict[Path, _Page]) -> None:
    dead = {
        f"{page.path.name}: {link}"
        for page in site.values()
        for link in [*page.links, *page.loaded]
        if _dead(site, page, link)
    }
    assert sum(len(page.links) for page in site.values()) > 1000
    assert dead == set()


@pytest.mark.docs
def test_nothing_is_loaded_from_elsewhere(site: dict[Path, _Page]) -> None:
    elsewhere = {link for page in site.values() for link in page.loaded if urlsplit(link).netloc}
    assert elsewhere <= {BADGE}  # the notebooks', for which one needs the network anyway


@pytest.mark.docs
def test_every_module_has_a_page_that_others_lead_to(site: dict[Path, _Page]) -> None:
    reached = {
        (page.path.parent / unquote(urlsplit(link).path)).resolve()
        for page in site.values()
        for link in page.links
        if urlsplit(link).path and not urlsplit(link).netloc
    }
    pages = {path.stem for path in site if path.parent.name == "api" and path in reached}
    assert pages >= set(_modules())
    for path, page in site.items():
        if path.parent.name == "api" and path.stem in _modules():
            assert f"module-{path.stem}" in page.anchors
