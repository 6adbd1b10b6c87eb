from __future__ import annotations

import math

import pytest
import torch

from kdsweep.distill.curriculum import CurriculumTemperature, reversal, scaled_gradient
from kdsweep.distill.hinton import hinton


def test_temperature_is_1_plus_20_sigmoids_of_theta():
    module = CurriculumTemperature(3)
    assert module(0).tolist() == pytest.approx([1 + 20 / (1 + math.exp(-1))] * 3)
    with torch.no_grad():
        module.theta.copy_(torch.tensor([-100.0, 0.0, 100.0]))
    assert module(0).tolist() == pytest.approx([1, 11, 21])


def test_the_gradient_is_scaled_and_the_value_is_not():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    out = scaled_gradient(x, -0.25)
    (grad,) = torch.autograd.grad((out * torch.tensor([4.0, 8.0])).sum(), x)
    assert out.tolist() == [1, -2]
    assert grad.tolist() == [-1, -2]


def test_the_reversal_grows_on_half_a_cosine_over_ten_epochs():
    assert reversal(0) == pytest.approx((math.cos(math.pi / 10) - 1) / 2)
    assert reversal(4.7) == pytest.approx(-0.5)
    assert reversal(9) == pytest.approx(-1)
    assert reversal(200) == pytest.approx(-1)
    assert reversal(1, epochs=4) == pytest.approx(-0.5)


def test_the_temperature_climbs_the_loss_that_the_student_descends():
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 16, 5).double(), 3 * torch.randn(2, 16, 5).double()
    module = CurriculumTemperature(2).double()
    plain = torch.ones(2, dtype=torch.float64, requires_grad=True)
    loss = hinton(student, teacher, 1 + 20 * torch.sigmoid(plain))
    (uphill,) = torch.autograd.grad(loss.sum(), plain)
    for epoch, factor in ((20, -1.0), (4, -0.5)):
        loss = hinton(student, teacher, module(epoch))
        (grad,) = torch.autograd.grad(loss.sum(), module.theta)
        torch.testing.assert_close(grad, factor * uphill)


def test_each_member_learns_its_own():
    module = CurriculumTemperature(2).double()
    student, teacher = torch.randn(2, 16, 5).double(), torch.randn(2, 16, 5).double()
    (grad,) = torch.autograd.grad(hinton(student, teacher, module(20))[0], module.theta)
    assert grad[0] != 0
    assert grad[1] == 0
