from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from kdsweep.errors import UserError
from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.vid import Scaled, gaussian_nll, regressor
from tests.losses.toy import SHAPES, Case, f64, make


def test_by_hand():
    """Difference 2, variance softplus(0) + 1e-5 = ln 2 + 1e-5."""
    one = f64([[[[1.0]]]])
    v = math.log(2) + 1e-5
    value = gaussian_nll(one, torch.zeros_like(one), 3 * one)
    assert value.item() == pytest.approx((4 / v + math.log(v)) / 2)


def test_against_the_density_of_a_gaussian():
    """-log q(t | s) of independent normal distributions, but for log(2 pi) / 2; a mean."""
    case = Case("vid", {})
    values = case.value()
    for n in range(3):
        total = 0.0
        for tap in case.loss.student_taps:
            mean, scale = case.tensors[tap][n].chunk(2, 1)
            deviation = ((1 + scale.exp()).log() + 1e-5).sqrt()
            density = torch.distributions.Normal(mean, deviation)
            nll = -density.log_prob(case.teacher[tap][n]) - math.log(2 * math.pi) / 2
            total += float(nll.mean())
        assert values[n].item() == pytest.approx(total, rel=1e-9)


def test_the_variance_of_least_loss_is_the_error_itself():
    teacher = 3 * torch.randn(1, 50, 1, 8, 8).double()
    scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale], max_iter=100)

    def closure():
        optimiser.zero_grad()
        value = gaussian_nll(torch.zeros_like(teacher), scale.expand_as(teacher), teacher).sum()
        value.backward()
        return value

    optimiser.step(closure)
    variance = F.softplus(scale.detach()) + 1e-5
    torch.testing.assert_close(variance, teacher.square().mean().view(1), rtol=1e-4, atol=0)


def test_a_regressor_is_three_convolutions_and_a_variance_of_5_for_each_channel():
    parts = regressor((3, 8, 8), (5, 8, 8)).double()
    images = torch.randn(2, 3, 8, 8).double()
    first, second, third = (m.weight for m in parts if isinstance(m, nn.Conv2d))
    expected = F.conv2d(F.relu(F.conv2d(F.relu(F.conv2d(images, first)), second)), third)
    assert [w.shape[:2] for w in (first, second, third)] == [(5, 3), (5, 5), (5, 5)]
    mean, scale = parts(images).chunk(2, 1)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(F.softplus(scale) + 1e-5, torch.full_like(scale, 5.0))


def test_the_larger_map_is_averaged_down_before_the_regressor_or_beside_it():
    assert regressor((3, 8, 8), (5, 4, 4))(torch.randn(2, 3, 8, 8)).shape == (2, 10, 4, 4)
    assert regressor((3, 4, 4), (5, 8, 8))(torch.randn(2, 3, 4, 4)).shape == (2, 10, 4, 4)
    teacher = torch.randn(2, 5, 8, 8).double()
    small = teacher.view(2, 5, 4, 2, 4, 2).mean((3, 5))
    mean, scale = torch.randn(2, 2, 5, 4, 4).double()
    expected = gaussian_nll(mean, scale, small)
    torch.testing.assert_close(gaussian_nll(mean, scale, teacher), expected)


def test_stacked_scales_stand_behind_their_own_members_channels():
    module = Scaled(2)
    maps = torch.arange(4.0).view(1, 4, 1, 1)  # two members of two channels
    scales = torch.tensor([[10.0, 11.0], [12.0, 13.0]])
    out = functional_call(module, {"scale": scales}, maps)
    assert out.flatten().tolist() == [0, 1, 10, 11, 2, 3, 12, 13]


def test_each_stage_has_a_regressor_and_vectors_are_refused():
    loss = make("vid", {})
    adapters = loss.adapters(SHAPES["student"], SHAPES["teacher"])
    assert list(adapters) == [adapter_key("student", tap) for tap in loss.student_taps]
    loss = make("vid", {"student_taps": "head:input", "teacher_taps": "head:input"})
    with pytest.raises(UserError, match=r"vid.student_taps=head:input: .* two maps$"):
        loss.adapters(SHAPES["student"], SHAPES["teacher"])
