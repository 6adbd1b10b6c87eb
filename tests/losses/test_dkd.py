from __future__ import annotations

import numpy as np
import pytest
import torch

from kdsweep.losses.dkd import dkd_terms
from kdsweep.losses.hinton import hinton
from tests.losses.toy import Case, f64


def test_by_hand():
    """Label 0. Teacher (1/3, 1/6, 1/2), student uniform: on the label they agree (TCKD 0);
    beside it (1/4, 3/4) against (1/2, 1/2): ln(1/2) / 4 + 3 ln(3/2) / 4."""
    labels = torch.tensor([0])
    uniform, teacher = torch.zeros(1, 3).double(), f64([[2, 1, 3]]).log()
    target, nontarget = dkd_terms(uniform, teacher, labels, f64(1.0))
    assert target.item() == pytest.approx(0.0, abs=1e-15)
    assert nontarget.item() == pytest.approx(0.130812035941137, rel=1e-12)
    # Teacher (1/2, 1/4, 1/4): beside the label they agree; (1/2, 1/2) against (1/3, 2/3).
    target, nontarget = dkd_terms(uniform, f64([[2, 1, 1]]).log(), labels, f64(1.0))
    assert target.item() == pytest.approx(0.058891517828191, rel=1e-12)
    assert nontarget.item() == pytest.approx(0.0, abs=1e-15)


def test_the_two_halves_make_hintons_loss():
    """Equation 6: KD = TCKD + (1 - p_t(y)) * NCKD, image by image."""
    g = torch.Generator().manual_seed(0)
    s, u = (2 * torch.randn(8, 1, 5, generator=g, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(0, 5, (8, 1), generator=g)
    t = 1 + 4 * torch.rand(8, generator=g, dtype=torch.float64)
    target, nontarget = dkd_terms(s, u, labels, t)
    p = (u / t[:, None, None]).softmax(-1).gather(-1, labels.unsqueeze(-1)).flatten()
    torch.testing.assert_close(target + (1 - p) * nontarget, hinton(s, u, t), rtol=1e-12, atol=0)


def test_against_numpy():
    case = Case("dkd", {})
    s, u = case.tensors["logits"].numpy(), case.teacher["logits"].numpy()
    for i in range(3):
        h = {key: value[i].item() for key, value in case.h.items()}
        tckd = nckd = 0.0
        for b in range(5):
            y, t = case.labels[i, b].item(), h["temperature"]
            p, q = (np.exp(z[i, b] / t) / np.exp(z[i, b] / t).sum() for z in (u, s))
            tckd += p[y] * np.log(p[y] / q[y]) + (1 - p[y]) * np.log((1 - p[y]) / (1 - q[y]))
            p, q = np.delete(p, y) / (1 - p[y]), np.delete(q, y) / (1 - q[y])
            nckd += (p * np.log(p / q)).sum()
        ramp = min(4 / h["warmup_epochs"], 1)  # epoch 3 is the fourth
        total = ramp * t * t / 5 * (h["target_weight"] * tckd + h["nontarget_weight"] * nckd)
        assert case.value()[i].item() == pytest.approx(total, rel=1e-11)


def test_warm_up_rises_by_whole_epochs_counted_from_one_to_one():
    case = Case("dkd", {})
    h = {"warmup_epochs": f64([20.0, 4.0, 0.0])}
    full = case.value(h=h, epoch=1000)
    for epoch, ramp in ((0, [1, 5, 20]), (0.9, [1, 5, 20]), (2, [3, 15, 20]), (19, [20, 20, 20])):
        expected = full * f64(ramp) / 20
        torch.testing.assert_close(case.value(h=h, epoch=epoch), expected, rtol=1e-12, atol=0)


def test_certainty_stays_finite_and_right():
    """p(y) rounds to 1 in float32: a log of 1 - p would be infinite."""
    s, u = torch.tensor([[[60.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 50.0, 0.0]]])
    for labels in (torch.tensor([[0]]), torch.tensor([[1]])):
        exact = dkd_terms(s.double(), u.double(), labels, f64([1.0]))
        rounded = dkd_terms(s, u, labels, torch.ones(1))
        for a, b in zip(rounded, exact, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-9)
