from __future__ import annotations

import pytest
import torch

from kdsweep.losses.nst import nst
from tests.losses.toy import Case, f64


def test_by_hand():
    """One channel each, looking at one of two positions: kernels 1, 1 and, between them, 0."""
    here, there = f64([[[[3.0, 0.0]]]]), f64([[[[0.0, 5.0]]]])
    assert nst(here, there).item() == pytest.approx(2)
    assert nst(here, 2 * here).item() == pytest.approx(0, abs=1e-12)


def test_against_the_papers_equations():
    """MMD^2 with k(x, y) = (x^T y)^2 over the L2-normalised maps of channels, mean over images."""
    case = Case("nst", {})
    values = case.value()
    for n in range(3):
        total = 0.0
        for tap in case.loss.student_taps:
            for s, t in zip(case.tensors[tap][n], case.teacher[tap][n], strict=True):
                f = [channel.flatten() / channel.norm() for channel in s]
                g = [channel.flatten() / channel.norm() for channel in t]
                mmd = sum(float(a @ b) ** 2 for a in f for b in f) / len(f) ** 2
                mmd += sum(float(a @ b) ** 2 for a in g for b in g) / len(g) ** 2
                mmd -= 2 * sum(float(a @ b) ** 2 for a in f for b in g) / (len(f) * len(g))
                total += mmd / 5
        assert values[n].item() == pytest.approx(total, rel=1e-9)


def test_the_order_and_the_number_of_channels_do_not_matter():
    maps = torch.randn(2, 3, 4, 4).double()
    twice = torch.cat((maps, maps), 1)[:, torch.randperm(6)]
    assert abs(nst(twice, maps).item()) < 1e-12


def test_the_larger_map_is_averaged_down():
    large = torch.randn(2, 3, 4, 4).double()
    small = large.view(2, 3, 2, 2, 2, 2).mean((3, 5))
    assert abs(nst(large, small).item()) < 1e-12
    assert abs(nst(small, large).item()) < 1e-12
