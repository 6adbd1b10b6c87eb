import numpy as np
import pytest

from kdsweep.verdict import crossed_bootstrap


def students(n, images, shift=0.0, seed=0):
    """Bits [n, images] of images that are easy and hard, shifted in probability."""
    rng = np.random.default_rng(seed)
    easy = np.random.default_rng(99).beta(1.2, 0.5, images)
    return rng.random((n, images)) < np.clip(easy + shift, 0, 1)


def brute_force(distilled, baseline, resamples=4000):
    rng = np.random.default_rng(11)
    images = distilled.shape[1]
    means = []
    for _ in range(resamples):
        own = rng.integers(len(distilled), size=len(distilled))
        other = rng.integers(len(baseline), size=len(baseline))
        pick = rng.integers(images, size=images)
        gap = distilled[own][:, pick].mean() - baseline[other][:, pick].mean()
        means.append(100 * gap)
    return np.quantile(means, [0.025, 0.975]), np.std(means)


def test_crossed_bootstrap_agrees_with_brute_force():
    distilled, baseline = students(4, 120, 0.05, 1), students(4, 120, 0.0, 2)
    baseline[:, :40] = distilled[:, :40]
    distilled[0] = baseline[0] = True  # a seed that matters
    found = crossed_bootstrap(distilled, baseline, resamples=8000)
    (low, high), sd = brute_force(distilled, baseline)
    assert found.difference == pytest.approx(100 * (distilled.mean() - baseline.mean()))
    assert found.low == pytest.approx(low, abs=0.12 * sd)
    assert found.high == pytest.approx(high, abs=0.12 * sd)


def test_crossed_bootstrap_of_the_same_answers_is_zero():
    bits = np.repeat(students(1, 50), 3, axis=0)
    np.testing.assert_allclose(crossed_bootstrap(bits, bits[:2]), 0.0, atol=1e-9)


def test_crossed_bootstrap_is_reproducible_and_seeded():
    a, b = students(3, 80, 0.05, 1), students(5, 80, 0.0, 2)
    first = crossed_bootstrap(a, b)
    assert crossed_bootstrap(a, b) == first
    assert crossed_bootstrap(a, b, seed=1).low != first.low


def test_a_higher_level_is_wider_and_swapping_mirrors():
    a, b = students(4, 200, 0.05, 1), students(4, 200, 0.0, 2)
    narrow = crossed_bootstrap(a, b, level=0.8)
    wide = crossed_bootstrap(a, b, level=0.99)
    assert wide.low < narrow.low < narrow.difference < narrow.high < wide.high
    mirrored = crossed_bootstrap(b, a, level=0.8)
    assert mirrored.difference == pytest.approx(-narrow.difference)
    assert mirrored.low == pytest.approx(-narrow.high, abs=0.4)


def test_crossed_bootstrap_holds_its_level_and_finds_what_is_there():
    held = found = 0
    for i in range(60):
        a, b = students(5, 300, 0.0, 2 * i), students(5, 300, 0.0, 2 * i + 1)
        null = crossed_bootstrap(a, b, resamples=400)
        held += null.low <= 0 <= null.high
        better = students(5, 300, 0.12, 2 * i)
        found += crossed_bootstrap(better, b, resamples=400).low > 0
    assert held >= 57 - 4  # 57 expected at 95 %; fewer than 53 once in 50
    assert found >= 54
