import numpy as np
import pytest

from kdsweep.verdict import blocked_map, confirm, independent_map

RNG = np.random.default_rng(5)
BASELINE = 72.0 + 0.3 * RNG.standard_normal(20)
FINALISTS = 72.0 + 0.3 * RNG.standard_normal((3, 20)) + np.array([[1.0], [0.5], [0.0]])


def test_paired_and_independent_finalists_are_judged_as_maps_are():
    paired = confirm(FINALISTS, BASELINE, paired=True, selected=[1.2, 0.9, 0.4], level=0.9)
    assert paired.outcome == blocked_map(FINALISTS, BASELINE, level=0.9)
    apart = confirm(FINALISTS, BASELINE, paired=False, selected=[1.2, 0.9, 0.4], margin=0.5)
    assert apart.outcome == independent_map(FINALISTS, BASELINE, margin=0.5)


def test_shrinkage_is_what_the_map_had_promised_too_much():
    found = confirm(FINALISTS, BASELINE, paired=True, selected=[1.2, None, 0.4])
    gaps = (FINALISTS - BASELINE).mean(1)
    assert found.shrinkage[0] == pytest.approx(1.2 - gaps[0])
    assert found.shrinkage[1] is None
    assert found.shrinkage[2] == pytest.approx(0.4 - gaps[2])


def test_a_finalist_that_failed_has_no_shrinkage():
    failed = FINALISTS.copy()
    failed[0] = np.nan
    found = confirm(failed, BASELINE, paired=True, selected=[1.2, 0.9, 0.4])
    assert found.shrinkage[0] is None
    assert found.outcome.judged == 2


def test_each_finalist_has_what_it_was_selected_by():
    with pytest.raises(AssertionError):
        confirm(FINALISTS, BASELINE, paired=True, selected=[1.2])
