import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from kdsweep.verdict.spread import moderate


def draw(cells, n, seed=0, sd=1.0):
    return sd * np.random.default_rng(seed).standard_normal((cells, n))


def test_one_cell_has_its_own_variance_and_nothing_else():
    z = draw(1, 5)
    spread = moderate(z)
    assert spread.moderated[0] == pytest.approx(z.var(ddof=1))
    assert spread.own_df == 4
    assert math.isinf(spread.pooled_df)
    assert spread.correlation == 0


def test_equal_variances_are_pooled():
    z = np.array([[1.0, 2.0, 3.0, 5.0], [5.0, 1.0, 2.0, 3.0], [3.0, 5.0, 1.0, 2.0]])
    spread = moderate(z)
    assert math.isinf(spread.own_df)
    np.testing.assert_allclose(spread.moderated, spread.pooled)
    assert spread.pooled == pytest.approx(z[0].var(ddof=1))


def test_wildly_unequal_variances_are_left_alone():
    z = draw(8, 10, sd=np.geomspace(0.01, 100, 8)[:, None])
    spread = moderate(z)
    own = z.var(axis=1, ddof=1)
    assert spread.own_df < 11  # 9 of its own
    assert spread.moderated[-1] == own[-1]
    assert spread.moderated[0] < 0.5 * spread.pooled


def test_moderated_variances_against_a_scalar_reference():
    z = draw(6, 5, sd=np.array([1, 1, 1, 2, 3, 4])[:, None]) + draw(1, 5, seed=1)
    spread = moderate(z)
    own = [np.var(row, ddof=1) for row in z]
    pooled = sum(own) / 6
    pairs = [np.cov(z[i], z[j])[0, 1] for i in range(6) for j in range(6) if i != j]
    correlation = np.mean(pairs) / pooled
    assert correlation > 0.1
    floor = pooled * stats.chi2.ppf(0.01, 4) / 4
    own = [max(v, floor) for v in own]
    log_spread = np.var(np.log(own), ddof=1) * 5 / stats.chi2.ppf(0.25, 5)
    excess = log_spread - special.polygamma(1, 2) * (1 - correlation**2)
    half = optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-3, 1e6)
    d0 = 2 * half
    noisy = pooled * stats.chi2.ppf(0.9, 4) / 4
    assert max(own) > noisy > pooled
    expected = [v if v > noisy else (d0 * pooled + 4 * v) / (d0 + 4) for v in own]
    np.testing.assert_allclose(spread.moderated, expected, rtol=1e-9)
    assert spread.own_df == pytest.approx(d0 + 4)
    assert spread.correlation == pytest.approx(correlation)


def test_scale_shift_and_order():
    z = draw(6, 5, sd=np.array([1, 1, 1, 2, 3, 4])[:, None])
    plain = moderate(z)
    order = [3, 1, 5, 0, 2, 4]
    moved = moderate(10.0 * z[order] + 70.0)
    np.testing.assert_allclose(moved.moderated, 100.0 * plain.moderated[order])
    assert moved.own_df == pytest.approx(float(plain.own_df))
    assert moved.pooled_df == pytest.approx(float(plain.pooled_df))
    assert moved.correlation == pytest.approx(float(plain.correlation))


def test_cells_that_vary_as_one_are_worth_one():
    one = draw(1, 6)
    spread = moderate(np.repeat(one, 9, axis=0))
    assert spread.pooled_df == pytest.approx(5.0)
    assert spread.correlation == pytest.approx(1.0)


def test_independent_cells_are_worth_all_their_seeds():
    spread = moderate(draw(5, 400))
    assert spread.pooled_df == pytest.approx(5 * 399, rel=0.03)
    assert spread.correlation == pytest.approx(0.0, abs=0.05)


def test_cells_with_a_baseline_in_common_are_worth_what_satterthwaite_says():
    z = draw(25, 2000) - draw(1, 2000, seed=1)
    spread = moderate(z)
    assert spread.correlation == pytest.approx(0.5, abs=0.03)
    covariance = np.cov(z)
    worth = np.trace(covariance) ** 2 / (covariance**2).sum()
    assert spread.pooled_df == pytest.approx(1999 * worth, rel=0.03)
    assert worth == pytest.approx(25**2 / (25 + 25 * 24 / 4), rel=0.15)


def test_trace_of_the_squared_covariance_is_unbiased_at_three_seeds():
    """Without its corrections, n = 3 would see at most 2 of the 4 directions."""
    z = np.random.default_rng(0).standard_normal((4000, 4, 3))
    assert np.median(moderate(z).pooled_df) > 5.0


def test_two_seeds_have_one_degree_of_freedom_between_all_cells():
    assert moderate(draw(25, 2)).pooled_df == 1.0


def test_a_chance_tie_gets_no_tiny_variance():
    z = draw(9, 5)
    z[0] = 71.0
    spread = moderate(z)
    assert spread.moderated[0] > 0.25 * spread.pooled


def test_leading_dimensions_are_independent_maps():
    z = np.random.default_rng(0).standard_normal((3, 2, 4, 5))
    together = moderate(z)
    alone = moderate(z[2, 1])
    for whole, part in zip(together, alone, strict=True):
        np.testing.assert_allclose(whole[2, 1], part)


def test_no_variance_at_all_is_a_broken_invariant():
    with pytest.raises(AssertionError, match="no variance"):
        moderate(np.ones((3, 4)))
