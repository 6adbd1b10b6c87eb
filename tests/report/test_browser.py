"""The report as a browser shows it: on a desk and on a phone, in light, in dark, printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from kdsweep.report.html import Extra, render_html
from kdsweep.results.data import Sweep
from tests.report.test_charts import raced
from tests.report.test_grid import decided
from tests.report.test_html import RUN, hostile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESK, PHONE = 1400, 390
SEARCH = Extra(
    key="search_slice",
    title="Slices",
    caption="A point for each trial.",
    json='{"data": [{"type": "scatter", "x": [1, 2], "y": [3, 4]}], "layout": {}}',
    csv="x,y\n",
)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A map of open and decided cells, a race, and one with hostile names, whole and light."""
    folder = tmp_path_factory.mktemp("reports")
    sweeps: dict[str, Sweep] = {
        "map": replace(decided(), provenance=RUN, verdict_lines=("One.", "Two.", "Three.")),
        "race": replace(raced(), provenance=RUN),
        "hostile": hostile("<script>document.title = 'broken'</script>"),
    }
    made = {}
    for name, sweep in sweeps.items():
        for kind in ("whole", "light"):
            path = folder / f"{name}-{kind}.html"
            page = render_html(sweep, interactive=kind == "whole", extras=[SEARCH])
            path.write_text(page, encoding="utf-8")
            made[f"{name}-{kind}"] = path
    return made


def opened(
    browser: Browser, path: Path, width: int = DESK, scheme: Literal["light", "dark"] = "light"
) -> Page:
    """The page with every picture drawn; fails where it asks the network or has an error."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto(path.as_uri())
    for figure in page.locator("figure:has(.live)").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.wait_for()
    page.evaluate("scrollTo(0, 0)")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    return page


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", ["map-whole", "map-light", "race-whole", "race-light"])
def test_the_answer_is_in_the_first_screen_and_nothing_is_cut(
    browser: Browser, files: dict[str, Path], name: str, width: int
) -> None:
    page = opened(browser, files[name], width)
    answer = page.locator(".answer").bounding_box()
    assert answer is not None
    assert answer["y"] + answer["height"] < 500
    assert page.evaluate("document.documentElement.scrollWidth") == width
    place = page.locator("table.map")
    if place.count():
        box = place.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width


def test_pointing_at_a_cell_of_the_map_shows_its_interval(
    browser: Browser, files: dict[str, Path]
) -> None:
    page = opened(browser, files["map-light"])
    cell = page.locator("table.map td.open", has_text="+0.50").first
    assert not cell.locator(".tip").is_visible()
    cell.hover()
    assert cell.locator(".tip").is_visible()
    shown = cell.locator(".tip").inner_text()
    assert "not decided: +0.50 points, 95 % interval -0.25 to +1.25" in shown
    page.mouse.move(0, 0)
    cell.focus()  # by a tap, or the keyboard
    assert cell.locator(".tip").is_visible()


def test_pointing_at_a_point_of_a_picture_shows_its_interval(
    browser: Browser, files: dict[str, Path]
) -> None:
    page = opened(browser, files["map-whole"])
    page.locator("#forest").scroll_into_view_if_needed()
    page.locator("#forest .points path").first.hover(force=True)
    shown = page.locator("#forest .hovertext").first
    shown.wait_for()
    assert "95 % interval" in (shown.text_content(timeout=5000) or "")


def test_the_table_is_sorted_by_its_heads(browser: Browser, files: dict[str, Path]) -> None:
    page = opened(browser, files["race-light"])

    def column(at: int) -> list[str]:
        return page.locator(f".cells tbody tr > :nth-child({at})").all_inner_texts()

    head = page.locator(".cells thead button", has_text="difference")
    head.click()
    assert column(3) == ["-0.50", "+1.00", "+11.13", ""]  # what has none comes last
    head.click()
    assert column(3) == ["+11.13", "+1.00", "-0.50", ""]
    assert page.locator(".cells th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_undecided_cells_look_undecided(browser: Browser, files: dict[str, Path]) -> None:
    page = opened(browser, files["map-light"])
    style = "e => { const s = getComputedStyle(e); return [s.backgroundImage, s.backgroundColor] }"
    still, colour = page.locator("table.map td.open").first.evaluate(style)
    done, blue = page.locator("table.map td.better").first.evaluate(style)
    assert "repeating-linear-gradient" in still
    assert done == "none"
    assert colour != blue


@pytest.mark.parametrize("name", ["map-whole", "map-light"])
def test_dark_and_printed(browser: Browser, files: dict[str, Path], name: str) -> None:
    page = opened(browser, files[name], scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(22, 24, 28)"
    page.emulate_media(media="print")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.locator("#forest svg.chart").is_visible()
    assert not page.locator("#forest .live").is_visible() or name == "map-light"


@pytest.mark.parametrize("name", ["hostile-whole", "hostile-light"])
def test_a_name_is_no_script(browser: Browser, files: dict[str, Path], name: str) -> None:
    page = opened(browser, files[name])
    assert page.title() != "broken"
    assert "<script>document.title" in page.locator("h1").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["map-whole", "race-whole", "map-light"])
def test_everybody_can_read_it(
    browser: Browser, files: dict[str, Path], name: str, scheme: Literal["light", "dark"]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for width in (DESK, PHONE):
        found = Axe().run(opened(browser, files[name], width, scheme))
        assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", ["map-light", "race-light"])
def test_the_table_is_read_without_scrolling_sideways(
    browser: Browser, files: dict[str, Path], name: str, width: int
) -> None:
    page = opened(browser, files[name], width)
    for field in page.locator(".cells tbody :is(th, td):visible").all():
        box = field.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        assert field.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    named = page.locator(".cells td.better").first.evaluate(
        "e => getComputedStyle(e, '::before').content"
    )
    assert named == ('"verdict"' if width == PHONE else "none")


@pytest.mark.parametrize("name", ["map-light", "race-light"])
def test_no_sentence_stands_there_twice(
    browser: Browser, files: dict[str, Path], name: str
) -> None:
    page = opened(browser, files[name])
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    text: str = page.evaluate("document.querySelector('main').innerText")
    sentences = [one.strip() for one in re.split(r"(?<=[.!?])\s|\n", text) if one.endswith(".")]
    long = [one for one in sentences if len(one.split()) > 3]
    assert len(long) > 10
    assert sorted(long) == sorted(set(long))
