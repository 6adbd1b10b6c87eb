from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from kdsweep.datafree.generator import (
    Generator,
    activation_loss,
    dafl_loss,
    information_entropy_loss,
    one_hot_loss,
)
from tests.losses.toy import f64

LOGITS = f64([[0.0, math.log(3)], [math.log(4), 0.0]])  # probabilities 1/4, 3/4 and 4/5, 1/5
FEATURES = f64([[1.0, -2.0, 0.0], [0.0, 3.0, 3.0]])


def test_losses_by_hand() -> None:
    sure = -(math.log(3 / 4) + math.log(4 / 5)) / 2
    first = (1 / 4 + 4 / 5) / 2
    even = first * math.log10(first) + (1 - first) * math.log10(1 - first)
    assert float(one_hot_loss(LOGITS)) == pytest.approx(sure, rel=1e-14)
    assert float(information_entropy_loss(LOGITS)) == pytest.approx(even, rel=1e-14)
    assert float(activation_loss(FEATURES)) == pytest.approx(-9 / 6, rel=1e-14)
    whole = dafl_loss(LOGITS, FEATURES, one_hot=0.05, information_entropy=5.0, activation=0.01)
    assert float(whole) == pytest.approx(0.05 * sure + 5 * even - 0.01 * 1.5, rel=1e-14)


def test_balance_is_least_where_a_batch_has_all_classes_alike() -> None:
    assert float(information_entropy_loss(1000 * torch.eye(4).double())) == pytest.approx(
        -math.log10(4)
    )
    one = 1000 * torch.eye(4).double()[[0, 0, 0]].requires_grad_()
    value = information_entropy_loss(one)
    assert abs(float(value.detach())) < 1e-12
    assert torch.autograd.grad(value, one)[0].isfinite().all()


def test_gradients_match_finite_differences() -> None:
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 6, 4, generator=draw, dtype=torch.float64).requires_grad_()
    features = torch.randn(2, 6, 3, generator=draw, dtype=torch.float64).requires_grad_()

    def value(logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return dafl_loss(logits, features, one_hot=0.5, information_entropy=5, activation=0.1)

    assert torch.autograd.gradcheck(value, (logits, features))


def test_the_generator_makes_normalised_images() -> None:
    made = Generator(latent=7, size=12).double()(torch.randn(16, 7).double())
    assert made.shape == (16, 3, 12, 12)
    torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        made.var((0, 2, 3), correction=0), torch.ones(3).double(), atol=0.05, rtol=0
    )


@pytest.mark.parametrize("eps", [1e-5, 0.8])
def test_the_generator_is_the_published_one(eps: float) -> None:
    """A seed map of twice 2 x 2 grows by nearest neighbours; eps is that of two norms of four."""
    made = Generator(latent=5, size=8, eps=eps).double()
    p = {name: 0.5 * torch.randn_like(value) for name, value in made.named_parameters()}
    noise = torch.randn(6, 5).double()

    def norm(x: torch.Tensor, layer: int, eps: float) -> torch.Tensor:
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        weight, bias = (p[f"maps.{layer}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (x - mean) / (var + eps).sqrt() * weight + bias

    def convolved(x: torch.Tensor, layer: int) -> torch.Tensor:
        return F.conv2d(x, p[f"maps.{layer}.weight"], p[f"maps.{layer}.bias"], padding=1)

    def twice(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    x = norm((noise @ p["start.weight"].T + p["start.bias"]).view(6, 128, 2, 2), 1, 1e-5)
    x = F.leaky_relu(norm(convolved(twice(x), 3), 4, eps), 0.2)
    x = F.leaky_relu(norm(convolved(twice(x), 7), 8, eps), 0.2)
    x = convolved(x, 10).tanh()
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    expected = (x - mean) / (var + 1e-5).sqrt()
    torch.testing.assert_close(functional_call(made, p, noise), expected)


def test_the_generators_parameters() -> None:
    start, norms = 7 * 128 * 9 + 128 * 9, 2 * (128 + 128 + 64)
    convolutions = (128 * 128 * 9 + 128) + (128 * 64 * 9 + 64) + (64 * 3 * 9 + 3)
    parameters = Generator(latent=7, size=12).parameters()
    assert sum(p.numel() for p in parameters) == start + norms + convolutions
