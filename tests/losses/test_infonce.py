from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.infonce import infonce
from tests.losses.toy import SHAPES, f64, make


def test_by_hand():
    """Three orthogonal images in both networks, tau 1: -log(e / (e + 2))."""
    eye = torch.eye(3).double().unsqueeze(0)
    expected = math.log(math.e + 2) - 1
    assert infonce(eye, eye, f64([1.0])).item() == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(0.551444713932051, rel=1e-12)


def test_swapped_images_by_hand():
    """Two orthogonal images, the teacher's exchanged: -log(1 / (1 + exp(1 / tau)))."""
    eye = torch.eye(2).double().unsqueeze(0)
    value = infonce(eye, eye.flip(1), f64([0.5]))
    assert value.item() == pytest.approx(math.log(1 + math.exp(2)), rel=1e-12)


def test_projections_that_say_nothing_cost_log_b():
    ones = torch.ones(1, 7, 4).double()
    random = torch.randn(1, 7, 4).double()
    assert infonce(ones, ones, f64([0.07])).item() == pytest.approx(math.log(7), rel=1e-12)
    assert infonce(ones, random, f64([1e6])).item() == pytest.approx(math.log(7), rel=1e-5)


def test_mean_of_both_directions_of_cross_entropy():
    s, t, tau = torch.randn(2, 6, 4).double(), torch.randn(2, 6, 4).double(), f64([0.1, 0.5])
    for i in range(2):
        scores = F.cosine_similarity(s[i, :, None], t[i, None], dim=-1) / tau[i]
        own = torch.arange(6)
        expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        torch.testing.assert_close(infonce(s, t, tau)[i], expected, rtol=1e-12, atol=0)


def test_the_order_of_the_batch_and_lengths_do_not_matter():
    s, t, tau = torch.randn(1, 6, 4).double(), torch.randn(1, 6, 4).double(), f64([0.2])
    order = torch.randperm(6)
    torch.testing.assert_close(
        infonce(3 * s[:, order], t[:, order], tau), infonce(s, t, tau), rtol=1e-12, atol=0
    )
    assert not torch.isclose(infonce(s[:, order], t, tau), infonce(s, t, tau))


def test_both_sides_are_projected():
    adapters = make("infonce", {"dimensions": 5}).adapters(SHAPES["student"], SHAPES["teacher"])
    shapes = {key: tuple(module.weight.shape) for key, module in adapters.items()}
    assert shapes == {
        adapter_key("student", "head:input"): (5, 12),
        adapter_key("teacher", "head:input"): (5, 16),
    }


def test_maps_are_flattened_in_front_of_the_projection():
    loss = make("infonce", {"student_taps": ["third"], "teacher_taps": ["head:input"]})
    adapters = loss.adapters(SHAPES["student"], SHAPES["teacher"])
    out = adapters[adapter_key("student", "third")](torch.randn(2, 12, 2, 2))
    assert out.shape == (2, 128)
