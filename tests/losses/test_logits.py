from __future__ import annotations

import numpy as np
import torch

from kdsweep.losses.logits import beside, is_label, pick, standardized
from tests.losses.toy import f64


def test_standardised_logits_have_mean_0_and_the_samples_deviation_1():
    z = torch.randn(2, 5, 10, dtype=torch.float64) * 3 + 1
    out = standardized(z).numpy()
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-13)
    np.testing.assert_allclose(out.std(-1, ddof=1), 1, rtol=1e-12)


def test_standardised_by_hand():
    """1, 2, 6: mean 3, deviations -2, -1, 3, variance 14 / 2 = 7."""
    expected = f64(-0.7559289460184544, -0.3779644730092272, 1.1338934190276817)
    torch.testing.assert_close(standardized(f64(1, 2, 6)), expected, rtol=1e-12, atol=0)


def test_standardised_logits_ignore_scale_and_shift():
    z = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(standardized(5 * z - 3), standardized(z), rtol=1e-12, atol=1e-13)
    assert not torch.allclose(standardized(-z), standardized(z))


def test_equal_logits_are_standardised_to_0_with_a_finite_gradient():
    z = torch.full((1, 4), 2.0, requires_grad=True)
    out = standardized(z)
    (grad,) = torch.autograd.grad(out[0, 0], z)
    assert torch.equal(out, torch.zeros(1, 4))
    assert grad.isfinite().all()


def test_pick_takes_each_labels_entry_and_broadcasts_members():
    values = torch.arange(12.0).view(1, 3, 4)
    labels = torch.tensor([[0, 1, 3], [2, 2, 0]])
    assert pick(values, labels).tolist() == [[0, 5, 11], [2, 6, 8]]


def test_beside_is_the_softmax_of_what_is_left_without_the_label():
    z = torch.randn(6, 5, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    logs, total = beside(z, is_label(labels, 5))
    for i, y in enumerate(labels.tolist()):
        rest = np.delete(np.exp(z[i].numpy()), y)
        np.testing.assert_allclose(np.delete(logs[i].numpy(), y), np.log(rest / rest.sum()))
        np.testing.assert_allclose(total[i].item(), np.log(rest.sum()))
        assert logs[i, y] == 0
