from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kdsweep.report.headline import CONFIRM, headline
from kdsweep.results.data import CellVerdict, Sweep
from tests.report.sweeps import judged, temperatures


def verdict(word: str, low: float, high: float, **more: Any) -> CellVerdict:
    made = CellVerdict(word=word, difference=(low + high) / 2, low=low, high=high)
    return replace(made, **more)


BETTER, WORSE = verdict("better", 1, 3), verdict("worse", -3, -1)
OPEN, SAME = verdict("open", -1, 2), verdict("equivalent", -0.2, 0.3)


def of(verdicts: Sequence[CellVerdict], **changes: Any) -> Sweep:
    cell = temperatures().cells[0]
    cells = tuple(replace(cell, label=f"T={i}", verdict=v) for i, v in enumerate(verdicts))
    return replace(temperatures(), cells=cells, **changes)


@pytest.mark.parametrize(
    ("verdicts", "answer", "advice"),
    [
        ((BETTER, OPEN), "Yes, in 1 of 2 cells; most at T=0: +2.00 points (+1.00 to", CONFIRM),
        ((BETTER, WORSE), "It depends: it helps in 1 of 2 cells; it harms in 1;", CONFIRM),
        ((WORSE, SAME), "No: it harms in 1 of 2 cells, and helps in none.", "Train this student"),
        ((SAME, SAME), "No: it makes no difference of more than 0.5 points.", "Train this"),
        (
            (OPEN, OPEN),
            "Not shown: no cell differs from the student alone; no cell gains more than +2.00 p",
            "More seeds would hardly",
        ),
        ((replace(OPEN, more_seeds=7), OPEN), "Not shown", "About 7 more seeds"),
        (
            (replace(OPEN, more_seeds=400),),
            "Not shown: the cell gains between -1.00",
            "More seeds",
        ),
        ((replace(OPEN, racing=True), BETTER), "Yes, in 1 of 2", "The race is not over"),
        ((BETTER,), "Yes; +2.00 points (+1.00 to +3.00).", CONFIRM),
    ],
)
def test_answer_and_advice_follow_the_verdicts(
    verdicts: Sequence[CellVerdict], answer: str, advice: str
) -> None:
    found = headline(of(verdicts))
    assert found.answer.startswith(answer)
    assert found.advice.startswith(advice)


def test_an_average_that_differs_is_told_where_no_cell_does() -> None:
    found = headline(of((OPEN, OPEN), averages={"all 2 cells": BETTER}))
    assert found.answer == (
        "It helps on average over all cells, by +2.00 points; no single cell shows it."
    )


def test_the_question_names_who_learns_from_whom() -> None:
    question = headline(judged()).question
    assert question == (
        "Does learning from the teacher teacher help the student baseline student on digits?"
    )


def test_without_verdicts_nothing_is_claimed() -> None:
    sweep = temperatures()
    assert headline(sweep).answer == (
        "Not judged: the best of 4 cells, T=2, differs by +1.00 points, with no interval to tell "
        "luck."
    )
    assert "no baseline" in headline(replace(sweep, baseline=None)).answer
    one = replace(sweep.cells[0], accuracy_by_seed={0: 71.0})
    assert "seeds=3" in headline(replace(sweep, cells=(one,))).advice
    failed = tuple(replace(c, state="failed", accuracy_by_seed={}) for c in sweep.cells)
    found = headline(replace(sweep, cells=failed))
    assert found.answer == "Unknown: none of 4 cells is complete."
    assert found.advice.startswith("Look at why")


def test_after_test_nothing_is_chosen_any_more() -> None:
    assert headline(of((BETTER, OPEN), split="test")).advice.startswith("Use the best cell")
    assert headline(of((OPEN,), split="test")).advice.startswith("Report these intervals")
