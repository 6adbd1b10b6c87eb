from __future__ import annotations

import math

import pytest
import torch

from kdsweep.losses.pkt import neighbours, pkt
from tests.losses.toy import Case, f64


def test_by_hand():
    """Orthogonal: K = [[1, 1/2], [1/2, 1]], p = 2/3, 1/3. Equal: p = 1/2, 1/2."""
    student, teacher = f64([[1, 0], [0, 3]]), f64([[2], [2]])
    assert neighbours(student)[0].tolist() == pytest.approx([2 / 3, 1 / 3], rel=1e-6)
    kl = math.log((1 / 2) / (2 / 3)) / 2 + math.log((1 / 2) / (1 / 3)) / 2
    assert pkt(student, teacher).item() == pytest.approx(kl / 2, rel=1e-5)  # a mean over j


def test_against_the_papers_equations():
    """K(a, b) = (a^T b / (|a| |b|) + 1) / 2, p(j | i) = K_ij / sum_k K_ik, KL of p_t from p_s."""
    case = Case("pkt", {})
    values = case.value()
    for n in range(3):
        given = (case.tensors["head:input"][n], case.teacher["head:input"][n])
        p = []
        for x in given:
            kernel = [[(float(a @ b) / float(a.norm() * b.norm()) + 1) / 2 for b in x] for a in x]
            p.append([[k / sum(row) for k in row] for row in kernel])
        size = len(given[0])
        kl = sum(
            p[1][i][j] * math.log(p[1][i][j] / p[0][i][j])
            for i in range(size)
            for j in range(size)
        )
        assert values[n].item() == pytest.approx(kl / size**2, rel=1e-5, abs=1e-6)


def test_the_length_of_an_embedding_does_not_matter():
    x = torch.randn(6, 4).double()
    longer = x * torch.linspace(1, 5, 6).double()[:, None]
    assert abs(pkt(longer, x).item()) < 1e-9
    assert pkt(x.flip(0), x).item() > 1e-4


def test_an_embedding_of_zeros_is_like_no_other_and_has_a_gradient():
    x = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4).double()
    assert neighbours(x.detach())[0].tolist() == pytest.approx([1 / 3] * 3)
    (grad,) = torch.autograd.grad(pkt(x, teacher), x)
    assert grad.isfinite().all()
