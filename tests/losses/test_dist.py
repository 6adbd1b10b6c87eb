from __future__ import annotations

import numpy as np
import pytest
import torch

from kdsweep.losses.dist import dist_terms, pearson
from tests.losses.toy import Case, f64


def test_pearson_by_hand():
    """(1, 2, 3) with (1, 3, 2): covariance 1, variances 2 and 2."""
    x, y = f64([1, 2, 3]), f64([1, 3, 2])
    assert pearson(x, y, -1).item() == pytest.approx(0.5, rel=1e-11)
    assert pearson(x, -5 * x + 1, -1).item() == pytest.approx(-1, rel=1e-11)


def test_against_numpys_corrcoef():
    case = Case("dist", {})
    for i in range(3):
        t = case.h["temperature"][i]
        p = (case.teacher["logits"][i] / t).softmax(-1).numpy()
        q = (case.tensors["logits"][i] / t).softmax(-1).numpy()
        rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
        columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
        inter = case.h["inter_weight"][i] * (1 - rows) * t**2
        intra = case.h["intra_weight"][i] * (1 - columns) * t**2
        assert case.value()[i].item() == pytest.approx((inter + intra).item(), rel=1e-8)


def test_probabilities_that_are_related_linearly_are_no_loss():
    """Row by row a student that is half the teacher and half uniform agrees perfectly."""
    p = torch.randn(1, 4, 5).double().softmax(-1)
    halfway = (0.5 * p + 0.1).log()
    inter, intra = dist_terms(halfway, p.log(), f64([1.0]))
    assert inter.item() == pytest.approx(0, abs=1e-9)
    assert intra.item() == pytest.approx(0, abs=1e-9)


def test_high_temperatures_reach_a_limit():
    """Probabilities become linear in the logits; T^2 * (1 - r) then grows as T^2."""
    s, u = torch.randn(1, 6, 4).double(), torch.randn(1, 6, 4).double()
    first, second = (dist_terms(s, u, f64([t])) for t in (50.0, 100.0))
    for a, b in zip(first, second, strict=True):
        assert (b / a).item() == pytest.approx(4, rel=0.05)


def test_a_uniform_student_correlates_with_nothing_and_has_a_finite_gradient():
    s = torch.zeros(1, 4, 5, requires_grad=True)
    inter, intra = dist_terms(s, torch.randn(1, 4, 5), torch.ones(1))
    (grad,) = torch.autograd.grad((inter + intra).sum(), s)
    assert inter.item() == pytest.approx(1)
    assert intra.item() == pytest.approx(1)
    assert grad.isfinite().all()
