import math

import pytest
import torch
from torch import nn

from kdsweep.models.base import conv1x1, conv3x3, init_convolutions, init_linear, layer_names


def test_layer_names_are_dotted_and_leave_out_what_is_never_called():
    model = nn.Module()
    model.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model.blocks = nn.ModuleList([nn.Linear(4, 4)])
    model.heads = nn.ModuleDict({"main": nn.Linear(4, 2)})
    assert layer_names(model) == ("stem", "stem.0", "stem.1", "blocks.0", "heads.main")


def test_convolutions_keep_or_halve_the_resolution():
    images = torch.zeros(1, 3, 15, 15)
    assert conv3x3(3, 5)(images).shape == (1, 5, 15, 15)
    assert conv3x3(3, 5, stride=2)(images).shape == (1, 5, 8, 8)
    assert conv1x1(3, 5, stride=2)(images).shape == (1, 5, 8, 8)


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 256)])
def test_convolutions_start_from_the_fan_out(kernel, groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 512, kernel, groups=groups)
    init_convolutions(nn.Sequential(conv))
    count = conv.weight.numel()
    expected = math.sqrt(2 / (kernel * kernel * 512))
    # the standard error of a standard deviation is sd / sqrt(2 n)
    assert conv.weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * count))
    assert not conv.bias.any()


def test_linear_layers_start_from_the_given_deviation():
    torch.manual_seed(0)
    linear = nn.Linear(512, 100)
    init_linear(linear, std=0.01)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=4 / math.sqrt(2 * 51_200))
    assert not linear.bias.any()
