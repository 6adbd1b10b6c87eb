import numpy as np
import pytest

from kdsweep.verdict import expected_luck


def test_agrees_with_a_simulation_of_null_cells():
    rng = np.random.default_rng(0)
    seed = rng.standard_normal((20_000, 1, 3))
    scores = 0.2 * (0.3**0.5 * seed + 0.7**0.5 * rng.standard_normal((20_000, 25, 3)))
    baseline = 0.2 * rng.standard_normal((20_000, 1, 15))
    best = (scores.mean(2) - baseline.mean(2)).max(1).mean()
    found = expected_luck(cells=25, seeds=3, sd=0.2, correlation=0.3)
    assert found == pytest.approx(best, abs=0.005)


def test_known_cases():
    assert expected_luck(cells=25, seeds=3, sd=0.28) == pytest.approx(0.318, abs=1e-3)
    assert expected_luck(cells=25, seeds=3, sd=0.2) == pytest.approx(0.227, abs=1e-3)
    assert expected_luck(cells=1, seeds=5, sd=0.2) == pytest.approx(0.0, abs=1e-6)
    assert expected_luck(cells=9, seeds=5, sd=0.2, correlation=1.0) == 0.0
    one, four = (expected_luck(cells=9, seeds=n, sd=0.2) for n in (1, 4))
    assert one == pytest.approx(2 * four)
