from __future__ import annotations

import math

import pytest
import torch
from torch.func import functional_call

from kdsweep.losses.curriculum import (
    CurriculumTheta,
    curriculum_temperature,
    reversal,
    scaled_gradient,
)
from kdsweep.losses.hinton import hinton


def test_temperature_is_1_plus_20_sigmoids_of_theta():
    theta = CurriculumTheta().theta.detach()
    assert curriculum_temperature(theta, 0).tolist() == pytest.approx(
        [1 + 20 / (1 + math.exp(-1))]
    )
    ends = curriculum_temperature(torch.tensor([-100.0, 0.0, 100.0]), 0)
    assert ends.tolist() == pytest.approx([1, 11, 21])


def test_stacked_thetas_come_out_as_the_channels_of_one_image():
    module = CurriculumTheta()
    assert module().shape == (1, 1)
    stacked = functional_call(module, {"theta": torch.tensor([[1.0], [2.0], [3.0]])}, ())
    assert stacked.tolist() == [[1, 2, 3]]


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
    theta = torch.ones(2, dtype=torch.float64, requires_grad=True)
    loss = hinton(student, teacher, 1 + 20 * torch.sigmoid(theta))
    (uphill,) = torch.autograd.grad(loss.sum(), theta)
    for epoch, factor in ((20, -1.0), (4, -0.5)):
        loss = hinton(student, teacher, curriculum_temperature(theta, epoch))
        (grad,) = torch.autograd.grad(loss.sum(), theta)
        torch.testing.assert_close(grad, factor * uphill)


def test_each_member_learns_its_own():
    theta = torch.ones(2, dtype=torch.float64, requires_grad=True)
    student, teacher = torch.randn(2, 16, 5).double(), torch.randn(2, 16, 5).double()
    loss = hinton(student, teacher, curriculum_temperature(theta, 20))
    (grad,) = torch.autograd.grad(loss[0], theta)
    assert grad[0] != 0
    assert grad[1] == 0
