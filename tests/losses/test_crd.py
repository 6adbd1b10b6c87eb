from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.crd import ContrastMemory, nce
from tests.losses.toy import CLASSES, IMAGES, Case, f64

OPTIONS = {"dimensions": 5, "negatives": 6}
LABELS = torch.arange(IMAGES) % CLASSES


def memory(members: int = 2, negatives: int = 6, first_seed: int = 7) -> ContrastMemory:
    seeds = torch.arange(members) + first_seed
    return ContrastMemory(LABELS, seeds, dimensions=5, negatives=negatives, dtype=torch.float64)


def test_noise_contrast_by_hand():
    """p = exp(score) / Z; Z = 1, m / n = 2 / 4: h = p / (p + 1/2). Scores 0, ln 2, 0."""
    value = nce(f64([[[0, math.log(2), 0]]]), f64([0.0]), images=4)
    expected = -math.log(2 / 3) - math.log(1 - 4 / 5) - math.log(1 - 2 / 3)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(3.113515309212, rel=1e-10)


def test_against_the_published_formula_on_gathered_rows():
    case = Case("crd", OPTIONS)
    state, first = case.state, True
    log_z = torch.zeros(2, 3).double()
    for step in range(3):
        before = copy.deepcopy(state)
        assert before.step.item() == step
        value = case.value()
        chosen = torch.cat((case.index.unsqueeze(-1), before.draw(case.labels)), -1)
        ours, theirs = (F.normalize(x["head:input"], dim=-1) for x in (case.tensors, case.teacher))
        for i in range(3):
            total = 0.0
            for side, (bank, anchor) in enumerate(
                ((before.student, theirs), (before.teacher, ours))
            ):
                rows = bank[i][chosen[i]]  # [B, 1 + m, D]
                p = ((rows * anchor[i, :, None]).sum(-1) / case.h["tau"][i]).exp()
                if first:
                    log_z[side, i] = (p.mean() * IMAGES).log()
                p = p / log_z[side, i].exp()
                noise = 6 / IMAGES
                total -= (p[:, 0] / (p[:, 0] + noise)).log().mean()
                total -= (noise / (p[:, 1:] + noise)).log().sum(1).mean()
            torch.testing.assert_close(value[i], total, rtol=1e-10, atol=0)
        first = False
        for i in range(3):
            m = case.h["momentum"][i]
            for bank, old, fresh in (
                (state.student, before.student, ours),
                (state.teacher, before.teacher, theirs),
            ):
                expected = old[i].clone()
                for b, image in enumerate(case.index[i].tolist()):
                    row = m * old[i, image] + (1 - m) * fresh[i, b]
                    expected[image] = row / row.norm()
                torch.testing.assert_close(bank[i], expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(state.log_normaliser, log_z, rtol=1e-12, atol=0)


def test_negatives_are_of_every_other_class_and_evenly_so():
    state = memory(members=1, negatives=20000)
    labels = torch.arange(CLASSES).unsqueeze(0)
    drawn = state.draw(labels)
    for label in range(CLASSES):
        counts = drawn[0, label].bincount(minlength=IMAGES)
        assert counts[label == LABELS].sum() == 0
        others = counts[label != LABELS].double()
        expected = 20000 / len(others)
        # A chi-square statistic with 8 degrees of freedom; 26.1 is its 99.9th percentile.
        assert ((others - expected) ** 2 / expected).sum() < 26.1


def test_classes_of_unequal_size_keep_their_own_images_out():
    labels = torch.tensor([2, 0, 2, 2, 1, 2])
    seeds = torch.tensor([0])
    state = ContrastMemory(labels, seeds, dimensions=3, negatives=500)
    drawn = state.draw(torch.tensor([[0, 1, 2]]))
    for label in range(3):
        assert set(drawn[0, label].tolist()) == set((labels != label).nonzero().flatten().tolist())


def test_draws_depend_on_seed_step_and_place_alone():
    state, alone = memory(members=2), memory(members=1, first_seed=8)
    labels = torch.zeros(2, 4, dtype=torch.int64)
    drawn = state.draw(labels)
    assert torch.equal(drawn[1:], alone.draw(labels[:1]))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0, 0], drawn[0, 1])
    state.step.add_(1)
    assert not torch.equal(state.draw(labels), drawn)


def test_memories_start_on_the_sphere_on_average_and_differ():
    state = ContrastMemory(
        torch.arange(1000) % 4, torch.tensor([1, 2]), dimensions=128, negatives=6
    )
    for bank in (state.student, state.teacher):
        assert bank.square().sum(-1).mean().item() == pytest.approx(1, abs=0.01)
        assert bank.mean().item() == pytest.approx(0, abs=0.001)
    assert not torch.isclose(state.student, state.teacher).all()
    assert not torch.isclose(state.student[0], state.student[1]).all()


def test_the_gradient_survives_the_update_of_the_memory():
    case = Case("crd", OPTIONS)
    x = case.tensors["head:input"].requires_grad_()
    value = case.value({"head:input": x})
    case.value()  # moves the memory before the gradient is taken
    (grad,) = torch.autograd.grad(value.sum(), x)
    assert (grad != 0).all()


def test_a_memory_in_single_precision_serves_features_in_double():
    case = Case("crd", OPTIONS)
    single = copy.deepcopy(case.state).float()
    value = case.value(state=single)
    torch.testing.assert_close(value, case.value(), rtol=1e-5, atol=0)
    assert single.student.dtype == torch.float32


def test_its_state_travels_in_a_checkpoint():
    case = Case("crd", OPTIONS)
    case.value()
    other = Case("crd", OPTIONS, seed=5)
    other.state.load_state_dict(case.state.state_dict())
    assert torch.equal(case.value(state=other.state), case.value())


def test_training_on_it_brings_the_two_networks_together():
    torch.manual_seed(0)
    case = Case("crd", {"dimensions": 5, "negatives": 30}, members=1, batch=IMAGES)
    case.h = {key: value / value * case.loss.values[key] if key in case.loss.values else value
              for key, value in case.h.items()}  # fmt: skip
    x = case.tensors["head:input"].clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05)

    def cosine():
        return F.cosine_similarity(x, case.teacher["head:input"], dim=-1).mean().item()

    before = cosine()
    for _ in range(100):
        optimizer.zero_grad()
        case.value({"head:input": x}).sum().backward()
        optimizer.step()
    assert cosine() > max(0.5, before + 0.3)
