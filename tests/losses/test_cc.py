from __future__ import annotations

import pytest
import torch

from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.cc import correlation
from tests.losses.toy import SHAPES, Case, f64, make


def test_by_hand():
    """Deltas (1, 2), (3, 0), (2, 5): (3 + 0 + 6 + 0) / 2."""
    student, teacher = f64([[1, 2], [0, 4], [3, 5]]), f64([[0, 4], [3, 4], [1, 0]])
    assert correlation(student, teacher).item() == pytest.approx(4.5)


def test_against_a_loop_over_neighbours():
    case = Case("cc", {"dimensions": 5})
    values = case.value()
    for n in range(3):
        delta = (case.tensors["head:input"][n] - case.teacher["head:input"][n]).abs()
        expected = sum(float(delta[b] @ delta[b + 1]) for b in range(4)) / 4
        assert values[n].item() == pytest.approx(expected, rel=1e-9)


def test_both_embeddings_are_projected_to_as_many_numbers():
    adapters = make("cc", {}).adapters(SHAPES["student"], SHAPES["teacher"])
    shapes = {key: part.weight.shape for key, part in adapters.items()}
    assert shapes == {
        adapter_key("student", "head:input"): torch.Size((128, 12)),
        adapter_key("teacher", "head:input"): torch.Size((128, 16)),
    }
