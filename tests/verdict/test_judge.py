import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from kdsweep.verdict import RaceDesign, Verdict, judge, judge_rounds
from kdsweep.verdict.race import race

DESIGN = RaceDesign.create(cells=6, seeds=3, rounds=4, axes=(2, 3))
TRUTH = np.array([-3.0, -0.9, 0.0, 0.3, 0.9, 3.0])
RNG = np.random.default_rng(5)
SCORES = 70 + TRUTH[:, None] + 0.6 * RNG.standard_normal((6, 12))
BASELINE = 70 + 0.6 * RNG.standard_normal(DESIGN.baselines[-1])


def train(design, scores, baselines):
    """Play a race as a sweep would: train what is pending, judge, and so on."""
    seen = [np.array([])] * design.cells
    theirs = [np.array([])] * design.baseline_count
    outcomes = []
    pending = tuple(range(design.cells))
    for r in range(1, design.rounds + 1):
        for i in pending:
            seen[i] = scores[i][: design.cell_seeds(r)]
            theirs[design.groups[i]] = baselines[design.groups[i]][: design.baseline_seeds(r)]
        outcomes.append(judge(design, seen, theirs))
        pending = outcomes[-1].pending
        if not pending:
            break
    return outcomes, sum(map(len, seen)) + sum(map(len, theirs))


def test_a_replay_of_everything_is_the_race_as_it_was_played():
    outcomes, trainings = train(DESIGN, SCORES, [BASELINE])
    assert [outcome.round for outcome in outcomes] == list(range(1, len(outcomes) + 1))
    assert len(outcomes) > 2
    assert judge(DESIGN, list(SCORES), [BASELINE]) == outcomes[-1]
    assert judge_rounds(DESIGN, list(SCORES), [BASELINE]) == outcomes
    assert outcomes[-1].trainings == trainings
    assert outcomes[-1].finished


def test_what_is_judged_is_what_is_simulated():
    outcome = judge(DESIGN, list(SCORES), [BASELINE])
    found = race(DESIGN, SCORES[None], BASELINE[None, None])
    assert [cell.low for cell in outcome.cells] == pytest.approx(found.cells.low[0])
    assert [cell.round for cell in outcome.cells] == found.last[0].tolist()
    assert [average.high for average in outcome.averages] == pytest.approx(found.averages.high[0])
    words = {"better": 1, "worse": -1, "equivalent": 2, "open": 0}
    assert [words[cell.verdict] for cell in outcome.cells] == found.cells.verdict[0].tolist()


def test_a_half_trained_round_changes_nothing():
    outcomes, _ = train(DESIGN, SCORES, [BASELINE])
    pending = outcomes[0].pending
    assert len(pending) > 1
    first = [s[:3] for s in SCORES]
    some = [s[:6] if i == pending[0] else s[:3] for i, s in enumerate(SCORES)]
    assert judge(DESIGN, some, [BASELINE]) == judge(DESIGN, first, [BASELINE[:8]]) == outcomes[0]
    complete = [s[:6] if i in pending else s[:3] for i, s in enumerate(SCORES)]
    assert judge(DESIGN, complete, [BASELINE[:8]]) == outcomes[0]  # the baseline is behind
    second = judge(DESIGN, complete, [BASELINE[: DESIGN.baseline_seeds(2)]])
    assert second == outcomes[1]


def test_before_the_first_round_is_complete():
    outcome = judge(DESIGN, [SCORES[0][:2], *[np.array([])] * 5], [BASELINE[:3]])
    assert (outcome.round, outcome.pending) == (0, tuple(range(6)))
    assert outcome.cells[0].difference == pytest.approx(SCORES[0][:2].mean() - BASELINE[:3].mean())
    assert outcome.cells[0].reason == "round 1 is not complete"
    assert (outcome.cells[1].difference, outcome.cells[1].n) == (None, 0)
    assert (outcome.averages, outcome.baseline_n) == ((), (3,))
    nothing = judge(DESIGN, [np.array([])] * 6, [np.array([])])
    assert nothing.cells[0].difference is None


def test_what_an_outcome_says_of_a_cell():
    outcome = judge(DESIGN, list(SCORES), [BASELINE])
    best, worst = outcome.cells[5], outcome.cells[0]
    assert (best.verdict, worst.verdict) == (Verdict.BETTER, Verdict.WORSE)
    assert best.p_better > 0.999
    assert worst.p_better < 0.001
    assert best.error > 0
    assert (best.n, best.failed, best.more_seeds) == (3, 0, None)
    assert best.low < best.difference < best.high
    assert outcome.count(Verdict.BETTER) == sum(c.low > 0 for c in outcome.cells)
    assert outcome.baseline_mean[0] == pytest.approx(BASELINE[: outcome.baseline_n[0]].mean())


def test_more_seeds_are_what_it_takes():
    """So many seeds of the same spread decide the present difference; fewer do not."""
    outcome = judge(DESIGN, list(SCORES), [BASELINE])
    found = race(DESIGN, SCORES[None], BASELINE[None, None]).cells
    tried = 0
    for i, cell in enumerate(outcome.cells):
        if cell.more_seeds is None:
            continue
        tried += 1
        now = DESIGN.cell_seeds(cell.round)
        baseline = found.baseline_variance[0, i] / math.sqrt(6)  # of sqrt(6) times the seeds
        for n, decided in ((now + cell.more_seeds, True), (now + cell.more_seeds - 1, False)):
            error = math.sqrt((found.own_variance[0, i] + baseline) / n)
            limit = stats.t.isf(DESIGN.cell_levels[-1] / 2, found.df[0, i] * n / now)
            assert bool(limit * error < abs(cell.difference)) is decided or n == now
    assert tried > 1


def test_a_difference_of_nothing_is_never_decided():
    scores = [s - s[:12].mean() + 70 for s in SCORES]
    design = dataclasses.replace(DESIGN, seeds=(12,), baselines=(20,), cell_levels=(0.01,))
    baseline = BASELINE[:20] - BASELINE[:20].mean() + 70
    cell = judge(design, scores, [baseline]).cells[0]
    assert (cell.verdict, cell.more_seeds) == (Verdict.OPEN, None)


def test_intervals_end_where_accuracies_do():
    scores = 98 + RNG.standard_normal((6, 12))
    outcome = judge(DESIGN, list(np.minimum(scores, 100)), [np.minimum(98 + BASELINE - 70, 100)])
    room = 100 - outcome.baseline_mean[0]
    assert max(cell.high for cell in outcome.cells) <= room
    assert any(cell.high == room for cell in outcome.cells)
    low = judge(DESIGN, list(100 - scores), [28 - (BASELINE - 44)])
    assert min(cell.low for cell in low.cells) >= -low.baseline_mean[0]


def test_a_failed_seed_lowers_n_and_is_told():
    failed = SCORES.copy()
    failed[2, 0] = np.nan
    outcome = judge(DESIGN, list(failed), [BASELINE])
    cell = outcome.cells[2]
    assert (cell.failed, cell.reason) == (1, None)
    assert cell.n == DESIGN.cell_seeds(cell.round) - 1
    assert cell.low is not None
    assert [a.failed for a in outcome.averages] == [1, 0, 0, 0, 1, 1]
    assert [a.n for a in outcome.averages] == [8, 9, 6, 6, 5, 17]


def test_why_there_is_no_interval():
    failed = SCORES.copy()
    failed[2, 1:] = np.nan
    failed[3] = np.nan
    cells = judge(DESIGN, list(failed), [BASELINE]).cells
    assert (cells[2].reason, cells[2].verdict) == ("2 of 3 seeds failed", Verdict.OPEN)
    assert cells[2].difference is not None
    assert (cells[3].reason, cells[3].difference) == ("3 of 3 seeds failed", None)
    assert all(cell.low is not None for i, cell in enumerate(cells) if i not in {2, 3})
    gone = np.full(len(BASELINE), np.nan)
    reasons = {cell.reason for cell in judge(DESIGN, list(SCORES), [gone]).cells}
    assert reasons == {"fewer than two seeds of the baseline finished"}
    flat = judge(DESIGN, list(np.full((6, 12), 71.3)), [np.full(40, 71.1)])
    assert {cell.reason for cell in flat.cells} == {"no spread between seeds to judge by"}
    assert flat.cells[0].difference == pytest.approx(0.2)
    assert flat.finished


def test_one_seed_gives_differences_and_a_reason():
    design = RaceDesign.create(cells=6, seeds=1)
    outcome = judge(design, [s[:1] for s in SCORES], [BASELINE[: design.baselines[0]]])
    assert {cell.reason for cell in outcome.cells} == {"one seed shows no spread to judge by"}
    assert outcome.cells[5].difference > 1
    assert outcome.finished


def test_cells_are_compared_with_their_own_baseline():
    design = RaceDesign.create(cells=6, seeds=3, rounds=4, groups=(0, 0, 0, 1, 1, 1))
    outcome = judge(design, list(SCORES), [BASELINE, BASELINE - 20])
    assert outcome.cells[3].difference > 15
    assert outcome.cells[0].verdict is Verdict.WORSE
    assert (outcome.baseline_n[1], len(outcome.baseline_mean)) == (design.baselines[0], 2)
    outcomes, trainings = train(design, SCORES, [BASELINE, BASELINE - 20])
    assert outcomes[-1] == outcome
    assert outcome.trainings == trainings


def test_the_wrong_number_of_rows_is_a_broken_invariant():
    with pytest.raises(AssertionError):
        judge(DESIGN, list(SCORES[:5]), [BASELINE])
    with pytest.raises(AssertionError):
        judge(DESIGN, list(SCORES), [BASELINE, BASELINE])
