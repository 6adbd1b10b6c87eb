from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.losses import Outputs
from kdsweep.losses.ensemble import mean_of_probabilities, one_by_one, refuse_features
from kdsweep.losses.hinton import hinton
from kdsweep.losses.registry import create_losses
from kdsweep.losses.total import total_loss
from kdsweep.teachers.ensemble import EnsembleOutputs
from tests.losses.toy import CLASSES, STUDENT, TEACHER, f64

N, B, E = 2, 5, 3
T = f64([1.0, 4.0])


def logits(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, CLASSES, generator=draw, dtype=torch.float64)


def test_the_tempered_probabilities_are_the_mean_of_the_teachers() -> None:
    teachers = logits(0, N, B, E)
    for n, t in enumerate(T):
        expected = (teachers[n] / t).softmax(-1).mean(-2)
        combined = mean_of_probabilities(teachers, T)[n]
        torch.testing.assert_close((combined / t).softmax(-1), expected)


def test_teachers_who_agree_give_what_each_says() -> None:
    one = logits(1, N, B)
    torch.testing.assert_close(mean_of_probabilities(one.unsqueeze(2).expand(N, B, E, -1), T), one)


def test_at_a_high_temperature_logits_are_averaged() -> None:
    teachers = logits(2, 1, B, E)
    combined = mean_of_probabilities(teachers, f64([1e5]))
    torch.testing.assert_close(combined, teachers.mean(-2), atol=1e-3, rtol=0)


def test_probabilities_of_zero_do_not_become_infinite() -> None:
    teachers = f64([[[[0.0, -2000.0], [0.0, -2000.0]]]])
    assert mean_of_probabilities(teachers, f64([1.0])).isfinite().all()


@pytest.mark.parametrize("temperature", [None, 2.0])
def test_each_loss_combines_at_its_own_temperature(temperature: float | None) -> None:
    student, teachers = logits(3, N, B), logits(4, N, B, E)
    losses = create_losses({"hinton": {}, "logit_mse": {}}, student=STUDENT, teacher=TEACHER)
    one = torch.ones(N, dtype=torch.float64)
    h = {"alpha": one, "temperature": T, "hinton.weight": one, "logit_mse.weight": one}
    if temperature is not None:
        h["hinton.temperature"] = temperature * one
    _, terms = total_loss(
        losses,
        Outputs(logits=student),
        Outputs(logits=teachers),
        torch.zeros(N, B, dtype=torch.int64),
        h,
        epoch=0.0,
        combine=mean_of_probabilities,
    )
    t = T if temperature is None else temperature * one
    target = (teachers / t[:, None, None, None]).softmax(-1).mean(-2).log()  # at temperature 1
    torch.testing.assert_close(terms["hinton"], hinton(student, target * t[:, None, None], t))
    plain = mean_of_probabilities(teachers, one)
    torch.testing.assert_close(terms["logit_mse"], (student - plain).square().mean((1, 2)))


class Says:
    def __init__(self, value: float) -> None:
        self.value = value
        self.asked = 0

    def prepare(self, index: Tensor, view: Tensor) -> None:
        self.asked += 1

    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        return Outputs(logits=torch.full((1, B, CLASSES), self.value))


def test_every_teacher_is_asked() -> None:
    teachers = [Says(1.0), Says(2.0)]
    both = EnsembleOutputs(teachers)
    nothing = torch.zeros(0)
    both.prepare(nothing, nothing)
    given = both.outputs(nothing, nothing, nothing)
    assert [teacher.asked for teacher in teachers] == [1, 1]
    assert given.logits.shape == (1, B, 2, CLASSES)
    assert [float(one.logits.mean()) for one in one_by_one(given)] == [1.0, 2.0]


def test_features_of_several_teachers_are_refused() -> None:
    losses = create_losses({"fitnet": {}}, student=STUDENT, teacher=TEACHER)
    refuse_features(losses, 1)
    with pytest.raises(UserError, match=r"teacher.ensemble=2: allowed is 1 with .*fitnet"):
        refuse_features(losses, 2)
