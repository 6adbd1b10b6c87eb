from __future__ import annotations

import pytest
import torch

from kdsweep.losses.sp import similarity_preserving
from tests.losses.toy import Case, Toy, f64, make


def test_by_hand():
    """Student: orthogonal images, so G~ = I. Teacher: equal ones, so all of G~ is 1 / sqrt(2)."""
    student, teacher = f64([[1, 0], [0, 3]]), f64([[2], [2]])
    off, on = 0.5, (1 - 2**-0.5) ** 2
    assert similarity_preserving(student, teacher).item() == pytest.approx((2 * off + 2 * on) / 4)


def test_against_the_papers_equations():
    """G = Q Q^T, each row over its L2 norm; ||G_t - G_s||_F^2 / b^2, of flattened maps."""
    case = Case("sp", {})
    values = case.value()
    for i in range(3):
        (tap,) = case.loss.student_taps
        rows = []
        for maps in (case.tensors[tap][i], case.teacher[tap][i]):
            b = len(maps)
            gram = f64([[float((maps[j] * maps[k]).sum()) for k in range(b)] for j in range(b)])
            rows.append(gram / gram.pow(2).sum(1, keepdim=True).sqrt())
        expected = float((rows[1] - rows[0]).pow(2).sum()) / 25
        assert values[i].item() == pytest.approx(expected, rel=1e-9)


def test_a_rotation_and_a_scale_of_the_features_cost_nothing():
    features = torch.randn(6, 4).double()
    rotation = torch.linalg.qr(torch.randn(4, 4).double()).Q
    assert similarity_preserving(3 * features @ rotation, features).item() < 1e-20


def test_the_last_stage_is_the_default_and_several_layers_are_summed():
    assert (make("sp", {}).student_taps, make("sp", {}).teacher_taps) == (("third",), ("third",))
    taps = ("first", "third")
    both = Case("sp", {"student_taps": taps, "teacher_taps": taps})
    parts = [
        similarity_preserving(both.tensors[tap].flatten(2), both.teacher[tap].flatten(2))
        for tap in taps
    ]
    torch.testing.assert_close(both.value(), parts[0] + parts[1])
    assert Toy.stages[-1] == "third"
