import math

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict.spending import round_levels, spent

QUARTERS = (0.25, 0.5, 0.75, 1.0)


def beyond(levels, fractions):
    """P(|z| beyond its limit in any round), by scipy's multivariate normal."""
    t = np.array(fractions)
    correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    limits = stats.norm.isf(np.array(levels) / 2)
    zero = np.zeros(len(t))
    inside = stats.multivariate_normal.cdf(
        limits, zero, correlation, lower_limit=-limits, abseps=1e-7, releps=1e-7,
        maxpts=2_000_000, rng=np.random.default_rng(0),
    )  # fmt: skip
    return 1 - inside


def test_one_round_spends_all():
    assert round_levels(0.05, (1.0,)) == (pytest.approx(0.05),)


@pytest.mark.parametrize("gamma", [-4.0, -1.0, 2.0])
def test_error_spent_is_hwang_shih_and_decanis(gamma):
    half = (1 - math.exp(-gamma / 2)) / (1 - math.exp(-gamma))
    assert spent(0.1, (0.5, 1.0), gamma) == pytest.approx([0.1 * half, 0.1])


@pytest.mark.parametrize("fractions", [QUARTERS, (0.1, 0.5, 1.0)])
@pytest.mark.parametrize("error", [0.2, 0.05, 0.002])
def test_rounds_together_have_the_error_and_each_has_its_part(error, fractions):
    levels = round_levels(error, fractions)
    target = spent(error, fractions)
    for r in range(1, len(fractions) + 1):
        found = beyond(levels[:r], fractions[:r]) if r > 1 else levels[0]
        assert found == pytest.approx(target[r - 1], rel=2e-3)


def test_pococks_boundary():
    """Equal levels of .0182 in 4 equal rounds have an error of .05 (Pocock 1977, table 1)."""
    assert beyond([0.0182] * 4, QUARTERS) == pytest.approx(0.05, abs=2e-4)
    near = round_levels(0.05, QUARTERS, gamma=1.0)  # which is about Pocock's
    assert max(near) - min(near) < 0.004
    assert np.mean(near) == pytest.approx(0.0182, abs=1e-3)


def test_a_lower_gamma_saves_error_for_the_end():
    early, late = round_levels(0.05, QUARTERS, 1.0), round_levels(0.05, QUARTERS, -4.0)
    assert late[0] < early[0]
    assert early[-1] < late[-1] < 0.05


def test_rounds_that_are_alike_leave_more_for_the_last():
    """The increments alone would be Bonferroni's; what walks share makes them worth more."""
    levels = round_levels(0.05, QUARTERS)
    increments = np.diff([0.0, *spent(0.05, QUARTERS)])
    assert levels[0] == pytest.approx(increments[0])
    assert (np.array(levels[1:]) > 1.05 * increments[1:]).all()
