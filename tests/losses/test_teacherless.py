from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses import Outputs
from kdsweep.losses.teacherless import handmade_teacher_kl, uniform_cross_entropy
from kdsweep.losses.total import total_loss
from tests.losses.toy import Case, f64, make


def test_cross_entropy_to_uniform_by_hand():
    """p = (1/2, 1/4, 1/4): (ln 2 + ln 4 + ln 4) / 3 = 5 ln(2) / 3."""
    value = uniform_cross_entropy(f64([[2, 1, 1]]).log())
    assert value.item() == pytest.approx(5 * math.log(2) / 3, rel=1e-12)


def test_alpha_is_the_smoothing_of_the_labels():
    case = Case("label_smoothing", {})
    alpha = f64([0.0, 0.1, 0.5])
    value, _ = total_loss(
        {"label_smoothing": case.loss},
        Outputs(logits=case.tensors["logits"]),
        None,
        case.labels,
        {"alpha": alpha, "temperature": torch.ones(3), "label_smoothing.weight": torch.ones(3)},
        epoch=0,
    )
    for i in range(3):
        expected = F.cross_entropy(
            case.tensors["logits"][i], case.labels[i], label_smoothing=alpha[i].item()
        )
        torch.testing.assert_close(value[i], expected, rtol=1e-12, atol=0)


def test_the_handmade_teacher_by_hand():
    """Three classes at T = 1: d = (0.99, 0.005, 0.005) goes through a softmax."""
    e = math.exp
    p = [e(0.99), e(0.005), e(0.005)]
    p = [x / sum(p) for x in p]
    assert p[0] == pytest.approx(0.572449, abs=1e-6)
    expected = sum(x * math.log(3 * x) for x in p)  # against a uniform student
    value = handmade_teacher_kl(torch.zeros(1, 3).double(), torch.tensor([0]), f64(1.0), f64(0.99))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_at_its_default_temperature_the_handmade_teacher_is_nearly_uniform():
    """exp(0.99 / 20) against exp(0.01 / 9 / 20): 0.1045 for the label of ten classes."""
    target = f64([0.99 / 20, *[0.01 / 9 / 20] * 9]).softmax(-1)
    assert target[0].item() == pytest.approx(0.10454, abs=1e-5)
    labels = torch.zeros(1, 1, dtype=torch.int64)
    value = handmade_teacher_kl(target.log().view(1, 1, 10), labels, f64([20.0]), f64([0.99]))
    assert value.item() == pytest.approx(0, abs=1e-15)


def test_neither_looks_at_a_teacher():
    for name in ("label_smoothing", "teacher_free"):
        case = Case(name, {})
        alone = make(name, {})(
            Outputs(logits=case.tensors["logits"]), None, case.labels, case.h, epoch=3.0
        )
        assert torch.equal(alone, case.value())
