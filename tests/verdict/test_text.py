from dataclasses import replace

from kdsweep.verdict import Cell, Design, Outcome, Verdict, cell_sentence, outcome_sentence

NEGATIVE = Cell(
    verdict=Verdict.NEGATIVE,
    difference=-1.84,
    n=5,
    low=-2.4,
    high=-1.3,
    p_better=0.0002,
    seeds_better=0.0,
    smallest_effect=0.714,
)
POSITIVE = replace(
    NEGATIVE,
    verdict=Verdict.POSITIVE,
    difference=0.4,
    low=0.1,
    high=0.7,
    p_better=0.9994,
    smallest_effect=0.61,
)
FAILED = Cell(verdict=Verdict.INCONCLUSIVE, difference=None, n=0, reason="5 of 5 seeds failed")
SENTINEL = Cell(
    verdict=Verdict.INCONCLUSIVE,
    difference=0.0,
    n=5,
    reason="equal to the baseline on every seed",
)
MAP = Outcome(
    cells=(NEGATIVE, POSITIVE, FAILED, SENTINEL),
    design=Design.BLOCKED,
    level=0.95,
    margin=0.1,
    n=5,
    baseline_n=25,
    judged=2,
    luck=0.118,
)


def test_cell():
    assert cell_sentence("T=4 alpha=0.7", NEGATIVE, MAP) == (
        "T=4 alpha=0.7: negative, -1.84 points [-2.40, -1.30] (95 % simultaneous over 2 cells, "
        "n = 5 seeds), P(better) < 0.001; smallest effect found with 80 % power: 0.71 points."
    )
    assert "P(better) > 0.999;" in cell_sentence("", POSITIVE, MAP)
    middle = replace(POSITIVE, p_better=0.8412)
    assert "+0.40 points [+0.10, +0.70]" in cell_sentence("", middle, MAP)
    assert "P(better) 0.841;" in cell_sentence("", middle, MAP)


def test_cell_without_an_interval():
    assert cell_sentence("T=1", FAILED, MAP) == (
        "T=1: inconclusive, no interval: 5 of 5 seeds failed (n = 0 seeds)."
    )
    assert cell_sentence("alpha=0", replace(SENTINEL, n=1), MAP) == (
        "alpha=0: inconclusive, +0.00 points, no interval: equal to the baseline on every seed "
        "(n = 1 seed)."
    )


def test_one_cell_needs_no_family():
    alone = replace(MAP, cells=(NEGATIVE,), judged=1, level=0.9)
    assert "(90 %, n = 5 seeds)" in cell_sentence("T=4", NEGATIVE, alone)


def test_outcome():
    assert outcome_sentence(MAP) == (
        "4 cells: 1 positive, 1 negative, 0 equivalent, 2 inconclusive (95 % simultaneous over 2 "
        "cells, paired by seed, n = 5 seeds per cell, 25 of the baseline); smallest effect found "
        "with 80 % power: 0.61 to 0.71 points; the best of 2 equal cells would show +0.12 by "
        "luck; holds for 1 teacher only."
    )


def test_outcome_of_independent_seeds_and_several_teachers():
    apart = replace(MAP, cells=(NEGATIVE,), design=Design.INDEPENDENT, judged=1, luck=0.0)
    sentence = outcome_sentence(apart, teachers=2)
    assert sentence.startswith("1 cell: 0 positive, 1 negative")
    assert "(95 %, independent seeds, " in sentence
    assert "80 % power: 0.71 points; holds for 2 teachers only." in sentence
    assert "luck" not in sentence
    assert "teacher" not in outcome_sentence(apart, teachers=3)


def test_outcome_without_intervals():
    nothing = replace(MAP, cells=(SENTINEL, FAILED), judged=0, luck=None)
    assert outcome_sentence(nothing) == (
        "2 cells: 0 positive, 0 negative, 0 equivalent, 2 inconclusive; no intervals: 5 of 5 "
        "seeds failed; equal to the baseline on every seed; holds for 1 teacher only."
    )
