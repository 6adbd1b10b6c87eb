from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kdsweep.losses.hinton import hinton, tempered_kl
from kdsweep.losses.logits import standardized
from tests.losses.toy import Case, f64


def test_by_hand():
    """Teacher (1/2, 1/4, 1/4) at T = 2, student uniform: KL = ln(3/2) / 2 + ln(3/4) / 2."""
    teacher = 2 * f64([[2, 1, 1]]).log()
    kl = tempered_kl(torch.zeros(1, 3).double(), teacher, f64(2.0))
    assert kl.item() == pytest.approx(0.058891517828191, rel=1e-12)
    squared = hinton(torch.zeros(1, 3).double(), teacher, f64(2.0))
    assert squared.item() == pytest.approx(0.235566071312764, rel=1e-12)


def test_against_numpy_for_each_member_and_its_temperature():
    case = Case("hinton", {})
    for i in range(3):
        t = case.h["temperature"][i].item()
        kl = 0.0
        for s, u in zip(case.tensors["logits"][i], case.teacher["logits"][i], strict=True):
            p = np.exp(u.numpy() / t) / np.exp(u.numpy() / t).sum()
            q = np.exp(s.numpy() / t) / np.exp(s.numpy() / t).sum()
            kl += (p * np.log(p / q)).sum() / 5
        assert case.value()[i].item() == pytest.approx(t * t * kl, rel=1e-12)


def test_mean_is_over_images_not_over_classes():
    """Twice the batch, the same value: a sum would double it. Classes are summed."""
    s, u = torch.randn(1, 4, 6).double(), torch.randn(1, 4, 6).double()
    t = f64([3.0])
    once, twice = hinton(s, u, t), hinton(torch.cat((s, s), 1), torch.cat((u, u), 1), t)
    torch.testing.assert_close(once, twice, rtol=1e-12, atol=0)


def test_high_temperatures_give_the_squared_difference_of_centred_logits():
    s, u = torch.randn(1, 4, 6).double(), torch.randn(1, 4, 6).double()
    centred = (s - s.mean(-1, keepdim=True)) - (u - u.mean(-1, keepdim=True))
    limit = centred.square().sum(-1).mean() / (2 * 6)
    errors = [abs(hinton(s, u, f64([t])).item() - limit.item()) for t in (1e2, 1e3, 1e4)]
    assert errors[2] < 1e-3 * limit
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)  # the error falls as 1 / T


def test_low_temperatures_give_the_logit_by_which_the_student_misses_the_teachers_choice():
    """T^2 * KL -> T * (max z_s - z_s[argmax z_t])."""
    s, u = f64([[[1.0, 4.0, 0.0]]]), f64([[[3.0, 0.0, 1.0]]])
    assert hinton(s, u, f64([1e-3])).item() == pytest.approx(1e-3 * 3.0, rel=1e-9)


def test_gradient_at_temperature_one_is_the_difference_of_probabilities():
    s, u = torch.randn(1, 4, 6).double().requires_grad_(), torch.randn(1, 4, 6).double()
    (grad,) = torch.autograd.grad(hinton(s, u, f64([1.0])).sum(), s)
    torch.testing.assert_close(grad, (s.softmax(-1) - u.softmax(-1)) / 4, rtol=1e-10, atol=1e-14)


def test_never_negative_and_not_symmetric():
    s, u = 3 * torch.randn(50, 4, 6).double(), 3 * torch.randn(50, 4, 6).double()
    t = torch.full((50,), 2.0).double()
    assert (hinton(s, u, t) > 0).all()
    assert not torch.isclose(hinton(s, u, t), hinton(u, s, t)).any()


def test_its_options_do_what_their_names_say():
    case, bare = Case("hinton", {}), Case("hinton", {"t2": False})
    standard = Case("hinton", {"standardize": True})
    t2 = case.h["temperature"].square()
    torch.testing.assert_close(case.value(), t2 * bare.value(), rtol=1e-12, atol=0)
    expected = hinton(
        standardized(case.tensors["logits"]),
        standardized(case.teacher["logits"]),
        case.h["temperature"],
    )
    torch.testing.assert_close(standard.value(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        standard.value({"logits": 7 * standard.tensors["logits"] + 2}),
        standard.value(),
        rtol=1e-10,
        atol=0,
    )


def test_a_certain_teacher_gives_cross_entropy_to_its_choice():
    s = torch.randn(1, 3, 5).double()
    u = torch.full((1, 3, 5), -1e4).double()
    u[..., 2] = 1e4
    expected = -s.log_softmax(-1)[..., 2].mean()
    assert hinton(s, u, f64([1.0])).item() == pytest.approx(expected.item(), rel=1e-12)
    assert math.isfinite(hinton(s.float(), u.float(), torch.tensor([0.01])).item())
