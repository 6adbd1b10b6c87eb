import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsweep.models.wide_resnet import WideResNet
from tests.models.helpers import make, tap


@pytest.mark.parametrize(("depth", "widen"), [(16, 1), (16, 2), (40, 2)])
def test_depth_and_widths(depth, widen):
    model = make(f"wrn_{depth}_{widen}")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    shortcuts = [m for m in convolutions if m.kernel_size == (1, 1)]
    # the name counts the shortcuts of the three groups; a thin first group needs none
    assert len(convolutions) - len(shortcuts) + 3 == depth
    assert len(shortcuts) == (2 if widen == 1 else 3)
    shapes = tap(model, model.stages, torch.zeros(2, 3, 32, 32))
    expected = [(16 * widen, 32, 32), (32 * widen, 16, 16), (64 * widen, 8, 8)]
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == expected


@pytest.mark.parametrize("index", [0, 1])
def test_a_block_adds_to_what_it_was_given(index):
    torch.manual_seed(0)
    block = WideResNet(depth=16, widen=1, classes=3).double().eval().group2[index]
    x = torch.randn(2, 16 if index == 0 else 32, 8, 8, dtype=torch.float64)
    stride = 2 if index == 0 else 1
    scale = 1 / (1 + 1e-5) ** 0.5  # of a batch norm that has seen nothing yet
    active = F.relu(x * scale)
    hidden = F.relu(F.conv2d(active, block.conv1.weight, stride=stride, padding=1) * scale)
    residual = F.conv2d(hidden, block.conv2.weight, padding=1)
    shortcut = F.conv2d(active, block.shortcut.weight, stride=2) if index == 0 else x
    torch.testing.assert_close(block(x), shortcut + residual)


def test_the_last_stage_is_tapped_before_its_activation():
    model = make("wrn_16_1").eval()
    names = ["group3", "bn", "relu"]
    seen = tap(model, names, torch.randn(2, 3, 32, 32))
    assert list(seen) == names
    assert (seen["group3"][0] < 0).any()


def test_initialisation():
    torch.manual_seed(0)
    model = make("wrn_40_2")
    weight = model.group3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.01)
    assert model.fc.weight.abs().max().item() == pytest.approx(128**-0.5, rel=0.01)
    assert not model.fc.bias.any()
