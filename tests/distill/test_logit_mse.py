from __future__ import annotations

import torch

from kdsweep.distill.logit_mse import logit_mse
from tests.distill.toy import f64


def test_by_hand():
    """Differences 1, -2, 0 and 0, 0, 3: (1 + 4 + 9) / 6, a mean over classes too."""
    student, teacher = f64([[1, 0, 2], [1, 1, 4]]), f64([[0, 2, 2], [1, 1, 1]])
    torch.testing.assert_close(logit_mse(student, teacher), f64(14 / 6))


def test_gradient_is_twice_the_difference_over_images_and_classes():
    student = torch.randn(2, 3, 5).double().requires_grad_()
    teacher = torch.randn(2, 3, 5).double()
    (grad,) = torch.autograd.grad(logit_mse(student, teacher).sum(), student)
    torch.testing.assert_close(grad, 2 * (student - teacher) / 15)
