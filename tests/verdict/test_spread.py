import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from kdsweep.verdict.spread import _pooled_df, moderate


def draw(cells, n, seed=0, sd=1.0):
    return sd * np.random.default_rng(seed).standard_normal((cells, n))


def test_one_cell_has_its_own_variance_and_nothing_else():
    z = draw(1, 5)
    spread = moderate(z)
    assert spread.moderated[0] == pytest.approx(z.var(ddof=1))
    assert spread.df[0] == pytest.approx(4)


def test_wildly_unequal_variances_are_left_alone():
    z = draw(8, 10, sd=np.geomspace(0.01, 100, 8)[:, None])
    spread = moderate(z)
    own = z.var(axis=1, ddof=1)
    assert spread.df[0] < 11  # 9 of its own
    assert spread.moderated[-1] == own[-1]
    assert spread.moderated[0] < 0.5 * own.mean()


def test_alike_variances_are_worth_far_more_than_their_own_degrees_of_freedom():
    spread = moderate(draw(25, 3))
    assert (spread.df > 8).all()
    assert np.ptp(spread.moderated) < np.ptp(draw(25, 3).var(axis=1, ddof=1))


def reference(z):
    """The moderated variances and their df, in scalar arithmetic; z may hold NaN."""
    rows = [row[~np.isnan(row)] for row in z]
    d = [len(row) - 1 for row in rows]
    cells, total = len(rows), sum(d)
    own = [np.var(row, ddof=1) for row in rows]
    pooled = sum(v * k for v, k in zip(own, d, strict=True)) / total
    covariance = variance = pairs = q = 0.0
    for i in range(cells):
        for j in range(cells):
            both = ~np.isnan(z[i]) & ~np.isnan(z[j])
            k = both.sum() - 1
            c = np.cov(z[i][both], z[j][both])
            scale = k * k / ((k - 1) * (k + 2))
            q += k * scale * (c[0, 1] ** 2 - c[0, 0] * c[1, 1] / k)
            if i != j:
                covariance += k * c[0, 1]
                variance += k * c[0, 0]
                pairs += k
    correlation = max(covariance / variance, 0)
    worth = (pooled * total) ** 2 / q - 2 if q > 0 else 1e12
    pooled_df = min(max(worth, *d), total)
    own = [max(v, pooled * stats.chi2.ppf(0.01, k) / k) for v, k in zip(own, d, strict=True)]
    logs = [
        math.log(v) - special.digamma(k / 2) + math.log(k / 2) for v, k in zip(own, d, strict=True)
    ]
    chance = np.mean([special.polygamma(1, k / 2) for k in d]) * (1 - correlation**2)
    excess = np.var(logs) * cells / stats.chi2.median(cells - 1) - chance
    prior = math.inf
    if excess > 0:
        prior = 2 * optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-3, 1e6)
    moderated, df = [], []
    for v, k in zip(own, d, strict=True):
        d0 = min(prior, (total - k) / 2)
        noisy = v > pooled * stats.chi2.ppf(0.85, k) / k
        drawn = (d0 * pooled + k * v) / (d0 + k)
        moderated.append(max(v, drawn) if noisy else drawn)
        df.append(1 / (1 / (d0 + k) + (d0 / (d0 + k)) ** 2 / pooled_df))
    return moderated, df, correlation


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("sd", [[1, 1, 1, 2, 3, 4], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 9]])
def test_moderated_variances_against_a_scalar_reference(gaps, sd):
    z = draw(6, 7, sd=np.array(sd)[:, None]) + draw(1, 7, seed=1)
    if gaps:
        z[0, 5:] = z[1, 4:] = z[2, 0] = np.nan
    spread = moderate(z)
    moderated, df, correlation = reference(z)
    assert gaps or correlation > 0
    np.testing.assert_allclose(spread.moderated, moderated, rtol=1e-9)
    np.testing.assert_allclose(spread.df, df, rtol=1e-9)


def test_a_row_of_one_seed_or_none_has_no_variance_and_moves_no_other():
    z = draw(5, 4)
    z[1], z[3, 1:] = np.nan, np.nan
    spread = moderate(z)
    assert np.isnan(spread.moderated[[1, 3]]).all()
    assert np.isnan(spread.df[[1, 3]]).all()
    kept = [0, 2, 4]
    np.testing.assert_allclose(spread.moderated[kept], moderate(z[kept]).moderated)
    np.testing.assert_allclose(spread.df[kept], moderate(z[kept]).df)


def test_columns_that_no_row_has_change_nothing():
    z = draw(5, 4)
    wider = np.hstack([z, np.full((5, 3), np.nan)])
    for a, b in zip(moderate(z), moderate(wider), strict=True):
        np.testing.assert_allclose(a, b)


def test_scale_shift_and_order():
    z = draw(6, 5, sd=np.array([1, 1, 1, 2, 3, 4])[:, None])
    plain = moderate(z)
    order = [3, 1, 5, 0, 2, 4]
    moved = moderate(10.0 * z[order] + 70.0)
    np.testing.assert_allclose(moved.moderated, 100.0 * plain.moderated[order])
    np.testing.assert_allclose(moved.df, plain.df[order])


def pooled_df(z):
    squares = ((z - z.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    centred = z - z.mean(axis=-1, keepdims=True)
    return _pooled_df(centred, np.ones(z.shape, bool), squares)


def test_cells_that_vary_as_one_are_worth_one():
    df, correlation = pooled_df(np.repeat(draw(1, 6), 9, axis=0))
    assert df == pytest.approx(5.0)
    assert correlation == pytest.approx(1.0)


def test_independent_cells_are_worth_all_their_seeds():
    df, correlation = pooled_df(draw(5, 400))
    assert df == pytest.approx(5 * 399, rel=0.03)
    assert correlation == pytest.approx(0.0, abs=0.05)


def test_cells_with_something_in_common_are_worth_what_satterthwaite_says():
    z = draw(25, 2000) - draw(1, 2000, seed=1)
    df, correlation = pooled_df(z)
    assert correlation == pytest.approx(0.5, abs=0.03)
    covariance = np.cov(z)
    worth = np.trace(covariance) ** 2 / (covariance**2).sum()
    assert df == pytest.approx(1999 * worth, rel=0.03)
    assert worth == pytest.approx(25**2 / (25 + 25 * 24 / 4), rel=0.15)


def test_trace_of_the_squared_covariance_is_unbiased_at_three_seeds():
    """Without its corrections, n = 3 would see at most 2 of the 4 directions."""
    z = np.random.default_rng(0).standard_normal((4000, 4, 3))
    assert np.median(pooled_df(z)[0]) > 5.0


def test_two_seeds_have_one_degree_of_freedom_between_all_cells():
    assert pooled_df(draw(25, 2))[0] == 1.0


def test_a_chance_tie_gets_no_tiny_variance():
    z = draw(9, 5)
    z[0] = 71.0
    spread = moderate(z)
    assert spread.moderated[0] > 0.25 * z.var(axis=1, ddof=1).mean()


def test_leading_dimensions_are_independent_maps():
    z = np.random.default_rng(0).standard_normal((3, 2, 4, 5))
    z[2, 1, 0, 3:] = np.nan
    together = moderate(z)
    alone = moderate(z[2, 1])
    for whole, part in zip(together, alone, strict=True):
        np.testing.assert_allclose(whole[2, 1], part)


@pytest.mark.parametrize("value", [1.0, 70.1])
def test_no_variance_at_all_is_unknown(value):
    z = np.full((3, 4), value)
    z[0, 0] += 1e-13
    assert np.isnan(moderate(z).moderated).all()
