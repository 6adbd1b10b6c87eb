from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from kdsweep.errors import UserError
from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.registry import (
    create_loss,
    create_losses,
    hyperparameters,
    loss_names,
    loss_spec,
)
from kdsweep.losses.total import cross_entropy
from tests.losses.toy import IDS, LOSSES, SHAPES, STUDENT, TEACHER, Case, Toy, make

each_loss = pytest.mark.parametrize(("name", "options"), LOSSES, ids=IDS)


def test_every_registered_loss_is_tested():
    assert {name for name, _ in LOSSES} == set(loss_names())


@pytest.mark.parametrize(  # adversarial's discriminator moves too: its own file has a check
    ("name", "options"), [case for case in LOSSES if case[0] != "adversarial"]
)
def test_gradients_match_finite_differences(name, options):
    case = Case(name, options, members=2, batch=3)
    used = {
        key: value.clone().requires_grad_()
        for key, value in case.tensors.items()
        if key != "logits" or not case.loss.student_taps
    }
    hyper = {key: value for key, value in case.h.items() if key not in ("weight", "momentum")}
    if not case.loss.spec.uses_temperature and "temperature" not in case.loss.values:
        del hyper["temperature"]
    hyper = {key: value.clone().requires_grad_() for key, value in hyper.items()}
    case.value()  # what crd fixes by its first batch has no gradient

    def value(*tensors):
        n = len(used)
        state = copy.deepcopy(case.state)
        return case.value(
            dict(zip(used, tensors[:n], strict=True)),
            h=dict(zip(hyper, tensors[n:], strict=True)),
            state=state,
        )

    fast = bool(case.loss.student_taps)  # one random direction instead of each element
    assert torch.autograd.gradcheck(value, (*used.values(), *hyper.values()), fast_mode=fast)


@each_loss
def test_a_member_alone_has_the_value_and_gradient_that_it_has_among_others(name, options):
    case = Case(name, options, members=3)
    together = {key: value.clone().requires_grad_() for key, value in case.tensors.items()}
    values = case.value(together, state=copy.deepcopy(case.state))
    grads = torch.autograd.grad(values.sum(), list(together.values()), allow_unused=True)
    for i in range(3):
        part = slice(i, i + 1)
        alone = copy.deepcopy(case)
        alone.labels, alone.index = case.labels[part], case.index[part]
        alone.h = {key: value[part] for key, value in case.h.items()}
        alone.teacher = {key: value[part] for key, value in case.teacher.items()}
        if case.state is not None:
            alone.state = case.loss.create_state(
                torch.arange(12) % 4, torch.tensor([7 + i]), dtype=torch.float64
            )
        own = {key: value[part].clone().requires_grad_() for key, value in case.tensors.items()}
        value = alone.value(own)
        assert value.shape == (1,)
        torch.testing.assert_close(value[0], values[i], rtol=1e-12, atol=1e-13)
        for grad, mine in zip(
            grads,
            torch.autograd.grad(value.sum(), list(own.values()), allow_unused=True),
            strict=True,
        ):
            assert (grad is None) == (mine is None)
            if grad is not None:
                torch.testing.assert_close(mine[0], grad[i], rtol=1e-10, atol=1e-13)


@each_loss
def test_a_teacher_that_all_members_share_may_have_one_member_axis(name, options):
    case = Case(name, options)
    behind_adapter = {
        tap
        for tap in case.loss.teacher_taps
        if adapter_key("teacher", tap) in case.loss.adapters(SHAPES["student"], SHAPES["teacher"])
    }
    shared = {k: v[:1] if k not in behind_adapter else v for k, v in case.teacher.items()}
    full = {k: v.expand_as(case.teacher[k]) for k, v in shared.items()}
    torch.testing.assert_close(
        case.value(teacher=shared, state=copy.deepcopy(case.state)),
        case.value(teacher=full, state=copy.deepcopy(case.state)),
        rtol=1e-12,
        atol=1e-13,
    )


@each_loss
def test_half_precision_is_raised_before_anything_is_computed(name, options):
    case = Case(name, options)
    state = None if case.state is None else copy.deepcopy(case.state).float()
    low = {key: value.bfloat16() for key, value in case.tensors.items()}
    low_teacher = {key: value.half() for key, value in case.teacher.items()}
    h = {key: value.float() for key, value in case.h.items()}
    value = case.value(low, teacher=low_teacher, h=h, state=state)
    assert value.dtype == torch.float32
    exact = case.value(
        {key: value.double() for key, value in low.items()},
        teacher={key: value.double() for key, value in low_teacher.items()},
    )
    torch.testing.assert_close(value.double(), exact, rtol=2e-5, atol=1e-6)


@each_loss
def test_nothing_waits_for_the_device(name, options):
    """Tensors without values: whatever would read one on the host raises."""
    case = Case(name, options, dtype=torch.float32)
    case.labels, case.index = case.labels.to("meta"), case.index.to("meta")
    case.tensors = {key: value.to("meta").requires_grad_() for key, value in case.tensors.items()}
    case.teacher = {key: value.to("meta") for key, value in case.teacher.items()}
    case.h = {key: value.float().to("meta") for key, value in case.h.items()}
    case.state = None if case.state is None else case.state.float().to("meta")
    value = case.value()
    assert value.shape == (3,)
    value.sum().backward()


@each_loss
def test_extreme_inputs_stay_finite(name, options):
    case = Case(name, options, dtype=torch.float32)
    h = {key: value.float() for key, value in case.h.items()}
    state = None if case.state is None else case.state.float()
    for scale in (0.0, 1e-6, 300.0):
        tensors = {key: (scale * value).requires_grad_() for key, value in case.tensors.items()}
        value = case.value(tensors, h=h, state=state)
        grads = torch.autograd.grad(value.sum(), list(tensors.values()), allow_unused=True)
        assert value.isfinite().all(), scale
        assert all(grad.isfinite().all() for grad in grads if grad is not None), scale


def test_no_two_losses_are_equal_on_the_same_inputs_nor_to_cross_entropy():
    case = Case("hinton", {}, seed=1)
    values = [cross_entropy(case.tensors["logits"], case.labels)]
    for name, options in LOSSES:
        if options.get("student_taps"):
            continue
        case = Case(name, options, seed=1)
        values.append(case.value(h={"temperature": torch.tensor([2.0, 3.0, 4.0]).double()}))
    for (a, first), (b, second) in itertools.combinations(enumerate(values), 2):
        assert not torch.allclose(first, second, rtol=1e-3), (a, b)


@each_loss
def test_every_numeric_option_but_weight_and_momentum_changes_the_value(name, options):
    """Momentum acts on the next batch, weight in the total."""
    case = Case(name, options)
    value = case.value(state=copy.deepcopy(case.state))
    for option in case.loss.values:
        if option not in ("weight", "momentum"):
            h = {option: case.h[option] * 0.9}
            changed = case.value(h=h, state=copy.deepcopy(case.state))
            assert not torch.isclose(changed, value, rtol=1e-9).any(), option
    other = {"temperature": case.h["temperature"] * 1.1}
    changed = case.value(h=other, state=copy.deepcopy(case.state))
    own = "temperature" in case.loss.values
    assert torch.equal(changed, value) != (case.loss.spec.uses_temperature or own)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (n, o)
        for n, o in LOSSES
        if not make(n, o).student_taps and n not in ("logit_mse", "logit_mae", "adversarial")
    ],
)
def test_a_shift_of_an_images_logits_changes_nothing(name, options):
    case = Case(name, options)
    shift = torch.linspace(-2, 2, 15, dtype=torch.float64).view(3, 5, 1)
    shifted = case.value(
        {"logits": case.tensors["logits"] + shift},
        teacher={"logits": case.teacher["logits"] - 2 * shift},
    )
    torch.testing.assert_close(shifted, case.value(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "options"),
    [(n, o) for n, o in LOSSES if n in ("hinton", "logit_mse", "logit_mae", "dkd", "dist")],
)
def test_a_student_that_gives_the_teachers_logits_has_no_loss_and_no_gradient(name, options):
    case = Case(name, options)
    logits = case.teacher["logits"].clone().requires_grad_()
    value = case.value({"logits": logits})
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-9)
    (grad,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "option", "default"),
    [
        ("dkd", "nontarget_weight", 8.0),
        ("attention", "weight", 1000.0),
        ("fitnet", "weight", 100.0),
        ("crd", "weight", 0.8),
        ("rkd", "angle_weight", 50.0),
        ("logit_mse", "weight", 0.1),
        ("dist", "weight", 2.0),
        ("nkd", "gamma", 3.5),
        ("teacher_free", "temperature", 20.0),
    ],
)
def test_published_numbers_are_the_defaults(name, option, default):
    assert loss_spec(name).numbers[option].default == default


def test_hyperparameters_are_named_after_their_loss_and_keep_the_users_values():
    losses = create_losses(
        {"hinton": {"weight": 3}, "dkd": {"target_weight": 0.5, "temperature": 2}},
        student=STUDENT,
        teacher=TEACHER,
    )
    assert hyperparameters(losses) == {
        "hinton.weight": 3.0,
        "dkd.weight": 1.0,
        "dkd.target_weight": 0.5,
        "dkd.nontarget_weight": 8.0,
        "dkd.warmup_epochs": 20.0,
        "dkd.temperature": 2.0,
    }


def test_two_can_not_be_fused_and_say_why():
    unfused = [name for name in loss_names() if loss_spec(name).why_not_fused]
    assert unfused == ["crd", "adversarial"]


def test_default_layers_come_from_the_models_stages():
    class Deep(Toy):
        stages = ("stem", "first", "second", "third")

        def __init__(self):
            super().__init__()
            self.stem = nn.Identity()

    def taps(name, student, teacher):
        loss = create_loss(name, {}, student=student, teacher=teacher)
        return loss.student_taps, loss.teacher_taps

    assert taps("fitnet", STUDENT, TEACHER) == (("second",), ("second",))
    all_three = ("first", "second", "third")
    assert taps("multi_level", Deep(), TEACHER) == (all_three, all_three)
    assert taps("attention", STUDENT, Deep()) == (all_three, all_three)
    for name in ("rkd", "infonce", "crd"):
        assert taps(name, STUDENT, TEACHER) == (("head:input",), ("head:input",))


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("hintn", {}, ["distill.losses.hintn", "did you mean hinton?", "rkd"]),
        ("dkd", {"target": 1}, ["dkd.target=1", "target_weight", "did you mean target_weight?"]),
        ("logit_mse", {"temperature": 2}, ["temperature=2", "weight, standardize"]),
        ("hinton", {"T2": True}, ["allowed options of hinton are weight, temperature, stand"]),
        ("hinton", {"weight": "heavy"}, ["weight=heavy", "a number"]),
        ("hinton", {"weight": True}, ["weight=True", "a number"]),
        ("hinton", {"weight": -1}, ["weight=-1", "0 or more"]),
        ("hinton", {"weight": math.nan}, ["weight=nan", "0 or more"]),
        ("hinton", {"weight": math.inf}, ["weight=inf"]),
        ("hinton", {"temperature": 0}, ["temperature=0", "above 0"]),
        ("crd", {"tau": 0}, ["tau=0", "above 0"]),
        ("teacher_free", {"correct_probability": 1}, ["=1", "above 0 and below 1"]),
        ("hinton", {"standardize": 1}, ["standardize=1", "true or false"]),
        ("crd", {"negatives": 0.5}, ["negatives=0.5", "a whole number above 0"]),
        ("crd", {"negatives": 0}, ["negatives=0"]),
        ("crd", {"negatives": math.inf}, ["negatives=inf"]),
        ("crd", {"negatives": True}, ["negatives=True"]),
        ("fitnet", {"student_taps": 3}, ["student_taps=3", "a list of layers' names"]),
        (
            "fitnet",
            {"student_taps": ["secnd"]},
            ["student_taps=secnd", "first, second, third, head", "did you mean second?"],
        ),
        ("rkd", {"teacher_taps": ["heads:input"]}, ["teacher_taps=heads:input", "mean head?"]),
        (
            "fitnet",
            {"student_taps": ["first", "second"], "teacher_taps": ["first", "second"]},
            ["one layer; multi_level"],
        ),
        ("multi_level", {"student_taps": ["first"]}, ["as many layers", "name both"]),
        (
            "multi_level",
            {"student_taps": ["first"] * 2, "teacher_taps": ["first", "second"]},
            ["each layer once"],
        ),
    ],
)
def test_mistakes_are_refused_in_one_line(name, options, parts):
    with pytest.raises(UserError) as error:
        make(name, options)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_long_list_of_layers_is_cut_short():
    deep = Toy()
    deep.many = nn.Sequential(*(nn.Identity() for _ in range(100)))
    with pytest.raises(UserError, match=r"head.*and 65 more") as error:
        create_loss("fitnet", {"student_taps": ["x"]}, student=deep, teacher=TEACHER)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", loss_names())
def test_a_loss_without_its_teacher_is_refused_unless_it_needs_none(name):
    if name in ("label_smoothing", "teacher_free"):
        create_loss(name, {}, student=STUDENT, teacher=None)
    else:
        with pytest.raises(UserError, match=r"label_smoothing, teacher_free$"):
            create_loss(name, {}, student=STUDENT, teacher=None)


def test_dkd_is_refused_with_two_classes():
    with pytest.raises(UserError, match="3 classes or more"):
        create_loss("dkd", {}, student=Toy(classes=2), teacher=Toy(classes=2))
