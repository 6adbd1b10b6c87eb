import math

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict import estimate
from tests.verdict.simulate import WORLDS, World, errors, half_width


def draw(cells, n, n0, world=WORLDS["equal"], maps=1, seed=0):
    return world.draw(np.random.default_rng(seed), maps, cells, n, n0)


def allowed(maps, level=0.05):
    """So many errors in so many maps are exceeded once in a thousand by a method at its level."""
    return stats.binom.isf(1e-3, maps, level) / maps


def test_as_many_baseline_seeds_give_the_mean_paired_difference():
    scores, baseline = draw(4, 5, 5)
    found = estimate.blocked(scores[0], baseline[0])
    np.testing.assert_allclose(found.difference, (scores[0] - baseline[0]).mean(1))
    gaps = scores[0] - baseline[0]
    assert found.pooled_error == pytest.approx((gaps.var(axis=1, ddof=1).mean() / 5) ** 0.5)


def test_one_cell_is_the_paired_t_whatever_the_extra_seeds():
    scores, baseline = draw(1, 6, 20)
    found = estimate.blocked(scores[0], baseline[0])
    reference = stats.ttest_rel(scores[0, 0], baseline[0, :6])
    assert found.difference[0] / found.error[0] == pytest.approx(reference.statistic)
    assert found.own_df == 5
    assert math.isinf(found.common_df)


def test_extra_seeds_are_a_weighted_baseline():
    baseline = np.array([70.0, 71.0, 72.0, 73.0, 74.0, 69.0, 75.5])
    scores = np.array([[70.1, 71.0, 71.2, 71.3, 72.6], [70.5, 70.2, 71.6, 71.9, 72.0]])
    found = estimate.blocked(scores, baseline)
    line = stats.linregress(baseline[:5], scores.mean(0))
    chance = (1 - line.rvalue**2) / line.rvalue**2 / 3  # 1 / F
    slope = line.slope * (1 - chance)
    assert 0.0 < slope < 1.0
    reference = slope * baseline[:5].mean() + (1 - slope) * baseline.mean()
    np.testing.assert_allclose(found.difference, scores.mean(1) - reference)


@pytest.mark.parametrize(("share", "least"), [(0.0, 0.95), (0.5, 0.9), (0.9, 0.88)])
def test_the_standard_error_is_the_spread_of_the_difference(share, least):
    """Fitting how much a seed says costs a few per cent of honesty at n = 5."""
    found = estimate.blocked(*draw(10, 5, 15, World(seed_share=share), maps=4000))
    true = (found.difference**2).mean()
    assert least < (found.pooled_error**2).mean() / true < 1.06
    centred = found.difference
    product = (centred.sum(1) ** 2 - (centred**2).sum(1)).mean() / (10 * 9 * true)
    assert product - 0.12 < found.correlation.mean() < product + 0.03  # less is safe


def test_extra_seeds_help_where_a_seed_says_little_and_do_no_harm_where_it_says_all():
    for share, gain in ((0.0, 0.85), (0.95, 1.05)):
        scores, baseline = draw(10, 5, 15, World(seed_share=share), maps=500)
        more = estimate.blocked(scores, baseline).pooled_error.mean()
        pairs = estimate.blocked(scores, baseline[:, :5]).pooled_error.mean()
        assert more / pairs < gain


def test_unrelated_seeds_of_one_cell_are_welchs_t():
    scores, baseline = draw(1, 5, 9, World(baseline=2.0))
    found = estimate.independent(scores[0], baseline[0])
    reference = stats.ttest_ind(scores[0, 0], baseline[0], equal_var=False)
    assert found.difference[0] / found.error[0] == pytest.approx(reference.statistic)
    assert found.own_df == pytest.approx(reference.df)


def test_dunnett_pools_all_groups():
    scores, baseline = (a[0] for a in draw(3, 5, 9))
    found = estimate.dunnett(scores, baseline)
    groups = [*scores, baseline]
    squares = sum(((g - g.mean()) ** 2).sum() for g in groups)
    assert found.common_df == 3 * 4 + 8
    assert found.error[1] == pytest.approx((squares / 20 * (1 / 5 + 1 / 9)) ** 0.5)
    assert found.correlation == pytest.approx(5 / 14)


@pytest.mark.parametrize("method", [estimate.blocked, estimate.independent, estimate.dunnett])
def test_leading_dimensions_are_independent_maps(method):
    scores, baseline = draw(4, 5, 8, maps=3)
    together = method(scores, baseline)
    alone = method(scores[2], baseline[2])
    for whole, part in zip(together, alone, strict=True):
        np.testing.assert_allclose(whole[2], part)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(("cells", "n", "n0"), [(25, 5, 5), (25, 5, 25), (5, 3, 7)])
def test_blocked_family_wise_error(name, cells, n, n0):
    maps = 800
    found = estimate.blocked(*draw(cells, n, n0, WORLDS[name], maps))
    assert errors(found) <= allowed(maps)


@pytest.mark.parametrize(("cells", "n"), [(1, 5), (2, 5), (125, 5), (25, 10), (25, 20)])
def test_blocked_family_wise_error_from_1_to_125_cells(cells, n):
    maps = 400
    found = estimate.blocked(*draw(cells, n, n, World(), maps))
    assert errors(found) <= allowed(maps)


@pytest.mark.parametrize("name", WORLDS)
def test_independent_family_wise_error(name):
    found = estimate.independent(*draw(25, 5, 25, WORLDS[name], 500))
    assert errors(found) <= allowed(500)


def test_dunnett_family_wise_error_where_spreads_are_equal():
    found = estimate.dunnett(*draw(25, 5, 25, World(), 800))
    assert 0.02 < errors(found) <= allowed(800)


def test_the_simulation_convicts_methods_that_are_wrong():
    scores, baseline = draw(25, 5, 5, World(), 500)
    gaps = scores - baseline[:, None]
    t = np.abs(gaps.mean(2)) / np.sqrt(gaps.var(axis=2, ddof=1) / 5)
    assert (t.max(1) > stats.t.isf(0.025, 4)).mean() > 0.3  # uncorrected
    uneven = estimate.dunnett(*draw(25, 5, 25, WORLDS["one cell 3x"], 500))
    assert errors(uneven) > 0.15


@pytest.mark.parametrize(("n", "saving"), [(3, 0.45), (5, 0.65), (10, 0.85), (20, 0.95)])
def test_intervals_are_narrower_than_bonferronis(n, saving):
    scores, baseline = draw(25, n, n, World(), 40)
    gaps = scores - baseline[:, None]
    bonferroni = stats.t.isf(0.025 / 25, n - 1) * np.sqrt(gaps.var(axis=2, ddof=1) / n)
    assert half_width(estimate.blocked(scores, baseline)) < saving * np.median(bonferroni)


def test_more_baseline_seeds_narrow_the_intervals():
    scores, baseline = draw(25, 5, 25, World(), 40)
    few = half_width(estimate.blocked(scores, baseline[:, :5]))
    assert half_width(estimate.blocked(scores, baseline)) < 0.85 * few
