from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kdsweep.report.html import render_html, save_report
from kdsweep.results.data import Sweep
from tests.report.sweeps import judged, temperatures

VOID = {"meta", "img"}
COMMANDS = {"Open the comparison": "mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db"}


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

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            return
        self.text += data
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def hostile(text: str) -> Sweep:
    """A sweep in which every word that a user chose is the given one."""
    sweep = judged()
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
        verdict_lines=(text,),
        cells=tuple(replace(c, label=text, reason=text) for c in sweep.cells),
        baseline=replace(sweep.baseline, label=text),
        teacher=replace(sweep.teacher, label=text),
    )


def test_the_page_holds_question_protocol_table_verdict_and_commands() -> None:
    page = Page(render_html(judged(), pictures={}, commands=COMMANDS))
    assert "Does distillation help this student on digits" in page.text
    assert "val_accuracy in %, on the validation split" in page.text
    assert "Nothing is told apart with n = 2." in page.text
    assert COMMANDS["Open the comparison"] in page.text
    assert page.rows[1:] == [
        ["teacher teacher", "83.13", "1", "+11.13", "", "", "", ""],
        ["baseline baseline student", "72.00 ± 1.00", "3", "", "", "", "", ""],
        ["T=1", "72.00 ± 1.41", "2", "-0.50", "-0.88, -0.12", "0.010", "worse", "1m01"],
        ["T=2 *", "73.00 ± 0.71", "2", "+1.00", "+0.50, +1.75", "0.990", "better", "1m02"],
        [
            *("T=3", "74.25", "1/2", "+2.25", "", ""),
            *("failed: seed 1: the loss is not finite in epoch 2", ""),
        ],
        ["T=4", "", "0", "", "", "", "pruned: below the median after epoch 1", ""],
    ]


def test_sections_without_content_are_left_out() -> None:
    sweep = replace(temperatures(), verdict_lines=(), teacher=None, baseline=None)
    page = render_html(sweep, pictures={})
    for title in ("Verdict", "Costs", "Pictures", "Commands"):
        assert f"<h2>{title}" not in page
    assert "<h2>Protocol" in page


@pytest.mark.parametrize("text", ['<script>alert("1")</script>', "\"'><img src=x onerror=y>&amp;"])
def test_words_from_outside_are_escaped(text: str) -> None:
    plain = Page(render_html(judged(), pictures={"a": b"p"}, commands=COMMANDS))
    page = Page(render_html(hostile(text), pictures={text: b"p"}, commands={text: text}))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert text in page.text
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_pictures_are_inside_and_nothing_is_loaded(tmp_path: Path) -> None:
    sweep = replace(judged(), teacher=None, baseline=None)
    paths = save_report(sweep, tmp_path, commands=COMMANDS)
    assert paths[0] == tmp_path / "report.html"
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    text = paths[0].read_text(encoding="utf-8")
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(paths) - 1
    for image, path in zip(images, paths[1:], strict=True):
        source = image["src"]
        assert source is not None
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == path.read_bytes()
        assert image["alt"]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "http" not in text.replace("http-equiv", "")
    forest = next(i for i in images if i["alt"] and "interval" in i["alt"])
    assert forest["width"] == "768"  # 8 inches
