import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict import RaceDesign
from kdsweep.verdict.race import BETTER, EQUIVALENT, OPEN, WORSE, classify, race

DESIGN = RaceDesign.create(cells=6, seeds=3, rounds=4, axes=(2, 3))
TRUTH = np.array([-3.0, -0.8, 0.0, 0.1, 0.8, 3.0])


def draw(maps=40, design=DESIGN, truth=TRUTH, seed=0, sd=0.8):
    rng = np.random.default_rng(seed)
    scores = 70 + truth[:, None] + sd * rng.standard_normal((maps, design.cells, design.seeds[-1]))
    shape = (maps, design.baseline_count, design.baselines[-1])
    return scores, 70 + sd * rng.standard_normal(shape)


def test_classify():
    low = np.array([0.1, -2.0, -0.5, -0.5, -0.6, 0.0, np.nan])
    high = np.array([0.2, -0.1, 0.5, 0.6, 0.5, 0.3, np.nan])
    expected = [BETTER, WORSE, EQUIVALENT, OPEN, OPEN, EQUIVALENT, OPEN]
    assert classify(low, high, 0.5).tolist() == expected


def test_one_cell_judged_once_is_scipys_welch_interval():
    design = RaceDesign.create(cells=1, seeds=5, level=0.9)
    scores, baselines = draw(1, design, np.zeros(1))
    found = race(design, scores, baselines).cells
    reference = stats.ttest_ind(scores[0, 0], baselines[0, 0], equal_var=False)
    interval = reference.confidence_interval(0.9)
    assert (found.low[0, 0], found.high[0, 0]) == pytest.approx(tuple(interval), rel=1e-9)


def test_a_race_is_the_rounds_one_after_the_other():
    """What the race keeps of a cell is what its last round says, on the seeds seen by then."""
    scores, baselines = draw()
    whole = race(DESIGN, scores, baselines)
    assert len(np.unique(whole.last)) == 4
    for r in range(1, 5):
        there = race(DESIGN, scores, baselines, rounds=r)
        stopped = (whole.last == r) & ~there.racing
        assert stopped.any()
        for name in ("verdict", "low", "high", "difference", "error"):
            np.testing.assert_array_equal(
                getattr(there.cells, name)[stopped], getattr(whole.cells, name)[stopped]
            )
        assert (whole.last[there.racing] > r).all()
    assert not whole.racing.any()


def test_who_stops_and_who_goes_on():
    scores, baselines = draw()
    for r in range(1, 5):
        there = race(DESIGN, scores, baselines, rounds=r)
        now = there.last == r
        t = np.abs(there.cells.difference / there.cells.error)
        goes_on = now & (there.cells.verdict == OPEN) & (t > DESIGN.futility) & (r < 4)
        np.testing.assert_array_equal(there.racing, goes_on)


def test_intervals_and_verdicts_agree_and_have_the_levels_of_their_rounds():
    scores, baselines = draw()
    found = race(DESIGN, scores, baselines)
    cells = found.cells
    assert {BETTER, WORSE, OPEN} <= set(cells.verdict.ravel().tolist())
    np.testing.assert_array_equal(cells.verdict == BETTER, cells.low > 0)
    np.testing.assert_array_equal(cells.verdict == WORSE, cells.high < 0)
    limit = (cells.high - cells.low) / 2 / cells.error
    level = np.array(DESIGN.cell_levels)[found.last - 1]
    np.testing.assert_allclose(2 * stats.t.sf(limit, cells.df), level, rtol=1e-9)
    np.testing.assert_allclose((cells.high + cells.low) / 2, cells.difference, atol=1e-9)


def test_values_after_a_cells_last_round_are_not_looked_at():
    scores, baselines = draw()
    found = race(DESIGN, scores, baselines)
    gone = scores.copy()
    for m, c in np.ndindex(*found.last.shape):
        gone[m, c, DESIGN.seeds[found.last[m, c] - 1] :] = 1e6
    again = race(DESIGN, gone, baselines)
    np.testing.assert_array_equal(again.cells.low, found.cells.low)
    np.testing.assert_array_equal(again.averages.low, found.averages.low)


def test_maps_do_not_know_of_each_other():
    scores, baselines = draw()
    together = race(DESIGN, scores, baselines)
    for m in (0, 17, 39):
        alone = race(DESIGN, scores[m : m + 1], baselines[m : m + 1])
        np.testing.assert_allclose(alone.cells.low[0], together.cells.low[m])
        np.testing.assert_allclose(alone.averages.high[0], together.averages.high[m])
        assert alone.last[0].tolist() == together.last[m].tolist()


class TestInvariances:
    SCORES, BASELINES = draw(20)
    THERE = race(DESIGN, SCORES, BASELINES)

    def test_shift(self):
        moved = race(DESIGN, self.SCORES - 12, self.BASELINES - 12)
        np.testing.assert_allclose(moved.cells.low, self.THERE.cells.low, atol=1e-9)

    def test_sign(self):
        back = race(DESIGN, -self.SCORES, -self.BASELINES)
        np.testing.assert_allclose(back.cells.low, -self.THERE.cells.high)
        np.testing.assert_allclose(back.averages.low, -self.THERE.averages.high)
        decided = self.THERE.cells.verdict != EQUIVALENT
        np.testing.assert_array_equal(
            back.cells.verdict[decided], -self.THERE.cells.verdict[decided]
        )

    def test_scale(self):
        wide = dataclasses.replace(DESIGN, margin=10 * DESIGN.margin)
        scaled = race(wide, 10 * self.SCORES, 10 * self.BASELINES)
        np.testing.assert_allclose(scaled.cells.low, 10 * self.THERE.cells.low)
        np.testing.assert_array_equal(scaled.cells.verdict, self.THERE.cells.verdict)

    def test_order_of_cells(self):
        order = [3, 0, 5, 1, 4, 2]
        plain = dataclasses.replace(DESIGN, axes=None)
        moved = race(plain, self.SCORES[:, order], self.BASELINES)
        np.testing.assert_allclose(moved.cells.low, self.THERE.cells.low[:, order])
        np.testing.assert_array_equal(moved.last, self.THERE.last[:, order])

    def test_order_of_a_rounds_seeds(self):
        shuffled = self.SCORES.copy()
        shuffled[..., 3:6] = shuffled[..., [5, 3, 4]]
        moved = race(DESIGN, shuffled, self.BASELINES)
        np.testing.assert_allclose(moved.cells.low, self.THERE.cells.low)


def test_tight_cells_around_the_baseline_are_equivalent():
    scores, baselines = draw(5, truth=np.zeros(6), sd=0.05)
    assert (race(DESIGN, scores, baselines).cells.verdict == EQUIVALENT).mean() > 0.9
    strict = dataclasses.replace(DESIGN, margin=1e-3)
    assert not (race(strict, scores, baselines).cells.verdict == EQUIVALENT).any()


def test_several_baselines_grow_only_while_one_of_their_cells_is_in_the_race():
    design = RaceDesign.create(cells=4, seeds=3, rounds=3, groups=(0, 0, 1, 1), futility=1e9)
    scores, baselines = draw(10, design, np.zeros(4))
    assert (race(design, scores, baselines).baseline_last == 1).all()
    scores[:, :2] += 1.4
    still = dataclasses.replace(design, futility=0.0, margin=0.0)
    scores[:, 2:] += 1e3
    found = race(still, scores, baselines)
    assert (found.baseline_last[:, 1] == 1).all()
    assert (found.baseline_last[:, 0] > 1).any()


def averages_by_hand(scores, baseline, rows, design=DESIGN):
    by_seed = scores[rows, : design.seeds[0]].mean(axis=0)
    return by_seed.mean() - baseline[: design.baselines[0]].mean(), by_seed


def test_averages_are_those_of_the_places_after_the_first_round():
    scores, baselines = draw(3)
    found = race(DESIGN, scores, baselines).averages
    grid = np.arange(6).reshape(2, 3)
    assert found.difference.shape == (3, 6)
    for i, slice_ in enumerate(DESIGN.slices):
        difference, _ = averages_by_hand(scores[2], baselines[2, 0], slice_.of(grid).ravel())
        assert found.difference[2, i] == pytest.approx(difference)


def test_the_average_over_all_cells_is_welchs_comparison_of_seed_means():
    scores, baselines = draw(3)
    found = race(DESIGN, scores, baselines).averages
    _, by_seed = averages_by_hand(scores[1], baselines[1, 0], np.arange(6))
    first = baselines[1, 0, : DESIGN.baselines[0]]
    interval = stats.ttest_ind(by_seed, first, equal_var=False).confidence_interval(
        1 - DESIGN.average_level
    )
    assert (found.low[1, -1], found.high[1, -1]) == pytest.approx(tuple(interval))


def test_an_average_counts_what_its_cells_share_once_for_each_seed():
    scores, baselines = draw(200, truth=np.zeros(6))
    shared = scores[:, :1] + 1e-3 * (scores - 70)
    apart = race(DESIGN, scores, baselines).averages.error[:, -1]
    together = race(DESIGN, shared, baselines).averages.error[:, -1]
    assert (together**2).mean() / (apart**2).mean() == pytest.approx(0.293 / 0.116, rel=0.2)


def test_an_average_with_failed_seeds_has_the_mean_of_its_cells_means():
    scores, baselines = draw(1)
    whole = race(DESIGN, scores, baselines).averages
    scores[0, 1, 2] = np.nan
    found = race(DESIGN, scores, baselines).averages
    first = scores[0, :, :3]
    expected = np.nanmean(first, axis=1).mean() - baselines[0, 0, : DESIGN.baselines[0]].mean()
    assert found.difference[0, -1] == pytest.approx(expected)
    assert found.difference[0, 1] == whole.difference[0, 1]  # a row that it isn't in
    assert np.isfinite(found.low).all()
    scores[0, 1] = np.nan
    without = race(DESIGN, scores, baselines).averages
    assert np.isnan(without.low[0]).tolist() == [True, False, False, True, False, True]


def test_averages_over_several_baselines():
    design = RaceDesign.create(cells=4, seeds=3, axes=(2, 2), groups=(0, 0, 1, 1))
    scores, baselines = draw(1, design, np.zeros(4))
    baselines[:, 1] += 10
    found = race(design, scores, baselines).averages.difference[0]
    own = baselines[0].mean(axis=1)
    cells = scores[0].mean(axis=1) - own[[0, 0, 1, 1]]
    expected = [cells[:2].mean(), cells[2:].mean(), cells[::2].mean(), cells[1::2].mean()]
    np.testing.assert_allclose(found, [*expected, cells.mean()])


def test_failed_seeds_lower_n_and_no_more():
    scores, baselines = draw(30)
    whole = race(DESIGN, scores, baselines, rounds=1).cells
    scores[:, 2, 1] = np.nan
    baselines[:, 0, 0] = np.nan
    part = race(DESIGN, scores, baselines, rounds=1).cells
    assert np.isfinite(part.low).all()
    assert (part.error[:, 2] > whole.error[:, 2]).mean() > 0.7
    scores[:, 2, 2] = np.nan
    found = race(DESIGN, scores, baselines)
    assert np.isnan(found.cells.low[:, 2]).all()
    assert (found.cells.verdict[:, 2] == OPEN).all()
    assert (found.last[:, 2] == 1).all()  # one seed of three: it is not trained any further


def test_no_spread_gives_no_interval():
    flat = race(DESIGN, np.full((1, 6, 12), 71.3), np.full((1, 1, 40), 71.1))
    assert np.isnan(flat.cells.low).all()
    assert flat.cells.difference[0, 0] == pytest.approx(0.2)
    assert not math.isnan(flat.averages.difference[0, 0])
