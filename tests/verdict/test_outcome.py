import math

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict import Verdict, estimate
from kdsweep.verdict.maximum import critical_value, expected_maximum
from kdsweep.verdict.outcome import classify, judge
from tests.verdict.simulate import World


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 3.0, "positive"),
        (0.01, 0.05, "positive"),  # inside the margin too, but it excludes 0
        (-3.0, -0.001, "negative"),
        (-0.05, -0.01, "negative"),
        (-0.1, 0.1, "equivalent"),
        (0.0, 0.05, "equivalent"),
        (-0.101, 0.05, "inconclusive"),
        (-0.05, 0.101, "inconclusive"),
        (-1.0, 1.0, "inconclusive"),
    ],
)
def test_classify(low, high, verdict):
    assert classify(low, high, 0.1) is Verdict(verdict)


def null(difference, *, correlation=0.3, common_df=12.0, own_df=8.0):
    difference = np.asarray(difference)
    error = np.full_like(difference, 0.2)
    one = (np.asarray(v) for v in (0.25, correlation, common_df, own_df))
    return estimate.Estimate(difference, error, *one)


def test_interval_is_the_critical_value_times_the_error():
    cells, _ = judge(
        null([0.5, -1.0, 2.0]), level=0.9, margin=0.1, n=5, seeds_better=np.array([0.2, 0.4, 1.0])
    )
    limit = critical_value(level=0.9, cells=3, correlation=0.3, common_df=12.0, own_df=8.0)
    assert cells[1].low == pytest.approx(-1.0 - 0.2 * limit)
    assert cells[1].high == pytest.approx(-1.0 + 0.2 * limit)
    assert [cell.seeds_better for cell in cells] == [0.2, 0.4, 1.0]
    assert [cell.n for cell in cells] == [5, 5, 5]
    assert [cell.verdict for cell in cells] == ["inconclusive", "negative", "positive"]


def test_p_better_is_a_probability_of_each_cell_alone():
    alone, _ = judge(
        null([0.3], correlation=0.0, common_df=math.inf, own_df=4.0),
        level=0.95,
        margin=0.1,
        n=5,
        seeds_better=np.ones(1),
    )
    assert alone[0].p_better == pytest.approx(stats.t.cdf(1.5, 4), abs=1e-5)
    cells, _ = judge(null([0.3, -0.3, 0.0]), level=0.95, margin=0.1, n=5, seeds_better=np.ones(3))
    assert cells[0].p_better == pytest.approx(1 - cells[1].p_better)
    assert cells[2].p_better == pytest.approx(0.5)


def test_smallest_effect_of_one_cell_is_the_noncentral_ts():
    (cell,), _ = judge(
        null([0.3], correlation=0.0, common_df=math.inf, own_df=4.0),
        level=0.95,
        margin=0.1,
        n=5,
        seeds_better=np.ones(1),
    )
    power = stats.nct.sf(stats.t.isf(0.025, 4), 4, cell.smallest_effect / 0.2)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_luck_is_the_expected_maximum_of_what_the_cells_do_not_share():
    _, luck = judge(null(np.zeros(7)), level=0.95, margin=0.1, n=5, seeds_better=np.ones(7))
    assert luck == pytest.approx(0.25 * 0.7**0.5 * expected_maximum(7))


def test_a_planted_effect_of_the_smallest_size_is_found_four_times_in_five():
    cells, n, n0, maps = 5, 4, 9, 6000
    scores, baseline = World().draw(np.random.default_rng(0), maps, cells, n, n0)
    true_error = (1 / n + 1 / n0) ** 0.5  # of a standard deviation of 1
    known = estimate.dunnett(scores[0], baseline[0])
    (cell, *_), _ = judge(known, level=0.95, margin=0.1, n=n, seeds_better=np.ones(cells))
    limit = (cell.high - cell.difference) / known.error[0]
    scores[:, 0] += cell.smallest_effect / known.error[0] * true_error
    found = estimate.dunnett(scores, baseline)
    power = (np.abs(found.difference[:, 0] / found.error[:, 0]) > limit).mean()
    assert power == pytest.approx(0.8, abs=0.02)


def test_effects_that_small_are_found_in_blocked_maps_too():
    """Plant in every cell what the map says, on average, that it could find."""
    scores, baseline = World().draw(np.random.default_rng(0), 60, 25, 5, 25)
    nulls = [estimate.blocked(scores[i], baseline[i]) for i in range(30)]
    sizes = [
        cell.smallest_effect
        for null_map in nulls
        for cell in judge(null_map, level=0.95, margin=0.1, n=5, seeds_better=np.ones(25))[0]
    ]
    planted = [estimate.blocked(scores[i] + np.mean(sizes), baseline[i]) for i in range(30, 60)]
    found = [
        cell.verdict is Verdict.POSITIVE
        for one in planted
        for cell in judge(one, level=0.95, margin=0.1, n=5, seeds_better=np.ones(25))[0]
    ]
    assert 0.65 < np.mean(found) < 0.95
