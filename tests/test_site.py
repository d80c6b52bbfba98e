"""The API site, made by the command in CONTRIBUTING.md: all that is public is on it, and no link is broken."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import walle
from tests.test_docs import GUIDES

ROOT = Path(__file__).parents[1]
WITHOUT_A_NETWORK = """
import runpy, socket, sys

def refuse(*arguments):
    raise OSError("there is no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
sys.argv[0] = "pdoc"
runpy.run_module("pdoc", run_name="__main__")
"""


class Page(HTMLParser):
    """What a page has: its anchors, where it links to, what it loads, and the docstring below each anchor."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.docstrings: dict[str, str] = {}
        self.headings: dict[str, list[str]] = {}
        self._section = ""
        self._depth = 0  # of <div> in a docstring
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.anchors.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and "href" in found:
            self.loaded.append(found["href"])
        if "src" in found:
            self.loaded.append(found["src"])
        if tag == "section" or "classattr" in found.get("class", "").split():
            self._section = found.get("id", "")
        if tag == "div" and (self._depth or "docstring" in found.get("class", "").split()):
            self._depth += 1
        self._heading = self._depth > 0 and tag == "h6"

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._depth:
            self._depth -= 1
        self._heading = False

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.docstrings[self._section] = self.docstrings.get(self._section, "") + data
        if self._heading:
            self.headings.setdefault(self._section, []).append(data)


def command() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(r"^python -m pdoc (.*?)\n```", text, re.MULTILINE | re.DOTALL)
    assert found
    return shlex.split(found[1].replace("\\\n", " "))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The pages by their path."""
    folder = tmp_path_factory.mktemp("site")
    arguments = command()
    arguments[arguments.index("-o") + 1] = str(folder)
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_A_NETWORK, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return {path.relative_to(folder): Page(path.read_text()) for path in folder.rglob("*.html")}


def test_every_public_name_is_on_the_site(site: dict[Path, Page]) -> None:
    assert set(walle.__all__) <= site[Path("walle.html")].anchors
    for guide in GUIDES:
        assert f"walle/{guide}.html" in site[Path("walle.html")].links


def test_every_method_of_the_store_is_on_the_site_with_its_docstring(site: dict[Path, Page]) -> None:
    page = site[Path("walle/store.html")]
    store = walle.connect()
    methods = {
        f"{kind.__name__}.{name}"
        for part in (store, store.bars, store.orders, store.fills, store.runs, store.events)
        for kind in type(part).__mro__
        for name, value in vars(kind).items()
        if not name.startswith("_") and callable(value)
    }
    assert {
        "Store.close",
        "Bars.read",
        "Orders.save",
        "Fills.audit",
        "Runs.metrics",
        "Events.read",
        "Streams.consume",
    } <= methods
    assert methods <= page.anchors
    assert methods <= page.docstrings.keys()


def test_no_link_of_the_site_is_broken_and_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    links, broken = 0, []
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            assert target in site, f"{path}: {link}"
            if parts.fragment and unquote(parts.fragment) not in site[target].anchors:
                broken.append(f"{path}: {link}")
            links += 1
        for source in page.loaded:
            assert urlsplit(source).scheme in ("", "data"), f"{path}: {source}"
    assert broken == []
    assert links > 500


def test_sections_and_references_are_shown_and_not_their_markup(site: dict[Path, Page]) -> None:
    connect = site[Path("walle.html")]
    assert connect.headings["connect"] == ["Parameters", "Returns", "Raises", "Warns", "Examples"]
    assert "target (str, pathlib.Path, URL or None)" in connect.docstrings["connect"]
    raw = re.compile(r"^\s*-{3,}\s*$|:[a-z]+:`|^::|``", re.MULTILINE)
    assert [
        f"{path}#{name}" for path, page in site.items() for name, text in page.docstrings.items() if raw.search(text)
    ] == []


def test_the_pictures_of_the_guides_stand_in_the_pages(site: dict[Path, Page]) -> None:
    assert sum(source.startswith("data:image/png") for source in site[Path("walle/widgets.html")].loaded) == 3
