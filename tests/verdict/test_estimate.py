import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict.estimate import estimate, mean

RNG = np.random.default_rng(7)
BASELINE = 72.0 + 0.3 * RNG.standard_normal((1, 12))
SCORES = 72.0 + 0.3 * RNG.standard_normal((6, 5)) + np.array([[-2, -0.3, 0, 0.1, 0.4, 2]]).T
ONE = np.ones((6, 1))


def test_one_cell_is_scipys_welch():
    found = estimate(SCORES[:1], BASELINE, ONE[:1])
    welch = stats.ttest_ind(SCORES[0], BASELINE[0], equal_var=False)
    assert found.difference[0] / found.error[0] == pytest.approx(welch.statistic)
    assert found.df[0] == pytest.approx(welch.df)


def test_unequal_numbers_of_seeds():
    scores = SCORES.copy()
    scores[0, 2:] = np.nan
    found = estimate(scores, BASELINE, ONE)
    assert found.difference[0] == pytest.approx(scores[0, :2].mean() - BASELINE.mean())
    reference = BASELINE.var(ddof=1) / 12
    np.testing.assert_allclose(found.error**2, found.own_variance / [2, 5, 5, 5, 5, 5] + reference)
    assert found.error[0] > 1.2 * found.error[1]
    np.testing.assert_allclose(found.baseline_variance, BASELINE.var(ddof=1))


def test_each_row_is_compared_with_its_own_baseline():
    other = 60.0 + RNG.standard_normal((1, 12))
    both = np.vstack([BASELINE, other])
    which = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    found = estimate(SCORES, both, which)
    np.testing.assert_allclose(found.difference[:3], SCORES[:3].mean(1) - BASELINE.mean())
    np.testing.assert_allclose(found.difference[3:], SCORES[3:].mean(1) - other.mean())
    assert found.error[3] > 1.5 * found.error[0]


def test_a_row_over_several_baselines_has_a_part_of_the_noise_of_each():
    both = np.vstack([BASELINE, RNG.standard_normal((1, 12))])
    found = estimate(SCORES[:1], both, np.array([[0.25, 0.75]]))
    alone = [estimate(SCORES[:1], both, np.eye(2)[[g]]) for g in (0, 1)]
    expected = 0.25 * alone[0].difference + 0.75 * alone[1].difference
    np.testing.assert_allclose(found.difference, expected)
    own = SCORES[0].var(ddof=1) / 5
    parts = [e.error[0] ** 2 - own for e in alone]
    assert found.error[0] ** 2 == pytest.approx(own + parts[0] / 16 + parts[1] * 9 / 16)


def test_a_baseline_that_failed_moves_no_row_but_its_own():
    both = np.vstack([BASELINE, np.full((1, 12), np.nan)])
    found = estimate(SCORES, both, np.eye(2)[[0, 0, 0, 0, 0, 1]])
    assert np.isnan(found.error[5])
    np.testing.assert_allclose(found.error[:5], estimate(SCORES, BASELINE, ONE).error[:5])


def test_seeds_may_be_worth_less_than_their_number():
    whole = estimate(SCORES[:1], BASELINE, ONE[:1])
    part = estimate(SCORES[:1], BASELINE, ONE[:1], seeds=np.array([2.5]))
    reference = BASELINE.var(ddof=1) / 12
    assert part.error[0] ** 2 - reference == pytest.approx(2 * (whole.error[0] ** 2 - reference))


def test_mean_of_what_is_there():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(mean(values), [2.0, np.nan])
    np.testing.assert_array_equal(mean(values, axis=0), [1.0, np.nan, 3.0])
