from __future__ import annotations

import numpy as np
import pytest
import torch

from kdsweep.losses.nkd import nkd
from tests.losses.toy import Case, f64


def test_by_hand():
    """Label 0, teacher (1/2, 1/4, 1/4), student uniform, T 1, gamma 1.5: ln(3) / 2 + 1.5 ln(2)."""
    teacher, labels = f64([[2, 1, 1]]).log(), torch.tensor([0])
    value = nkd(torch.zeros(1, 3).double(), teacher, labels, f64(1.0), f64(1.5))
    assert value.item() == pytest.approx(1.589026915173973, rel=1e-12)


def test_temperature_reaches_the_second_term_alone():
    """At T = 2 with the teacher's logits doubled beside the label, q stays; T^2 is 4."""
    teacher = f64([[2, 1, 4]]).log()
    labels = torch.tensor([0])
    uniform = torch.zeros(1, 3).double()
    one, two = (
        nkd(uniform, teacher, labels, f64(t), f64(1.0)) - np.log(3) * 2 / 7 for t in (1.0, 2.0)
    )
    # The student is uniform beside the label: -sum q log(1/2) = ln 2 whatever q is.
    assert one.item() == pytest.approx(np.log(2), rel=1e-12)
    assert two.item() == pytest.approx(4 * np.log(2), rel=1e-12)


def test_against_numpy():
    case = Case("nkd", {})
    s, u = case.tensors["logits"].numpy(), case.teacher["logits"].numpy()
    for i in range(3):
        t, gamma = case.h["temperature"][i].item(), case.h["gamma"][i].item()
        total = 0.0
        for b in range(5):
            y = case.labels[i, b].item()
            p, q = (np.exp(z[i, b]) / np.exp(z[i, b]).sum() for z in (u, s))
            total -= p[y] * np.log(q[y])
            p, q = (np.exp(np.delete(z[i, b], y) / t) for z in (u, s))
            total -= gamma * t * t * (p / p.sum() * np.log(q / q.sum())).sum()
        assert case.value()[i].item() == pytest.approx(total / 5, rel=1e-12)


def test_with_two_classes_the_second_term_is_0():
    s, u = torch.randn(1, 4, 2).double(), torch.randn(1, 4, 2).double()
    labels = torch.tensor([[0, 1, 1, 0]])
    a, b = (nkd(s, u, labels, f64([3.0]), f64([g])) for g in (0.0, 9.0))
    torch.testing.assert_close(a, b)
