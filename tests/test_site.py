"""The site of docs/: what it links to is there, and it asks nothing of other hosts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") not in {"canonical", "next", "prev"}:
            self.loaded.append(given["href"])
        elif "href" in given:
            self.links.append(given["href"])


def build(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built of copies."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("mkdocs.yml", "README.md"):
        shutil.copy(repository / name, checkout)
    for name in ("docs", "kdsweep"):
        shutil.copytree(repository / name, checkout / name)
    built = build(checkout)
    assert built.returncode == 0, built.stdout + built.stderr
    return checkout / "build" / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    found = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(found) > 10
    return found


def missing(path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    for link in [*page.links, *page.loaded]:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        anchors = pages[target].anchors if target in pages else {parts.fragment}
        if not target.is_file() or unquote(parts.fragment) not in anchors:
            yield link


def test_every_link_picture_and_anchor_is_there(site: Path, pages: dict[Path, Page]) -> None:
    lost = {
        path.relative_to(site).as_posix(): found
        for path, page in pages.items()
        if (found := list(missing(path, page, pages)))
    }
    assert lost == {}


def test_a_page_loads_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [one for one in page.loaded if urlsplit(one).netloc] == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)]*", path.read_text()) == []


def test_every_page_can_be_found(repository: Path) -> None:
    contents = (repository / "mkdocs.yml").read_text().partition("nav:")[2]
    docs = repository / "docs"
    written = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert set(re.findall(r": (\S+\.md)$", contents, re.MULTILINE)) == written


def test_what_is_included_is_there(pages: dict[Path, Page], site: Path) -> None:
    for path in pages:
        text = re.sub(r"<[^>]*>", "", path.read_text())
        assert "--8<--" not in text, path
    reading = (site / "reading.html").read_text()
    assert "Distillation harms in all 5 cells" in reading
    assert "25 better, 0 worse" in reading
    assert 'id="kdsweep.sweep"' in (site / "api.html").read_text()
