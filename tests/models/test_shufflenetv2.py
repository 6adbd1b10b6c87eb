import math

import pytest
import torch
from torch import nn

from kdsweep.models.shufflenetv2 import _DownUnit, _Unit, shuffle
from tests.models.helpers import make, tap


def test_shuffle_interleaves_the_halves():
    maps = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffle(maps).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_a_unit_passes_one_half_and_works_on_the_other():
    unit = _Unit(6).eval()
    x = torch.randn(2, 6, 5, 5)
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :3])
    torch.testing.assert_close(y[:, 1::2], unit.branch(x[:, 3:]))


def test_a_down_unit_joins_two_branches_at_half_the_resolution():
    unit = _DownUnit(4, 10).eval()
    x = torch.randn(2, 4, 8, 8)
    y = unit(x)
    assert y.shape == (2, 10, 4, 4)
    torch.testing.assert_close(y[:, 0::2], unit.shortcut(x))
    torch.testing.assert_close(y[:, 1::2], unit.branch(x))


def test_stage_shapes_and_depth():
    model = make("shufflenetv2").eval()
    shapes = tap(model, model.stages, torch.zeros(1, 3, 32, 32))
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == [
        (116, 16, 16),
        (232, 8, 8),
        (464, 4, 4),
    ]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 3 * 5 + 13 * 3 + 1


def test_torchs_default_initialisation():
    torch.manual_seed(0)
    weight = make("shufflenetv2").last[0].weight
    assert weight.abs().max().item() == pytest.approx(1 / math.sqrt(464), rel=0.01)
