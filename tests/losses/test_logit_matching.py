from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdsweep.losses.logit_matching import logit_mae, logit_mse
from tests.losses.toy import f64

Distance = Callable[[Tensor, Tensor], Tensor]


@pytest.mark.parametrize(("distance", "mean"), [(logit_mse, 14 / 6), (logit_mae, 1.0)])
def test_by_hand(distance: Distance, mean: float) -> None:
    """Differences 1, -2, 0 and 0, 0, 3: a mean over classes too."""
    student, teacher = f64([[1, 0, 2], [1, 1, 4]]), f64([[0, 2, 2], [1, 1, 1]])
    torch.testing.assert_close(distance(student, teacher), f64(mean))


@pytest.mark.parametrize(
    ("distance", "slope"), [(logit_mse, lambda gap: 2 * gap), (logit_mae, torch.sign)]
)
def test_gradient_over_images_and_classes(
    distance: Distance, slope: Callable[[Tensor], Tensor]
) -> None:
    student = torch.randn(2, 3, 5).double().requires_grad_()
    teacher = torch.randn(2, 3, 5).double()
    (grad,) = torch.autograd.grad(distance(student, teacher).sum(), student)
    torch.testing.assert_close(grad, slope(student.detach() - teacher) / 15)
