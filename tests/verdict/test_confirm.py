import dataclasses

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict import RaceDesign, Verdict, baseline_seeds, confirm, crossed_bootstrap, judge

RNG = np.random.default_rng(5)
BASELINE = 72.0 + 0.3 * RNG.standard_normal(baseline_seeds(20, 3))
FINALISTS = list(72.0 + 0.3 * RNG.standard_normal((3, 20)) + np.array([[1.0], [0.0], [-0.7]]))


def test_finalists_are_judged_as_a_race_of_one_round():
    found = confirm(FINALISTS, [BASELINE], selected=[1.2, 0.9, 0.4], level=0.9, margin=0.3)
    design = RaceDesign.create(cells=3, seeds=20, level=0.9, margin=0.3)
    assert found.outcome == judge(design, FINALISTS, [BASELINE])
    assert [cell.verdict for cell in found.outcome.cells][::2] == [Verdict.BETTER, Verdict.WORSE]


def test_a_single_finalist_has_welchs_interval():
    found = confirm(FINALISTS[:1], [BASELINE], selected=[None]).outcome.cells[0]
    welch = stats.ttest_ind(FINALISTS[0], BASELINE, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(welch))


def test_any_number_of_seeds_will_do():
    found = confirm(
        [FINALISTS[0], FINALISTS[1][:9], FINALISTS[2][:1]], [BASELINE[:12]], selected=[1, 1, 1]
    )
    cells = found.outcome.cells
    assert [cell.n for cell in cells] == [20, 9, 1]
    assert cells[1].high - cells[1].low > cells[0].high - cells[0].low
    assert cells[2].low is None


def test_shrinkage_is_what_the_map_had_promised_too_much():
    found = confirm(FINALISTS, [BASELINE], selected=[1.2, None, 0.4])
    assert found.shrinkage[0] == pytest.approx(1.2 - (FINALISTS[0].mean() - BASELINE.mean()))
    assert found.shrinkage[1] is None
    assert found.shrinkage[2] == pytest.approx(0.4 - (FINALISTS[2].mean() - BASELINE.mean()))


def test_a_finalist_that_failed_has_no_shrinkage():
    gone = np.full(20, np.nan)
    found = confirm([gone, *FINALISTS[1:]], [BASELINE], selected=[1.2, 0.9, 0.4])
    assert found.shrinkage[0] is None
    assert found.outcome.cells[0].reason == "20 of 20 seeds failed"


def test_finalists_with_baselines_of_their_own():
    found = confirm(
        FINALISTS, [BASELINE, BASELINE - 30], selected=[None] * 3, groups=[0, 1, 0]
    ).outcome
    assert found.cells[1].difference == pytest.approx(FINALISTS[1].mean() - BASELINE.mean() + 30)


def test_intervals_over_images_are_those_of_the_bits():
    bits = [RNG.random((4, 300)) < p for p in (0.8, 0.7)]
    baseline = RNG.random((6, 300)) < 0.6
    found = confirm(
        FINALISTS[:2], [BASELINE], selected=[1, 1], bits=bits, baseline_bits=[baseline], level=0.9
    )
    assert found.images == tuple(crossed_bootstrap(b, baseline, level=0.9) for b in bits)
    assert confirm(FINALISTS, [BASELINE], selected=[None] * 3).images == ()


def test_each_finalist_has_what_it_was_selected_by():
    with pytest.raises(AssertionError):
        confirm(FINALISTS, [BASELINE], selected=[1.2])


def test_the_design_says_how_many_seeds_there_were():
    design = confirm(FINALISTS, [BASELINE[:25]], selected=[None] * 3).outcome.design
    assert dataclasses.astuple(design)[6:8] == ((20,), (25,))
