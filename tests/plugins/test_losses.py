"""Losses of a user's own: functions and classes, their options, and the check of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import kdsweep
from kdsweep import losses
from kdsweep.errors import UserError
from kdsweep.losses import Outputs
from kdsweep.losses.hinton import hinton
from kdsweep.losses.options import Choice, Count, Number, Switch
from kdsweep.losses.registry import LOSSES, as_loss, create, create_loss, loss_names, loss_spec
from tests.losses.toy import STUDENT, TEACHER


def logit(loss: Callable[..., Tensor], **options: Any) -> losses.Loss:
    return create(as_loss("mine", loss), options, student=STUDENT, teacher=TEACHER)


def test_a_function_is_known_by_its_signature() -> None:
    def mine(
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        temperature: Tensor,
        *,
        gamma=1.5,
        shift=-2,
        top: int = 3,
        sharp=False,
        kind: Literal["a", "b"] = "b",
    ) -> Tensor:
        """Not called."""
        raise AssertionError

    spec = as_loss("mine", mine, weight=7.0).spec
    assert (spec.name, spec.weight) == ("mine", 7.0)
    assert spec.needs_teacher
    assert spec.uses_temperature
    assert spec.uses_labels
    assert spec.options == {
        "gamma": Number(1.5, signed=True),
        "shift": Number(-2.0, signed=True),
        "top": Count(3),
        "sharp": Switch(False),
        "kind": Choice(("b", "a")),
    }

    def alone(student_logits: Tensor) -> Tensor:
        return student_logits.mean((-2, -1))

    spec = as_loss("alone", alone).spec
    assert (spec.needs_teacher, spec.uses_temperature, spec.uses_labels) == (False, False, False)


def test_a_function_gets_members_first_and_its_options() -> None:
    seen: dict[str, Any] = {}

    def mine(student_logits, temperature, teacher_logits, *, gamma=1.5, top: int = 3):
        seen.update(t=teacher_logits.shape, gamma=gamma, top=top)
        return hinton(student_logits, teacher_logits, temperature)

    loss = logit(mine, top=5)
    student, teacher = torch.randn(3, 6, 4), torch.randn(1, 6, 4)  # one teacher for all
    h = {"temperature": torch.tensor([1.0, 2.0, 3.0]), "gamma": torch.ones(3), "weight": None}
    value = loss(
        Outputs(logits=student), Outputs(logits=teacher), torch.zeros(3, 6).long(), h, epoch=0
    )
    torch.testing.assert_close(value, hinton(student, teacher, h["temperature"]))
    assert seen == {"t": (3, 6, 4), "gamma": h["gamma"], "top": 5}


@pytest.mark.parametrize(
    ("signature", "line"),
    [
        ("teacher_logits", r"signature \(teacher_logits\) has no student_logits; allowed are stu"),
        ("student_logits, gamma", r"gamma: allowed are .* such as gamma=1\.0"),
        ("student_logits, **more", r"more: allowed are"),
        ("student_logits, *, weight=1", r"weight: every loss has a weight already"),
        ("student_logits, *, kind='a'", r"kind='a': allowed is a number, true or false, or a wor"),
        ("student_logits, *, x=None", r"x=None: allowed is a number"),
        ("student_logits, *, x: 'Nowhere' = 1", r"its annotations can't be read: name 'Nowhere'"),
    ],
)
def test_a_signature_that_is_no_losss(signature: str, line: str) -> None:
    made: dict[str, Any] = {}
    exec(f"def mine({signature}): ...", made)
    with pytest.raises(UserError, match=f"^loss mine: .*{line}|^loss mine: {line}"):
        as_loss("mine", made["mine"])


@pytest.mark.parametrize("given", [3, nn.Linear, "hinton"])
def test_what_is_no_loss(given: object) -> None:
    with pytest.raises(UserError, match=r"^loss mine: is a .*; allowed is a function, or a cla"):
        as_loss("mine", given)


def test_options_are_checked_as_ours_are() -> None:
    def mine(student_logits, *, gamma=1.0):
        return gamma * student_logits.mean((-2, -1))

    for given, line in (
        ({"gama": 1.0}, r"gama=1\.0: allowed options of mine are weight, gamma; did you mean"),
        ({"gamma": "x"}, r"gamma=x: allowed is a number$"),
        ({"gamma": float("nan")}, r"gamma=nan: allowed is a number$"),
    ):
        with pytest.raises(UserError, match=rf"^distill\.losses\.mine\.{line}"):
            logit(mine, **given)
    assert logit(mine, gamma=-3.0).values == {"weight": 1.0, "gamma": -3.0}


@pytest.mark.usefixtures("folder")
def test_what_is_registered_is_made_like_ours() -> None:
    @kdsweep.register_loss("mine", weight=3.0)
    def mine(student_logits, teacher_logits):
        return (student_logits - teacher_logits).square().mean((-2, -1))

    assert "mine" in loss_names()
    assert loss_spec("mine").weight == 3.0
    assert create_loss("mine", {}, student=STUDENT, teacher=TEACHER).values == {"weight": 3.0}
    with pytest.raises(UserError, match=r"^loss hinton: there is one already"):
        kdsweep.register_loss("hinton")(mine)

    @kdsweep.register_loss("maps")
    class Maps(losses.FeatureLoss):
        def compute(self, batch: losses.Batch, h: Mapping[str, Tensor]) -> Tensor:
            raise AssertionError

    assert LOSSES["maps"].spec.options == losses.TAPS
    with pytest.raises(UserError, match=r"^loss other: its spec calls it maps; call it the same"):
        kdsweep.register_loss("other")(Maps)


def ok(student_logits, teacher_logits, temperature, *, gamma=1.0):
    return gamma * hinton(student_logits, teacher_logits, temperature)


class Adapted(losses.FeatureLoss):
    """All features of a side in one module."""

    def adapters(self, student: losses.Shapes, teacher: losses.Shapes) -> nn.ModuleDict:
        class Both(nn.Module):
            def forward(self, features: list[Tensor]) -> list[Tensor]:
                return [2 * feature for feature in features]

        return nn.ModuleDict({losses.adapter_key("student"): Both()})

    def compute(self, batch: losses.Batch, h: Mapping[str, Tensor]) -> Tensor:
        ((student, _),) = self.features(batch)
        return student.square().mean((-2, -1))


@pytest.mark.parametrize("loss", [*loss_names(), ok, Adapted])
def test_the_check_lets_what_is_right_pass(loss: Any) -> None:
    kdsweep.check_loss(loss, {"negatives": 16} if loss == "crd" else None)


def leaks(student_logits):
    return (student_logits - student_logits.mean(0)).square().mean((-2, -1))


def scaled_by_all(student_logits, temperature):
    return student_logits.square().mean((-2, -1)) * temperature.mean()


def over_members(student_logits):
    return student_logits.square().mean(0).mean(-1)


def each_image(student_logits):
    return student_logits.square().mean(-1)


def one_number(student_logits):
    return student_logits.square().mean()


def a_float(student_logits):
    return 3.0


def detached(student_logits):
    return student_logits.detach().square().mean((-2, -1))


def hard(student_logits, teacher_logits):
    return (student_logits * 0 + teacher_logits).square().mean((-2, -1))


def log_of_softmax(student_logits):
    return -student_logits.softmax(-1).log().mean((-2, -1))


def root(student_logits, teacher_logits):
    return (student_logits - teacher_logits).square().sum(-1).sqrt().mean(-1)


def infinite(student_logits):
    return student_logits.mean((-2, -1)) / 0


def draws(student_logits):
    return (student_logits * torch.rand_like(student_logits)).mean((-2, -1))


def raises(student_logits, temperature):
    return student_logits / temperature


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        (leaks, "a member's value depends on the members beside it"),
        (scaled_by_all, "a member's value depends on the members beside it"),
        (over_members, r".* a value of shape \[8\]; allowed is \[3\], one for each member"),
        (each_image, r".* a value of shape \[3, 8\]; allowed is \[3\]"),
        (one_number, r".* a value of shape \[\]; allowed is \[3\]"),
        (a_float, r"it gives a float; allowed is a tensor \[3\]"),
        (detached, "its value has no gradient: something in it cuts the student off"),
        (hard, "its gradient with respect to the student's outputs is 0 everywhere"),
        (log_of_softmax, "its gradient on large outputs is not finite"),
        (root, "its gradient where the student's logits are the teacher's is not finite"),
        (infinite, "its value on random outputs is not finite"),
        (draws, "it gives another value when it is called again: it draws at random"),
        (
            raises,
            r"of logits \[3, 8, K\] for 3 members of 8 images it raises RuntimeError: .*line",
        ),
    ],
)
def test_the_check_says_what_is_wrong(loss: Callable[..., Tensor], line: str) -> None:
    with pytest.raises(UserError, match=rf"^distill\.losses\.{loss.__name__}: {line}") as error:
        kdsweep.check_loss(loss)
    assert "\n" not in str(error.value)
