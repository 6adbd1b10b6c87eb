import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict import Design, Verdict, blocked_map, independent_map

RNG = np.random.default_rng(7)
BASELINE = 72.0 + 0.3 * RNG.standard_normal(12)
SCORES = 72.0 + 0.3 * RNG.standard_normal((6, 5)) + np.array([[-2, -0.3, 0, 0.1, 0.4, 2]]).T


def intervals(outcome):
    return np.array([(cell.low, cell.high) for cell in outcome.cells])


def test_one_cell_is_scipys_paired_t_interval():
    outcome = blocked_map(SCORES[:1], BASELINE[:5])
    reference = stats.ttest_rel(SCORES[0], BASELINE[:5]).confidence_interval(0.95)
    np.testing.assert_allclose(intervals(outcome)[0], tuple(reference), rtol=1e-9)
    assert outcome.cells[0].difference == pytest.approx((SCORES[0] - BASELINE[:5]).mean())


def test_dunnett_is_scipys():
    outcome = independent_map(SCORES[:3], BASELINE, level=0.9)
    reference = stats.dunnett(
        *SCORES[:3], control=BASELINE, random_state=np.random.default_rng(0)
    ).confidence_interval(0.9)
    np.testing.assert_allclose(intervals(outcome)[:, 0], reference.low, atol=2e-3)
    np.testing.assert_allclose(intervals(outcome)[:, 1], reference.high, atol=2e-3)


def test_one_independent_cell_is_scipys_two_sample_t():
    pooled = independent_map(SCORES[:1], BASELINE)
    reference = stats.ttest_ind(SCORES[0], BASELINE).confidence_interval(0.95)
    np.testing.assert_allclose(intervals(pooled)[0], tuple(reference), rtol=1e-4)
    welch = independent_map(SCORES[:1], BASELINE, equal_spread=False)
    reference = stats.ttest_ind(SCORES[0], BASELINE, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(intervals(welch)[0], tuple(reference), rtol=1e-9)


def test_what_an_outcome_says_of_itself():
    outcome = blocked_map(SCORES, BASELINE, level=0.9, margin=0.2)
    assert (outcome.design, outcome.level, outcome.margin) == (Design.BLOCKED, 0.9, 0.2)
    assert (outcome.n, outcome.baseline_n, outcome.judged) == (5, 12, 6)
    assert independent_map(SCORES, BASELINE).design is Design.INDEPENDENT
    assert outcome.luck is not None
    assert outcome.luck > 0
    assert [c.verdict for c in outcome.cells][0::5] == [Verdict.NEGATIVE, Verdict.POSITIVE]


@pytest.mark.parametrize("judge", [blocked_map, independent_map])
class TestInvariances:
    def test_shift(self, judge):
        there = intervals(judge(SCORES, BASELINE))
        np.testing.assert_allclose(intervals(judge(SCORES + 10, BASELINE + 10)), there)
        np.testing.assert_allclose(intervals(judge(SCORES + 10, BASELINE)), there + 10)

    def test_sign(self, judge):
        there = judge(SCORES, BASELINE)
        back = judge(-SCORES, -BASELINE)
        np.testing.assert_allclose(intervals(back), -intervals(there)[:, ::-1])
        for a, b in zip(there.cells, back.cells, strict=True):
            assert a.p_better == pytest.approx(1 - b.p_better)
            assert a.seeds_better == pytest.approx(1 - b.seeds_better)

    def test_scale(self, judge):
        there = judge(SCORES, BASELINE)
        np.testing.assert_allclose(
            intervals(judge(3 * SCORES, 3 * BASELINE)), 3 * intervals(there)
        )

    def test_order_of_cells(self, judge):
        order = [3, 0, 5, 1, 4, 2]
        there = intervals(judge(SCORES, BASELINE))
        np.testing.assert_allclose(intervals(judge(SCORES[order], BASELINE)), there[order])

    def test_one_seed_gives_a_reason_and_no_interval(self, judge):
        outcome = judge(SCORES[:, :1], BASELINE[:1])
        assert {cell.verdict for cell in outcome.cells} == {Verdict.INCONCLUSIVE}
        assert {cell.reason for cell in outcome.cells} == {"one seed shows no spread to judge by"}
        assert outcome.cells[0].low is None
        assert outcome.cells[0].difference == pytest.approx(SCORES[0, 0] - BASELINE[0])
        assert (outcome.judged, outcome.luck) == (0, None)

    def test_constant_scores_give_a_reason_and_no_interval(self, judge):
        outcome = judge(np.full((2, 4), 71.3), np.full(4, 71.1))
        assert {cell.reason for cell in outcome.cells} == {"no spread between seeds to judge by"}
        assert outcome.cells[0].difference == pytest.approx(0.2)

    def test_a_cell_with_a_failed_seed_is_not_judged_and_moves_no_other(self, judge):
        failed = SCORES.copy()
        failed[2, [0, 3]] = np.nan
        outcome = judge(failed, BASELINE)
        cell = outcome.cells[2]
        assert (cell.verdict, cell.reason) == (Verdict.INCONCLUSIVE, "2 of 5 seeds failed")
        assert (cell.n, cell.low) == (3, None)
        others = [0, 1, 3, 4, 5]
        without = judge(SCORES[others], BASELINE)
        assert tuple(outcome.cells[i] for i in others) == without.cells
        assert outcome.judged == 5

    def test_a_cell_that_failed_altogether(self, judge):
        failed = SCORES.copy()
        failed[2] = np.nan
        cell = judge(failed, BASELINE).cells[2]
        assert (cell.difference, cell.n, cell.reason) == (None, 0, "5 of 5 seeds failed")

    def test_a_baseline_that_failed_altogether(self, judge):
        outcome = judge(SCORES, np.full(5, np.nan))
        assert {cell.reason for cell in outcome.cells} == {"no seed of the baseline finished"}
        assert {cell.difference for cell in outcome.cells} == {None}

    def test_all_cells_failed(self, judge):
        outcome = judge(np.full((2, 3), np.nan), BASELINE[:3])
        assert {cell.reason for cell in outcome.cells} == {"3 of 3 seeds failed"}


def test_one_baseline_seed_cannot_judge_unrelated_cells():
    outcome = independent_map(SCORES, BASELINE[:1])
    reason = "one seed of the baseline shows no spread to judge by"
    assert {cell.reason for cell in outcome.cells} == {reason}


def test_a_seed_whose_baseline_failed_is_left_out_of_every_cell():
    gone = BASELINE[:7].copy()
    gone[[1, 5]] = np.nan
    kept = [0, 2, 3, 4]
    expected = blocked_map(SCORES[:, kept], BASELINE[[*kept, 6]])
    assert blocked_map(SCORES, gone) == expected
    assert (expected.n, expected.baseline_n) == (4, 5)
    failed = SCORES.copy()
    failed[0, 1] = np.nan  # failed with its baseline: still a failure of the cell
    assert blocked_map(failed, gone).cells[0].reason == "1 of 5 seeds failed"


def test_cells_equal_to_the_baseline_are_not_judged_and_move_no_other():
    sentinels = np.vstack([SCORES, BASELINE[:5], BASELINE[:5]])
    outcome = blocked_map(sentinels, BASELINE)
    assert outcome.cells[:6] == blocked_map(SCORES, BASELINE).cells
    for cell in outcome.cells[6:]:
        assert cell.verdict is Verdict.INCONCLUSIVE
        assert cell.reason == "equal to the baseline on every seed"
        assert cell.difference == 0.0
    assert outcome.judged == 6


def test_rounding_is_no_spread():
    baseline = np.array([70.1, 33.3, 0.7])
    outcome = blocked_map(baseline[None] + 0.2, baseline)  # 0.2 to within the last bits
    assert np.ptp(baseline + 0.2 - baseline) > 0
    assert outcome.cells[0].reason == "no spread between seeds to judge by"
    same = blocked_map(baseline[None] + 1e-13, baseline)
    assert same.cells[0].reason == "equal to the baseline on every seed"


def test_a_cell_that_beats_the_baseline_by_the_same_on_every_seed_is_judged_by_the_others():
    scores = SCORES.copy()
    scores[2] = BASELINE[:5] + 0.1
    cell = blocked_map(scores, BASELINE[:5]).cells[2]
    assert cell.reason is None
    assert cell.verdict is Verdict.INCONCLUSIVE


def test_tight_cells_around_the_baseline_are_equivalent():
    scores = BASELINE[:5] + 0.01 * RNG.standard_normal((4, 5))
    outcome = blocked_map(scores, BASELINE[:5])
    assert {cell.verdict for cell in outcome.cells} == {Verdict.EQUIVALENT}
    tighter = blocked_map(scores, BASELINE[:5], margin=1e-4)
    assert {cell.verdict for cell in tighter.cells} == {Verdict.INCONCLUSIVE}


def test_seeds_better():
    baseline = np.array([70.0, 70.0, 71.0, 72.0])
    scores = np.array([[71.0, 70.0, 70.0, 73.0], [71.0, 71.0, 72.0, 73.5]])
    paired = blocked_map(scores, baseline)
    assert [cell.seeds_better for cell in paired.cells] == [2.5 / 4, 1.0]
    crossed = independent_map(scores, baseline)
    assert crossed.cells[0].seeds_better == (2.5 + 1 + 1 + 4) / 16


def test_luck_of_independent_cells():
    outcome = independent_map(SCORES, BASELINE)
    groups = [*SCORES, BASELINE]
    sd = (sum(((g - g.mean()) ** 2).sum() for g in groups) / (6 * 4 + 11)) ** 0.5
    best = np.random.default_rng(0).standard_normal((20_000, 6)).max(1).mean()
    assert outcome.luck == pytest.approx(sd / 5**0.5 * best, rel=0.02)
