from dataclasses import replace

import pytest

from kdsweep.verdict import (
    Average,
    Axis,
    Cell,
    Crossed,
    Forecast,
    Outcome,
    RaceDesign,
    Slice,
    Verdict,
    answer_sentence,
    average_sentence,
    cell_sentence,
    forecast_sentence,
    images_sentence,
    outcome_lines,
    round_sentence,
    scope_sentence,
)

DESIGN = RaceDesign.create(cells=4, seeds=3, rounds=4, axes=(2, 2))
BETTER = Cell(
    verdict=Verdict.BETTER,
    difference=3.39,
    n=3,
    failed=0,
    error=0.3,
    low=2.1,
    high=4.7,
    p_better=0.9999,
    round=1,
    racing=False,
)
WORSE = replace(BETTER, verdict=Verdict.WORSE, difference=-1.84, low=-2.4, high=-1.28)
SAME = replace(BETTER, verdict=Verdict.EQUIVALENT, difference=0.1, low=-0.3, high=0.5)
OPEN = replace(
    BETTER, verdict=Verdict.OPEN, difference=0.4, low=-0.9, high=1.7, more_seeds=14, round=2, n=6
)
FAILED = Cell(
    verdict=Verdict.OPEN,
    difference=None,
    n=0,
    failed=3,
    reason="3 of 3 seeds failed",
    round=1,
    racing=False,
)
ROW = Average(
    verdict=Verdict.BETTER,
    difference=1.64,
    n=6,
    failed=0,
    error=0.3,
    low=0.7,
    high=2.58,
    part=Slice(0, 1),
)
WHOLE = replace(
    ROW, verdict=Verdict.OPEN, low=-0.2, high=1.9, difference=0.85, part=Slice(None, 0)
)
RACING = replace(OPEN, racing=True)
NEW, OLD = replace(WORSE, round=2), BETTER
AXES = (Axis("alpha", ("0.1", "0.9")), Axis("T", ("1", "4")))
LABELS = ("T=1 alpha=0.1", "T=4 alpha=0.1", "T=1 alpha=0.9", "T=4 alpha=0.9")


def outcome(*cells, averages=(), design=DESIGN):
    return Outcome(
        design=design,
        cells=cells,
        averages=averages,
        round=2,
        baseline_mean=(46.0,),
        baseline_n=(15,),
        trainings=41,
    )


def test_forecast():
    design = RaceDesign.create(cells=25, seeds=3, rounds=4)
    told = Forecast(design=design, now=90, most=342, usual=(130, 190), effect=1.9, sd=0.8)
    assert forecast_sentence(told) == (
        "25 cells x 3 seeds + 15 baselines = 90 trainings now; at most 342, usually 130-190. "
        "Finds +1.5 points (at sd 0.8) in 9 of 10."
    )
    unknown = replace(told, sd=None, effect=1.94)
    assert "Finds 1.9 standard deviations between seeds in 9 of 10." in forecast_sentence(unknown)
    assert "more seeds are needed" in forecast_sentence(replace(told, effect=float("inf")))
    once = RaceDesign.create(cells=2, seeds=3, groups=(0, 1))
    single = Forecast(design=once, now=12, most=12, usual=(12, 12), effect=3.0, sd=0.8)
    assert forecast_sentence(single).startswith(
        "2 cells x 3 seeds + 2 x 3 baselines = 12 trainings. Finds +2.4"
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ((BETTER, WORSE, OPEN, BETTER), "Distillation helps in 2 and harms in 1 of 4 cells."),
        (
            (BETTER, SAME, OPEN, OPEN),
            "Distillation helps in 1 of 4 cells; none is shown to be worse than the student "
            "alone.",
        ),
        (
            (WORSE, WORSE, OPEN, FAILED),
            "Distillation harms in 2 of 4 cells; none is shown to be better than the student "
            "alone.",
        ),
        ((BETTER,), "Distillation helps."),
        ((WORSE, WORSE), "Distillation harms in both cells."),
        ((BETTER,) * 5, "Distillation helps in all 5 cells."),
        ((WORSE,), "Distillation harms."),
        (
            (OPEN, SAME, replace(OPEN, low=-1.2), FAILED),
            "No difference is shown: none is better by more than 1.7 or worse by more than 1.2 "
            "points, 1 without an interval apart.",
        ),
        (
            (OPEN,),
            "No difference is shown: it is not better by more than 1.7 or worse by more than 0.9 "
            "points.",
        ),
        (
            (SAME, SAME),
            "Distillation makes no difference of more than 0.5 points in either cell.",
        ),
        ((SAME,), "Distillation makes no difference of more than 0.5 points."),
        ((FAILED,), "No difference is shown: none has an interval."),
    ],
)
def test_the_answer_comes_first(cells, expected):
    found = outcome(*cells)
    assert answer_sentence(found) == expected
    labels = [f"cell {i}" for i in range(len(cells))]
    assert outcome_lines(found, labels)[0] == expected


def test_an_answer_by_the_averages():
    found = outcome(OPEN, OPEN, OPEN, OPEN, averages=(ROW, WHOLE))
    assert answer_sentence(found) == (
        "Distillation helps on average over some rows or columns; no single cell shows it."
    )
    whole = replace(WHOLE, verdict=Verdict.WORSE)
    assert answer_sentence(outcome(OPEN, averages=(whole,))) == (
        "Distillation harms on average over all 4 cells; no single cell shows it."
    )


def test_nothing_is_said_before_the_first_round():
    early = replace(outcome(OPEN), round=0)
    assert outcome_lines(early, ["x"]) == ["No verdict yet: round 1 is not complete."]


def test_averages():
    assert average_sentence(ROW, AXES, 4) == (
        "alpha 0.9, mean over T 1 to 4: better, +1.64 [+0.70, +2.58] (round 1 alone, n = 6)"
    )
    column = replace(ROW, part=Slice(1, 0))
    assert average_sentence(column, AXES, 4).startswith("T 1, mean over alpha 0.1 to 0.9: better")
    assert average_sentence(WHOLE, AXES, 4) == (
        "all 4 cells: open, +0.85, between -0.2 and +1.9 (round 1 alone, n = 6)"
    )
    assert average_sentence(WHOLE, AXES, 2).startswith("both cells: open")


def test_cells():
    assert cell_sentence("T=1", BETTER) == "T=1: better, +3.39 [+2.10, +4.70] (round 1, n = 3)"
    assert cell_sentence("T=1", OPEN) == (
        "T=1: open, +0.40, between -0.9 and +1.7 (round 2, n = 6)"
    )
    assert cell_sentence("", replace(OPEN, racing=True)).endswith("(round 2, n = 6; goes on)")
    assert "; 2 seeds failed" in cell_sentence("", replace(BETTER, failed=2))
    assert cell_sentence("T=1", FAILED) == (
        "T=1: open, no interval: 3 of 3 seeds failed (round 1, n = 0; 3 seeds failed)"
    )


def test_all_lines_in_their_order():
    found = outcome(OPEN, BETTER, FAILED, WORSE, averages=(ROW, replace(ROW, part=Slice(1, 0),
                    verdict=Verdict.OPEN), WHOLE))  # fmt: skip
    lines = outcome_lines(found, LABELS, axes=AXES, images=5000)
    starts = [
        "Distillation helps in 1 and harms in 1", "alpha 0.9, mean", "all 4 cells: open",
        "T=4 alpha=0.1: better", "T=4 alpha=0.9: worse", "T=1 alpha=0.1: open",
        "T=1 alpha=0.9: open", "1 better, 1 worse", "On these 5,000 validation images",
    ]  # fmt: skip
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
    assert lines[-2] == (
        "1 better, 1 worse, 0 equivalent, 2 open; of the open ones none is better by more than "
        "1.7 or worse by more than 0.9 points, 1 without an interval apart. 41 trainings of at "
        "most 66."
    )
    assert all("inconclusive" not in line for line in lines)


def test_who_goes_on_is_told():
    found = outcome(replace(OPEN, racing=True), BETTER, OPEN, WORSE)
    assert outcome_lines(found, LABELS)[-2].endswith(" 1 cell goes on.")


@pytest.mark.parametrize(
    ("cells", "rounds", "expected"),
    [
        ((RACING, RACING, OLD, RACING), 4, "round 2 of 4: 3 cells go on"),
        (
            (NEW, RACING, OLD, OPEN),
            4,
            "round 2 of 4: 1 decided (T=1 alpha=0.1 worse), 1 dropped undecided "
            "(T=4 alpha=0.9), 1 cell goes on",
        ),
        ((NEW, NEW, NEW, NEW), 4, "round 2 of 4: 4 decided, the race is over"),
        (
            (NEW, OLD, OLD, OPEN),
            4,
            "round 2 of 4: 1 decided (T=1 alpha=0.1 worse), 1 left open (T=4 alpha=0.9), the race "
            "is over",
        ),
        (
            (OLD, OLD, OLD, RACING),  # more rounds were planned
            2,
            "round 2 of 2: 1 left open (T=4 alpha=0.9), the race is over",
        ),
    ],
)
def test_a_round_says_who_leaves_it(cells, rounds, expected):
    assert round_sentence(outcome(*cells), LABELS, rounds) == expected


def test_scope():
    found = outcome(OPEN, averages=(WHOLE,))
    assert scope_sentence(found, images=5000) == (
        "On these 5,000 validation images, this teacher. Intervals of 95 %. Simultaneous over 4 "
        "cells, 1 average, 4 looks."
    )
    single = outcome(OPEN, design=RaceDesign.create(cells=1, seeds=3, level=0.9))
    assert scope_sentence(single, split="test", teachers=3) == (
        "On these test images, these 3 teachers. Intervals of 90 %."
    )


def test_images():
    assert images_sentence("T=1", Crossed(1.0, -0.2, 2.1)) == (
        "T=1: +1.00 [-0.20, +2.10] for other seeds and other images alike (crossed bootstrap, "
        "this comparison alone)"
    )
