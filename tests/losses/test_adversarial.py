from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.losses import Outputs
from kdsweep.losses.adversarial import Adversarial, Discriminator, discriminator_loss, flipped_loss
from kdsweep.losses.registry import create_loss
from tests.losses.toy import CLASSES, SHAPES, STUDENT, TEACHER, f64

SEEDS = torch.tensor([3, 8])
B = 16


def logits(seed: int, mean: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return mean + torch.randn(2, B, CLASSES, generator=draw, dtype=torch.float64)


def make() -> tuple[Adversarial, Discriminator]:
    loss = create_loss("adversarial", {"hidden": 8}, student=STUDENT, teacher=TEACHER)
    assert isinstance(loss, Adversarial)
    state = loss.create_state(torch.zeros(4, dtype=torch.int64), SEEDS, dtype=torch.float64)
    assert isinstance(state, Discriminator)
    return loss, state


def step(
    loss: Adversarial, state: Discriminator, student: Tensor, teacher: Tensor, lr: float = 0.01
) -> Tensor:
    return loss(
        Outputs(logits=student),
        Outputs(logits=teacher),
        torch.zeros(len(student), B, dtype=torch.int64),
        {"discriminator_lr": torch.full((len(student),), lr, dtype=torch.float64)},
        epoch=0.0,
        state=state,
    )


def test_losses_by_hand() -> None:
    real, fake = f64([[0.0, 2.0]]), f64([[0.0, -1.0]])
    expected = (math.log(2) + math.log1p(math.exp(-2))) / 2
    expected += (math.log(2) + math.log1p(math.exp(-1))) / 2
    assert discriminator_loss(real, fake).tolist() == pytest.approx([expected])
    flipped = (math.log(2) + math.log1p(math.exp(1))) / 2
    assert flipped_loss(fake).tolist() == pytest.approx([flipped])
    assert flipped_loss(f64([[-900.0]])).tolist() == [900]


def test_its_optimiser_is_torchs_adam() -> None:
    _, state = make()
    mine = [part.requires_grad_() for part in state.parts()]
    adam = torch.optim.Adam(mine, lr=0.02, betas=(0.5, 0.999))
    for _ in range(3):
        lost = discriminator_loss(
            state.scores(mine, logits(1)), state.scores(mine, logits(2, 1.0))
        ).sum()
        gradients = torch.autograd.grad(lost, mine)
        for part, gradient in zip(mine, gradients, strict=True):
            part.grad = gradient
        adam.step()
        state.descend(list(gradients), f64([0.02, 0.02]))
        for own, reference in zip(state.parts(), mine, strict=True):
            torch.testing.assert_close(own, reference.detach())


def test_it_learns_to_tell_them_apart_and_the_student_loses_more() -> None:
    loss, state = make()
    before = step(loss, state, logits(1), logits(2, 3.0))
    for _ in range(150):
        after = step(loss, state, logits(1), logits(2, 3.0))
    assert (after > before + 1).all()
    assert (state.scores(state.parts(), logits(5, 3.0)).mean(1) > 0).all()


def test_the_student_is_pulled_towards_the_teacher_and_the_discriminator_is_not_moved() -> None:
    loss, state = make()
    for _ in range(150):
        step(loss, state, logits(1), logits(2, 3.0))
    student = logits(4).requires_grad_()
    value = step(loss, state, student, logits(2, 3.0), lr=1e-9)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert (gradient.sum((1, 2)) < 0).all()  # upwards, where the teacher's logits are
    moved = student.detach() - 20 * B * gradient
    assert (step(loss, state, moved, logits(2, 3.0), lr=1e-9) < value).all()


def test_the_discriminator_changes_the_gradient() -> None:
    gradients = []
    for rate in (1e-9, 0.1):
        loss, state = make()
        step(loss, state, logits(1), logits(2, 3.0), lr=rate)
        student = logits(1).requires_grad_()
        value = step(loss, state, student, logits(2, 3.0), lr=rate)
        gradients += torch.autograd.grad(value.sum(), student)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4


def test_a_members_discriminator_depends_on_its_own_seed_alone() -> None:
    both = Discriminator(SEEDS, (CLASSES, 8, 1))
    alone = Discriminator(SEEDS[1:], (CLASSES, 8, 1))
    for two, one in zip(both.parts(), alone.parts(), strict=True):
        assert torch.equal(two[1:], one)
    assert not torch.equal(both.weight0[0], both.weight0[1])


def test_it_goes_on_without_gradients() -> None:
    loss, state = make()
    with torch.no_grad():
        step(loss, state, logits(1), logits(2))
    assert state.step == 1


def test_gradients_match_finite_differences() -> None:
    _, state = make()
    parts = [part.requires_grad_() for part in state.parts()]

    def value(student: Tensor, *parts: Tensor) -> Tensor:
        return flipped_loss(state.scores(list(parts), student))

    assert torch.autograd.gradcheck(value, (logits(1).requires_grad_(), *parts), fast_mode=True)


def test_on_features_it_tells_embeddings_apart_and_not_logits() -> None:
    loss = create_loss("adversarial", {"sees": "features"}, student=STUDENT, teacher=TEACHER)
    assert (loss.student_taps, loss.teacher_taps) == (("head:input",), ("head:input",))
    state = loss.create_state(torch.zeros(4, dtype=torch.int64), SEEDS, dtype=torch.float64)
    assert isinstance(state, Discriminator)
    width = SHAPES["teacher"]["head:input"][0]
    assert state.weight0.shape == (2, 64, width)
    draw = torch.Generator().manual_seed(1)
    ours, theirs = torch.randn(2, 2, B, width, generator=draw, dtype=torch.float64)
    ours.requires_grad_()
    given = logits(3).requires_grad_()
    value = loss(
        Outputs(logits=given, features={"head:input": ours}),
        Outputs(logits=logits(4), features={"head:input": theirs}),
        torch.zeros(2, B, dtype=torch.int64),
        {"discriminator_lr": torch.full((2,), 0.01, dtype=torch.float64)},
        epoch=0.0,
        state=state,
    )
    gradients = torch.autograd.grad(value.sum(), (ours, given), allow_unused=True)
    assert gradients[0].abs().sum() > 0
    assert gradients[1] is None


def test_embeddings_of_one_width_need_no_layer_between() -> None:
    options = {"sees": "features"}
    wider = create_loss("adversarial", options, student=STUDENT, teacher=TEACHER)
    (layer,) = wider.adapters(SHAPES["student"], SHAPES["teacher"]).values()
    assert (layer.in_features, layer.out_features) == (12, 16)
    same = create_loss("adversarial", options, student=STUDENT, teacher=STUDENT)
    assert not len(same.adapters(SHAPES["student"], SHAPES["student"]))
    on_logits = create_loss("adversarial", {}, student=STUDENT, teacher=TEACHER)
    assert not on_logits.student_taps


def test_what_it_sees_is_one_of_two() -> None:
    with pytest.raises(UserError, match=r"^distill.losses.adversarial.sees=maps: allowed is one"):
        create_loss("adversarial", {"sees": "maps"}, student=STUDENT, teacher=TEACHER)


def test_a_lone_members_discriminator_is_what_it_learned() -> None:
    loss = create_loss("adversarial", {"hidden": 8}, student=STUDENT, teacher=TEACHER)
    state = loss.create_state(torch.zeros(4, dtype=torch.int64), SEEDS[:1])
    assert state is not None
    learned = loss.learned(state)
    shapes = {name: tuple(value.shape) for name, value in learned.items()}
    assert shapes == {
        "weight0": (8, CLASSES), "bias0": (8,), "weight1": (1, 8), "bias1": (1,)
    }  # fmt: skip
    assert loss.spec.learns == "discriminator"
