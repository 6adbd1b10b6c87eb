import math

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict.maximum import below, critical_value, detectable, exceedance, expected_maximum


@pytest.mark.parametrize("df", [2, 3, 4, 10, 100])
def test_one_cell_is_students_t(df):
    t = stats.t.isf(0.025, df)
    assert exceedance(t, cells=1, own_df=df) == pytest.approx(0.05, rel=1e-3)
    assert exceedance(t, cells=1, common_df=df) == pytest.approx(0.05, rel=1e-3)
    assert critical_value(level=0.95, cells=1, common_df=df) == pytest.approx(t, rel=1e-3)
    assert below(1.3, own_df=df) == pytest.approx(stats.t.cdf(1.3, df), abs=1e-5)
    assert below(-2.0, common_df=df) == pytest.approx(stats.t.cdf(-2.0, df), abs=1e-5)


def test_one_cell_with_its_own_variance_alone_is_exact():
    found = critical_value(level=0.9, cells=1, own_df=4)
    assert found == pytest.approx(stats.t.isf(0.05, 4), rel=1e-12)


def test_without_correlation_and_with_sure_variances_the_cells_are_independent():
    normal = 1 - (1 - 2 * stats.norm.sf(2.7)) ** 7
    assert exceedance(2.7, cells=7) == pytest.approx(normal, rel=1e-9)
    own = 1 - (1 - 2 * stats.t.sf(2.7, 6)) ** 7
    assert exceedance(2.7, cells=7, own_df=6) == pytest.approx(own, rel=1e-4)


@pytest.mark.parametrize(("cells", "correlation", "df"), [(3, 0.5, 8), (5, 0.2, 20)])
def test_shared_variance_is_the_multivariate_t(cells, correlation, df):
    shape = np.full((cells, cells), correlation) + (1 - correlation) * np.eye(cells)
    reference = stats.multivariate_t(shape=shape, df=df, seed=np.random.default_rng(0))
    box = np.full(cells, 2.6)
    inside = reference.cdf(box, lower_limit=-box)
    found = exceedance(2.6, cells=cells, correlation=correlation, common_df=df)
    assert found == pytest.approx(1 - inside, abs=2e-4)


@pytest.mark.parametrize(
    ("correlation", "common", "own"),
    [(0.5, 4, 6), (0.9, 14, 10), (0.95, 40, 5), (0.2, math.inf, 8)],
)
def test_tail_agrees_with_simulation(correlation, common, own):
    rng = np.random.default_rng(0)
    size, cells = 40_000, 12
    x, z = rng.standard_normal((size, 1)), rng.standard_normal((size, cells))
    s = 1.0 if math.isinf(common) else rng.chisquare(common, (size, 1)) / common
    o = rng.chisquare(own, (size, cells)) / own
    t = (correlation**0.5 * x + (1 - correlation) ** 0.5 * z) / np.sqrt(s * o)
    limit = critical_value(
        level=0.95, cells=cells, correlation=correlation, common_df=common, own_df=own
    )
    beyond = int((np.abs(t).max(1) > limit).sum())
    assert stats.binomtest(beyond, size, 0.05).pvalue > 1e-3


def test_critical_value_is_where_the_tail_is_small_enough():
    limit = critical_value(level=0.95, cells=25, correlation=0.3, common_df=20, own_df=9)
    tail = exceedance(limit, cells=25, correlation=0.3, common_df=20, own_df=9)
    assert tail == pytest.approx(0.05, rel=1e-6)


def test_more_cells_less_correlation_and_fewer_degrees_of_freedom_ask_for_more():
    def limit(cells=25, correlation=0.3, common_df=20.0, own_df=9.0):
        return critical_value(
            level=0.95, cells=cells, correlation=correlation, common_df=common_df, own_df=own_df
        )

    assert limit() < limit(cells=26)
    assert limit() < limit(correlation=0.2)
    assert limit() < limit(common_df=15.0)
    assert limit() < limit(own_df=7.0)
    assert limit(correlation=-0.5) == limit(correlation=0.0)


def test_arguments_broadcast():
    t = np.array([[2.0], [3.0]])
    both = exceedance(t, cells=5, own_df=np.array([4.0, 8.0, math.inf]))
    assert both.shape == (2, 3)
    assert both[1, 0] == exceedance(3.0, cells=5, own_df=4.0)


@pytest.mark.parametrize("df", [3, 4, 30])
def test_detectable_difference_is_that_of_the_noncentral_t(df):
    limit = 3.1
    shift = detectable(limit, power=0.8, own_df=df)
    power = stats.nct.sf(limit, df, shift) + stats.nct.cdf(-limit, df, shift)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_detectable_difference_is_found_even_where_the_limit_is_huge():
    shift = detectable(400.0, power=0.8, own_df=1)
    assert stats.nct.sf(400.0, 1, shift) == pytest.approx(0.8, abs=0.03)


def test_detectable_difference_counts_both_sides_and_reaches_high_power():
    shift = detectable(1.0, power=0.5)
    assert stats.norm.sf(1.0 - shift) + stats.norm.cdf(-1.0 - shift) == pytest.approx(0.5)
    assert stats.norm.sf(1.0 - shift) < 0.49
    far = detectable(30.0, power=0.99, own_df=1)
    assert stats.nct.sf(30.0, 1, far) == pytest.approx(0.99, abs=0.01)
    assert far > 64


def test_full_correlation_is_judged_as_a_little_less():
    assert exceedance(2.5, cells=9, correlation=1.0) == exceedance(2.5, cells=9, correlation=0.95)


def test_expected_maximum():
    assert expected_maximum(1) == pytest.approx(0.0, abs=1e-6)
    assert expected_maximum(2) == pytest.approx(math.pi**-0.5, abs=1e-5)
    assert expected_maximum(3) == pytest.approx(1.5 * math.pi**-0.5, abs=1e-5)
    assert expected_maximum(25) == pytest.approx(1.9653, abs=1e-4)  # Harter 1961, table 1
