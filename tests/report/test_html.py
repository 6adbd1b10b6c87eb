from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kdsweep.report.files import save_report, to_track
from kdsweep.report.html import Extra, render_html
from kdsweep.report.markdown import render_markdown
from kdsweep.results.data import Provenance, Sweep
from tests.report.sweeps import judged, temperatures
from tests.report.test_charts import raced
from tests.report.test_grid import decided

VOID = {"meta"}
COMMANDS = {"Confirm it": "python -m kdsweep.confirm study=temperature root=/home/me/deep/runs"}
RUN = Provenance(
    command="python -m kdsweep -m distill.temperature=1,2",
    best="python -m kdsweep distill.temperature=2",
    settings=(("train.epochs", "5"),),
    facts=(("device", "cpu (1 threads)"), ("git revision", "abc")),
)


class Page(HTMLParser):
    """The page's tags, attributes and text; fails where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["style"], ["script"]):
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()


def light(sweep: Sweep) -> Page:
    return Page(render_html(sweep, interactive=False, commands=COMMANDS))


def hostile(text: str) -> Sweep:
    """A sweep in which every word that a user chose is the given one."""
    sweep = raced()
    assert sweep.baseline is not None
    assert sweep.teacher is not None
    return replace(
        sweep,
        study=text,
        dataset=text,
        objective=text,
        unit=text,
        split=text,
        latency_conditions=text,
        verdict_lines=(text,) * 3,
        cells=tuple(replace(c, label=text, reason=text) for c in sweep.cells),
        baseline=replace(sweep.baseline, label=text),
        teacher=replace(sweep.teacher, label=text),
        provenance=Provenance(
            command=text, best=text, settings=((text, text),), facts=((text, text),)
        ),
    )


def test_the_answer_stands_on_top_and_the_table_has_every_row() -> None:
    page = light(judged())
    for expected in ("It depends: it helps in 1 of 4 cells", "Next:", "Nothing is told apart"):
        assert expected in page.text
    assert [tag for tag, _ in page.tags].count("h1") == 1
    heads = next(head for head in page.rows if head[:1] == ["cell"])
    assert heads[:4] == ["cell", "verdict", "difference, points", "95 % interval"]
    table = page.rows[page.rows.index(heads) + 1 :]
    assert [row[:6] for row in table] == [
        ["teacher teacher", "", "+11.13", "", "83.13 %", "1"],
        ["baseline baseline student", "", "", "", "72.00 ± 1.00 %", "3"],
        ["T=1", "▼ worse", "-0.50", "-0.88 to -0.12", "72.00 ± 1.41 %", "2"],
        ["T=2 *", "▲ better", "+1.00", "+0.50 to +1.75", "73.00 ± 0.71 %", "2"],
        [
            "T=3",
            "failed: seed 1: the loss is not finite in epoch 2",
            *("+2.25", "", "74.25 %", "1/2"),
        ],
        ["T=4", "pruned: below the median after epoch 1", "", "", "", "0"],
    ]


def test_the_map_tells_decided_cells_from_open_ones() -> None:
    page = light(decided())
    kinds = [
        (attributes["class"] or "").split()[0]
        for tag, attributes in page.tags
        if tag == "td" and "style" in attributes
    ]
    assert kinds.count("better") == 2  # the cell, and its column
    assert kinds.count("open") == 5
    assert "not decided: +0.50 points, 95 % interval -0.25 to +1.25, n = 2" in page.text


def test_what_was_run_and_how_to_run_the_best_again() -> None:
    page = light(replace(judged(), provenance=RUN))
    for expected in (RUN.command, RUN.best, "cpu (1 threads)", "git revision", "train.epochs"):
        assert expected in page.text


def test_the_command_of_a_cell_alone_stands_there_once() -> None:
    sweep = replace(judged(), cells=judged().cells[:1], provenance=replace(RUN, best=RUN.command))
    assert light(sweep).text.count(RUN.command) == 1
    assert render_markdown(sweep).count(RUN.command) == 1


def test_no_path_of_one_machine() -> None:
    cell = replace(judged().cells[2], reason="/home/me/images/cat.png is no picture")
    sweep = replace(judged(), cells=(*judged().cells[:2], cell))
    for text in (
        render_html(sweep, interactive=False, commands=COMMANDS),
        render_markdown(sweep, commands=COMMANDS),
    ):
        assert "/home/me" not in text
        assert "…/runs" in text
        assert "…/cat.png is no picture" in text


def test_sections_without_content_are_left_out() -> None:
    sweep = replace(temperatures(), verdict_lines=(), teacher=None, baseline=None)
    sweep = replace(sweep, cells=sweep.cells[3:])  # pruned before it had a number
    page = render_html(sweep, interactive=False)
    for title in ("Where does it help", "The verdict in words", "How they learned", "What it"):
        assert title not in page
    assert "What was run" in page


@pytest.mark.parametrize("text", ['<script>alert("1")</script>', "\"'><img src=x onerror=y>&amp;"])
@pytest.mark.parametrize("interactive", [False, True])
def test_words_from_outside_are_escaped(text: str, interactive: bool) -> None:
    def page(word: str) -> Page:
        sweep = hostile(word)
        extra = Extra(key="k", title=word, caption=word, json='{"a": "</script>"}', csv=word)
        return Page(
            render_html(sweep, interactive=interactive, extras=[extra], commands={word: word})
        )

    plain, given = page("plain"), page(text)
    assert sorted({tag for tag, _ in plain.tags}) == sorted({tag for tag, _ in given.tags})
    assert text in given.text
    assert all("onerror" not in attributes for _, attributes in given.tags)
    scripts = [tag for tag, _ in given.tags].count("script")
    assert scripts == [tag for tag, _ in plain.tags].count("script")


def test_every_picture_brings_its_data() -> None:
    page = light(raced())
    links = [attributes for tag, attributes in page.tags if tag == "a"]
    assert {"race.csv", "forest.csv", "learning_curves.csv"} <= {a["download"] for a in links}
    for link in links:
        content = (link["href"] or "").partition("base64,")[2]
        assert b"," in base64.b64decode(content)


def test_the_files_and_their_sizes(tmp_path: Path) -> None:
    extra = Extra(key="search_slice", title="t", caption="c", json='{"data": []}', csv="a,b\n")
    paths = save_report(replace(raced(), provenance=RUN), tmp_path, extras=[extra])
    names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names[:3] == ["report.html", "report-light.html", "report.md"]
    assert {"pictures/race.svg", "data/race.csv", "data/search_slice.csv"} <= set(names)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(paths)
    assert {str(path.relative_to(tmp_path)) for path in to_track(paths)} == {
        "report.html", "report.md", *(name for name in names if name.startswith("data/"))
    }  # fmt: skip
    full, small = (path.read_text(encoding="utf-8") for path in paths[:2])
    assert len(small) < 400_000
    assert full.count("plotly.js v") == 1
    assert "plotly.js v" not in small
    for text in (full.replace("\n", " "), small):
        page = text if text is small else re.sub(r"<script>/\*\*.*?</script>", "", text)
        assert not re.search(r'(src|href)="(?!data:)', page)


def test_markdown_has_answer_map_table_and_commands() -> None:
    text = render_markdown(replace(decided(), provenance=RUN), commands=COMMANDS)
    assert "**Yes, in 1 of 5 cells; most at T=4 alpha=0.25: +0.75 points" in text
    assert "| 0.25 |  | ○ -0.2…+1.2 | ▲ +0.75 (+0.2…+1.2) |  |" in text
    assert f"    {RUN.best}" in text
    shown = render_markdown(hostile("<script>")).splitlines()
    texts = [line for line in shown if not line.startswith("    ")]  # the others are code
    assert not [line for line in texts if re.search(r"(?<!\\)<script", line)]
