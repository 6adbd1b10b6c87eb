from __future__ import annotations

import pytest
import torch

from kdsweep.losses.attention import attention, attention_map
from tests.losses.toy import Case, f64


def test_by_hand():
    """Channels (1, 1), (1, 7) on two positions: mean squares 1, 25 -> ... and (3, 0), (3, 0)."""
    student = f64([[[[1, 1]], [[1, 7]]]])  # [B, C, H, W], one image
    teacher = f64([[[[3, 0]], [[3, 0]]]])
    a = f64([1, 25]) / (1 + 625) ** 0.5
    torch.testing.assert_close(attention_map(student), a.view(1, 2))
    expected = ((a[0] - 1) ** 2 + a[1] ** 2) / 2
    assert attention(student, teacher).item() == pytest.approx(expected.item(), rel=1e-12)
    assert expected.item() == pytest.approx(0.960031961651128, rel=1e-12)


def test_positive_scale_of_either_network_changes_nothing():
    s, t = torch.randn(2, 3, 4, 5, 5).double(), torch.randn(2, 3, 6, 5, 5).double()
    expected = attention(s, t)
    torch.testing.assert_close(attention(7 * s, 0.1 * t), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(attention(-s, t), expected, rtol=1e-12, atol=0)


def test_order_and_number_of_channels_do_not_matter():
    s, t = torch.randn(2, 3, 4, 5, 5).double(), torch.randn(2, 3, 6, 5, 5).double()
    twice = torch.cat((s, s), 2)[:, :, torch.randperm(8)]
    torch.testing.assert_close(attention(twice, t), attention(s, t), rtol=1e-12, atol=0)
    torch.testing.assert_close(attention(s, s), torch.zeros(2).double(), rtol=0, atol=1e-30)


def test_mean_over_images_and_positions_of_each_stage_then_a_sum():
    case = Case("attention", {})
    total = torch.zeros(3).double()
    for tap in case.loss.student_taps:
        for i in range(3):
            for s, t in zip(case.tensors[tap][i], case.teacher[tap][i], strict=True):
                a, b = (f.square().mean(0).flatten() for f in (s, t))
                a, b = a / a.norm(), b / b.norm()
                total[i] += (a - b).square().mean() / 5
    torch.testing.assert_close(case.value(), total, rtol=1e-12, atol=0)


def test_bounded_by_two_over_the_number_of_positions():
    s, t = torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2)
    s[..., 0, 0], t[..., 1, 1] = 5.0, 9.0
    assert attention(s, t).item() == pytest.approx(2 / 4)
