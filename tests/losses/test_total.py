from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses import Outputs
from kdsweep.losses.total import Mixup, cross_entropy, total_loss
from tests.losses.toy import IDS, LOSSES, Case, f64

each_loss = pytest.mark.parametrize(("name", "options"), LOSSES, ids=IDS)


class Whole:
    """A total of one or several cases that share logits, as a population would pass it."""

    def __init__(self, *cases: Case, names: tuple[str, ...] = ()) -> None:
        names = names or tuple(case.loss.name for case in cases)
        self.cases = dict(zip(names, cases, strict=True))
        first = cases[0]
        self.labels, self.index = first.labels, first.index
        self.losses = {name: case.loss for name, case in self.cases.items()}
        self.tensors = {"logits": first.tensors["logits"]}
        self.teacher = {"logits": first.teacher["logits"]}
        self.h = {"temperature": first.h["temperature"], "alpha": f64([0.3, 0.7, 1.0])}
        for name, case in self.cases.items():
            features = {f"{name}/{k}": v for k, v in case.tensors.items() if k != "logits"}
            self.tensors.update(features)
            features = {f"{name}/{k}": v for k, v in case.teacher.items() if k != "logits"}
            self.teacher.update(features)
            self.h.update({f"{name}.{k}": case.h[k] for k in case.loss.values})
        self.states = {
            name: copy.deepcopy(case.state)
            for name, case in self.cases.items()
            if case.state is not None
        }

    def __call__(self, tensors=None, *, h=None, mixup=None):
        tensors, h = {**self.tensors, **(tensors or {})}, {**self.h, **(h or {})}
        return total_loss(
            self.losses,
            *(
                Outputs(logits=x["logits"], features={k: v for k, v in x.items() if k != "logits"})
                for x in (tensors, self.teacher)
            ),
            self.labels,
            h,
            epoch=3.0,
            index=self.index,
            mixup=mixup,
            states=copy.deepcopy(self.states),
        )


def test_cross_entropy_is_torchs():
    logits, labels = torch.randn(3, 5, 4).double(), torch.randint(0, 4, (3, 5))
    expected = [F.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)]
    torch.testing.assert_close(cross_entropy(logits, labels), torch.stack(expected))


@each_loss
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_alpha_0_is_cross_entropy_and_its_gradient_to_the_last_bit(name, options, scale):
    whole = Whole(Case(name, options, dtype=torch.float32))
    whole.tensors = {k: scale * v for k, v in whole.tensors.items()}
    whole.h = {k: v.float() for k, v in whole.h.items()}
    whole.states = {k: v.float() for k, v in whole.states.items()}
    logits = whole.tensors["logits"].requires_grad_()
    h = {"alpha": torch.zeros(3)}
    value, _ = whole({"logits": logits}, h=h)
    (grad,) = torch.autograd.grad(value.sum(), logits)
    expected = cross_entropy(logits, whole.labels)
    (expected_grad,) = torch.autograd.grad(expected.sum(), logits)
    assert torch.equal(value, expected)
    assert torch.equal(grad, expected_grad)
    baseline, terms = total_loss({}, Outputs(logits=logits), None, whole.labels, {}, epoch=0)
    assert torch.equal(baseline, expected)
    assert list(terms) == ["cross_entropy"]


@each_loss
def test_the_total_weighs_cross_entropy_and_the_loss(name, options):
    case = Case(name, options)
    whole = Whole(case)
    value, terms = whole()
    term = case.value(state=copy.deepcopy(case.state))
    alpha, weight = whole.h["alpha"], case.h["weight"]
    ce = cross_entropy(case.tensors["logits"], whole.labels)
    torch.testing.assert_close(value, (1 - alpha) * ce + alpha * weight * term, rtol=1e-12, atol=0)
    assert list(terms) == ["cross_entropy", name]
    torch.testing.assert_close(terms["cross_entropy"], ce)
    torch.testing.assert_close(terms[name], term)
    assert not terms[name].requires_grad


def test_losses_add_up_each_with_its_own_weight_and_features():
    """fitnet and attention tap the same layer, each behind its own adapter."""
    cases = [
        Case("hinton", {}),
        Case("fitnet", {}, seed=1),
        Case("attention", {"student_taps": ["second"], "teacher_taps": ["second"]}, seed=2),
    ]
    for case in cases:
        case.labels = cases[0].labels
    whole = Whole(*cases)
    assert {"fitnet/second", "attention/second"} <= set(whole.tensors)
    value, terms = whole()
    expected = sum(case.h["weight"] * case.value() for case in cases)
    ce, alpha = terms["cross_entropy"], whole.h["alpha"]
    torch.testing.assert_close(value, (1 - alpha) * ce + alpha * expected, rtol=1e-12, atol=0)


def test_a_loss_named_like_the_beginning_of_another_keeps_its_own_options():
    whole = Whole(Case("hinton", {}), Case("dkd", {}), names=("hinton", "hinton_too"))
    before = whole()[0]
    changed = whole(h={"hinton_too.weight": whole.h["hinton_too.weight"] * 2})[0]
    added = whole.h["alpha"] * whole.h["hinton_too.weight"] * whole()[1]["hinton_too"]
    torch.testing.assert_close(changed - before, added)


def test_a_losss_own_temperature_replaces_the_shared_one():
    whole = Whole(Case("hinton", {}))
    own = f64([1.5, 2.5, 3.5])
    torch.testing.assert_close(
        whole(h={"hinton.temperature": own})[0], whole(h={"temperature": own})[0]
    )


def test_mixed_images_mix_cross_entropy_and_the_losses_that_use_labels():
    share = f64([0.2, 0.5, 1.0])
    other = torch.randint(0, 4, (3, 5), generator=torch.Generator().manual_seed(9))
    for name in ("hinton", "dkd", "nkd", "teacher_free", "fitnet"):
        case = Case(name, {})
        whole = Whole(case)
        value, terms = whole(mixup=Mixup(labels=other, share=share))
        second = copy.deepcopy(case)
        second.labels = other
        ce = [cross_entropy(case.tensors["logits"], y) for y in (case.labels, other)]
        torch.testing.assert_close(
            terms["cross_entropy"], share * ce[0] + (1 - share) * ce[1], rtol=1e-12, atol=0
        )
        mixed = share * case.value() + (1 - share) * second.value()
        torch.testing.assert_close(terms[name], mixed, rtol=1e-12, atol=0)
        alpha = whole.h["alpha"]
        expected = (1 - alpha) * terms["cross_entropy"] + alpha * case.h["weight"] * mixed
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_ce_1_and_loss_w_are_alpha_half_with_rate_and_decay_set_for_it(name):
    """docs/methods.md: what gives the published sum to the last step, not up to one half."""
    rate, decay, eps, w = 0.05, 0.1, 1e-8, 3.0
    published, ours = {
        "sgd": ({"momentum": 0.9, "nesterov": True}, {"lr": 2 * rate, "weight_decay": decay / 2}),
        "adam": ({"eps": eps}, {"lr": rate, "weight_decay": decay / 2, "eps": eps / 2}),
        "adamw": ({"eps": eps}, {"lr": rate, "weight_decay": decay, "eps": eps / 2}),
    }[name]
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    case = Case("logit_mse", {}, members=1)
    whole = Whole(case)
    h = {"alpha": f64([0.5]), "logit_mse.weight": f64([w])}
    ends = []
    for half in (False, True):
        logits = case.tensors["logits"].clone().requires_grad_()
        settings = {"lr": rate, "weight_decay": decay, **published, **(ours if half else {})}
        optimizer = make([logits], **settings)
        for _ in range(20):
            optimizer.zero_grad()
            total, _ = whole({"logits": logits}, h=h)
            ce = cross_entropy(logits, case.labels)
            distance = (logits - case.teacher["logits"]).square().mean((-2, -1))
            (total if half else ce + w * distance).sum().backward()
            optimizer.step()
        ends.append(logits.detach())
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(ends[0], case.tensors["logits"], atol=0.1)


def test_states_are_updated():
    case = Case("crd", {"dimensions": 5, "negatives": 6})
    whole = Whole(case)
    total_loss(
        whole.losses,
        Outputs(
            logits=whole.tensors["logits"],
            features={"crd/head:input": whole.tensors["crd/head:input"]},
        ),
        Outputs(
            logits=whole.teacher["logits"],
            features={"crd/head:input": whole.teacher["crd/head:input"]},
        ),
        whole.labels,
        whole.h,
        epoch=0,
        index=whole.index,
        states=whole.states,
    )
    assert whole.states["crd"].step.item() == 1


@pytest.mark.parametrize("name", ["infonce", "rkd"])
def test_autocast_around_it_does_not_lower_the_precision(name):
    whole = Whole(Case(name, {}, dtype=torch.float32))
    whole.h = {k: v.float() for k, v in whole.h.items()}
    outside = whole()[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = whole()[0]
    assert torch.equal(inside, outside)
