from __future__ import annotations

import torch

from kdsweep.distill.logit_mae import logit_mae
from tests.distill.toy import f64


def test_by_hand() -> None:
    """Differences 1, -2, 0 and 0, 0, 3: (1 + 2 + 3) / 6, a mean over classes too."""
    student, teacher = f64([[1, 0, 2], [1, 1, 4]]), f64([[0, 2, 2], [1, 1, 1]])
    torch.testing.assert_close(logit_mae(student, teacher), f64(1.0))


def test_gradient_is_the_sign_over_images_and_classes() -> None:
    student = torch.randn(2, 3, 5).double().requires_grad_()
    teacher = torch.randn(2, 3, 5).double()
    (grad,) = torch.autograd.grad(logit_mae(student, teacher).sum(), student)
    torch.testing.assert_close(grad, (student - teacher).sign() / 15)
