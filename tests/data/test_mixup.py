from __future__ import annotations

import pytest
import torch
from scipy import stats

from kdsweep.data.mixup import lambdas, mixup, partners

SEEDS = torch.tensor([3, 8, 11])
IMAGES = torch.rand(3, 6, 3, 4, 5, generator=torch.manual_seed(0), dtype=torch.float64)


def test_images_are_blended_with_their_partners() -> None:
    mixed, partner, weight = mixup(IMAGES, SEEDS, 2, 7, alpha=0.4)
    assert partner.shape == (3, 6)
    assert weight.shape == (3,)
    assert weight.dtype == torch.float64
    for s in range(3):
        for b in range(6):
            other = IMAGES[s, partner[s, b]]
            expected = weight[s] * IMAGES[s, b] + (1 - weight[s]) * other
            torch.testing.assert_close(mixed[s, b], expected, rtol=0, atol=1e-15)


def test_layout_and_precision_are_kept() -> None:
    images = torch.rand(3, 6, 4, 5, 3, dtype=torch.bfloat16).movedim(-1, -3)
    mixed, _, weight = mixup(images, SEEDS, 0, 0, alpha=1.0)
    assert mixed.dtype == torch.bfloat16
    assert mixed.stride() == images.stride()
    assert weight.dtype == torch.float32


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0])
def test_lambda_is_beta(alpha: float) -> None:
    weight = lambdas(torch.arange(20_000), 0, 0, alpha=alpha)
    assert ((weight >= 0) & (weight <= 1)).all()
    beta = stats.beta(alpha, alpha)
    assert abs(weight.mean() - 0.5) < 4 * beta.std() / 20_000**0.5
    # Small alphas reach values that float64 rounds to 0 and to 1: the rest by its shape, these
    # by their number.
    low, high = 1e-9, 1 - 1e-9
    inner = weight[(weight > low) & (weight < high)].numpy()
    share = beta.cdf(high) - beta.cdf(low)
    assert stats.kstest(inner, lambda x: (beta.cdf(x) - beta.cdf(low)) / share).pvalue > 1e-3
    assert stats.binomtest(len(inner), 20_000, share).pvalue > 1e-3


def test_lambda_of_extreme_alphas_is_finite() -> None:
    seeds = torch.arange(1000)
    nearly_0_or_1 = lambdas(seeds, 0, 0, alpha=1e-3)
    assert torch.minimum(nearly_0_or_1, 1 - nearly_0_or_1).quantile(0.9) < 1e-9
    assert (lambdas(seeds, 0, 0, alpha=1e6) - 0.5).abs().max() < 2e-3


def test_partners_are_a_uniform_permutation() -> None:
    drawn = partners(torch.arange(2400), 0, 0, batch=4)
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(4).expand(2400, -1))
    codes = (drawn * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    counts = codes.unique(return_counts=True)[1].double()
    assert len(counts) == 24
    # Chi-square with 23 degrees of freedom; 99.99 %: 56.
    assert ((counts - 100) ** 2 / 100).sum() < 56


def test_a_pure_function_of_seed_epoch_and_step() -> None:
    mixed, partner, weight = mixup(IMAGES, SEEDS, 2, 7, alpha=0.4)
    alone = mixup(IMAGES[1:2], SEEDS[1:2], 2, 7, alpha=0.4)
    assert torch.equal(alone[0][0], mixed[1])
    assert torch.equal(alone[1][0], partner[1])
    assert alone[2][0] == weight[1]
    others = [
        lambdas(SEEDS, 2, 8, alpha=0.4),
        lambdas(SEEDS, 3, 7, alpha=0.4),
        lambdas(SEEDS + 1, 2, 7, alpha=0.4),
    ]
    assert all((other != weight).all() for other in others)
    assert not torch.equal(partners(SEEDS, 2, 8, batch=6), partner)
    assert not torch.equal(partners(SEEDS, 3, 7, batch=6), partner)
