from __future__ import annotations

import itertools
import math

import pytest
import torch

from kdsweep import streams

MASK = 2**64 - 1


def reference(*keys: int) -> int:
    """splitmix64 over the keys, in Python's unbounded integers: each key is mixed in, in turn."""
    state = 0
    for key in keys:
        state = ((state ^ (key & MASK)) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state = state ^ (state >> 31)
    return state


def test_the_reference_is_splitmix64() -> None:
    """The first outputs from state 0 of the authors' generator, as published with its code."""
    assert reference(0) == 0xE220A8397B1DCDAF
    assert reference(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize(
    "keys",
    [(0,), (1,), (-1,), (2**63 - 1, -(2**63)), (3, streams.ORDER, 7, 11), (0, 0, 0, 0), (5, -5)],
)
def test_bits_are_splitmix64(keys: tuple[int, ...]) -> None:
    first, *rest = keys
    assert int(streams.bits(torch.tensor(first), *rest)) & MASK == reference(*keys)
    as_tensors = [torch.tensor(key) for key in rest]
    assert int(streams.bits(torch.tensor(first), *as_tensors)) & MASK == reference(*keys)


def test_keys_are_broadcast() -> None:
    seeds = torch.tensor([4, -9, 2**40])[:, None]
    position = torch.arange(5)
    drawn = streams.bits(seeds, streams.CROP, 6, position)
    assert drawn.shape == (3, 5)
    assert drawn.dtype == torch.int64
    for i, j in itertools.product(range(3), range(5)):
        assert int(drawn[i, j]) & MASK == reference(int(seeds[i]), streams.CROP, 6, j)


def test_uniform_are_the_highest_24_bits() -> None:
    position = torch.arange(100)
    drawn = streams.uniform(torch.tensor(8), position)
    assert drawn.dtype == torch.float32
    for j in range(100):
        assert float(drawn[j]) == (reference(8, j) >> 40) / 2**24


@pytest.mark.parametrize("seed", [0, 12345])
def test_uniform_is_uniform(seed: int) -> None:
    n, bins = 200_000, 100
    drawn = streams.uniform(torch.tensor(seed), streams.DROPOUT, torch.arange(n)).double()
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    for power in range(1, 5):
        mean = 1 / (power + 1)
        error = math.sqrt((1 / (2 * power + 1) - mean**2) / n)
        assert abs(float(drawn.pow(power).mean()) - mean) < 4 * error
    counts = torch.histc(drawn, bins, 0, 1)
    chi_square = float(((counts - n / bins) ** 2 / (n / bins)).sum())
    # Mean bins - 1, variance 2 * (bins - 1): within 4 standard deviations of it, on both sides.
    assert abs(chi_square - (bins - 1)) < 4 * math.sqrt(2 * (bins - 1))


def test_neighbours_are_uncorrelated() -> None:
    """Along the positions, between neighbouring seeds, epochs and streams."""
    n = 100_000
    position = torch.arange(n)

    def draw(seed: int, stream: int, epoch: int) -> torch.Tensor:
        return streams.uniform(torch.tensor(seed), stream, epoch, position).double() - 0.5

    base = draw(3, 1, 5)
    others = [base.roll(1), base.roll(7), draw(4, 1, 5), draw(3, 2, 5), draw(3, 1, 6)]
    for other in others:
        assert abs(float((base * other).mean()) * 12) < 4 / math.sqrt(n)


def test_integers() -> None:
    drawn = streams.integers(6, torch.tensor(1), torch.arange(60_000))
    counts = drawn.bincount(minlength=6)
    assert len(counts) == 6
    chi_square = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert chi_square < 25.7  # exceeded once in ten thousand with 5 degrees of freedom
    assert int(drawn[17]) == (reference(1, 17) >> 1) % 6


def test_a_permutation_visits_every_image_once() -> None:
    order = streams.permutation(101, torch.tensor([0, 1, 7]), epoch=2)
    assert order.shape == (3, 101)
    assert torch.equal(order.sort(1).values, torch.arange(101).expand(3, 101))
    assert not torch.equal(order[0], order[1])


def test_a_permutation_does_not_depend_on_companions() -> None:
    alone = streams.permutation(50, torch.tensor([42]), epoch=3)[0]
    together = streams.permutation(50, torch.tensor([7, 42, 9, 42]), epoch=3)
    assert torch.equal(together[1], alone)
    assert torch.equal(together[3], alone)
    assert not torch.equal(streams.permutation(50, torch.tensor([42]), epoch=4)[0], alone)


def test_every_order_of_three_is_as_likely() -> None:
    orders = streams.permutation(3, torch.arange(6_000), epoch=0)
    codes = (orders * torch.tensor([9, 3, 1])).sum(1)
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == 6
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 25.7


def test_streams_have_keys_of_their_own() -> None:
    names = ("ORDER", "CROP", "FLIP", "ERASE", "MIXUP", "DROPOUT", "NOISE")
    assert len({getattr(streams, name) for name in names}) == len(names)


def test_normal_numbers_are_normal_and_finite() -> None:
    drawn = streams.normal(torch.tensor(3), streams.NOISE, torch.arange(100_000)).double()
    assert drawn.isfinite().all()
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    assert abs(float((drawn.abs() < 1).double().mean()) - math.erf(math.sqrt(0.5))) < 0.01


def test_normal_numbers_are_finite_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = torch.tensor([0, -1])  # all bits 0, all bits 1
    monkeypatch.setattr(streams, "bits", lambda first, *keys: ends)
    assert streams.normal(torch.tensor(0)).abs().tolist() == pytest.approx([5.42, 5.42], abs=0.01)
