from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kdsweep.losses.rkd import relations, rkd_terms
from tests.losses.toy import Case, f64


def test_by_hand():
    """Student 0, 1, 3 on a line: distances 1, 2, 3, mean 2. Teacher 0, 1, 2: 1, 1, 2, mean 4/3.

    Relative differences 1/2 - 3/4, 1 - 3/4, 3/2 - 3/2, each twice in nine: d^2 / 2 of a quarter
    is 1/32, so 4/32/9. All angles are 0 or 180 degrees, in the same places.
    """
    student, teacher = f64([[0, 0], [1, 0], [3, 0]]), f64([[0.0], [1], [2]])
    distance, angle = rkd_terms(student, teacher)
    assert distance.item() == pytest.approx(4 / 32 / 9, rel=1e-12)
    assert angle.item() == pytest.approx(0, abs=1e-15)


def test_a_right_angle_by_hand():
    """Student's triangle has angles 90, 45, 45; the teacher's is equilateral: 60 each.

    cos: 0, s, s against 1/2 (s = sqrt(1/2)); each angle is there twice of 27.
    """
    student = f64([[0, 0], [1, 0], [0, 1]])
    teacher = f64([[0, 0], [1, 0], [0.5, 0.75**0.5]])
    _, angle = rkd_terms(student, teacher)
    s = 0.5**0.5
    expected = 2 * (0.5**2 + 2 * (s - 0.5) ** 2) / 2 / 27
    assert angle.item() == pytest.approx(expected, rel=1e-12)


def test_against_loops_over_pairs_and_triples():
    case = Case("rkd", {})

    def smooth(d):
        return 0.5 * d * d if abs(d) < 1 else abs(d) - 0.5

    for i in range(3):
        sets = [x[i].numpy() for x in (case.tensors["head:input"], case.teacher["head:input"])]
        pairs = list(itertools.permutations(range(5), 2))
        means = [np.mean([np.linalg.norm(e[a] - e[b]) for a, b in pairs]) for e in sets]
        distance = angle = 0.0
        for a, b in pairs:
            d = [np.linalg.norm(e[a] - e[b]) / m for e, m in zip(sets, means, strict=True)]
            distance += smooth(d[0] - d[1]) / 25
        for a, b, c in itertools.product(range(5), repeat=3):
            if a in (b, c):
                continue
            cos = []
            for e in sets:
                u, v = e[b] - e[a], e[c] - e[a]
                cos.append(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
            angle += smooth(cos[0] - cos[1]) / 125
        h = {key: value[i].item() for key, value in case.h.items()}
        expected = h["distance_weight"] * distance + h["angle_weight"] * angle
        assert case.value()[i].item() == pytest.approx(expected, rel=1e-10)


def test_rotation_shift_and_scale_of_either_network_change_nothing():
    s, t = torch.randn(2, 6, 4).double(), torch.randn(2, 6, 3).double()
    rotation = torch.linalg.qr(torch.randn(4, 4).double()).Q
    moved = rkd_terms(3 * s @ rotation + 5, 0.2 * t - 1)
    for a, b in zip(moved, rkd_terms(s, t), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=0)
    stretched = rkd_terms(s * f64([1, 2, 1, 1]), t)
    assert not torch.isclose(stretched[0], moved[0]).any()


def test_distances_have_mean_one_over_pairs():
    distance, cosine = relations(torch.randn(2, 6, 4).double())
    torch.testing.assert_close(distance.sum((-2, -1)), torch.full((2,), 30.0).double())
    assert cosine.shape == (2, 6, 6, 6)
    assert cosine.abs().max() <= 1 + 1e-12


def test_equal_embeddings_have_no_direction_and_a_small_gradient():
    student = torch.randn(1, 5, 4)
    student[0, 3] = student[0, 1]
    student = student.requires_grad_()
    distance, angle = rkd_terms(student, torch.randn(1, 5, 4))
    (grad,) = torch.autograd.grad((25 * distance + 50 * angle).sum(), student)
    assert grad.isfinite().all()
    assert grad.abs().max() < 50


def test_a_batch_of_one_has_no_relations():
    distance, angle = rkd_terms(torch.randn(2, 1, 4), torch.randn(2, 1, 4))
    assert distance.tolist() == [0, 0]
    assert angle.tolist() == [0, 0]
