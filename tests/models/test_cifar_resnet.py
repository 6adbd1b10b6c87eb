import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsweep.models.cifar_resnet import CifarResNet
from tests.models.helpers import make, tap


@pytest.mark.parametrize("depth", [8, 20, 32, 56, 110])
def test_the_depth_counts_convolutions_and_the_linear_layer(depth):
    model = make(f"resnet{depth}")
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(layers) == depth


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet20", (16, 32, 64)), ("resnet8x4", (64, 128, 256))]
)
def test_stage_shapes(name, channels):
    model = make(name)
    shapes = tap(model, model.stages, torch.zeros(2, 3, 32, 32))
    expected = [(c, side, side) for c, side in zip(channels, (32, 16, 8), strict=True)]
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == expected


@pytest.mark.parametrize("index", [0, 1])
def test_a_block_is_the_activated_sum_of_shortcut_and_residual(index):
    torch.manual_seed(0)
    block = CifarResNet(depth=14, channels=(4, 4, 6, 8), classes=3).double().eval().layer2[index]
    x = torch.randn(2, 4 if index == 0 else 6, 8, 8, dtype=torch.float64)
    stride = 2 if index == 0 else 1
    scale = 1 / (1 + 1e-5) ** 0.5  # of a batch norm that has seen nothing yet
    hidden = F.relu(F.conv2d(x, block.conv1.weight, stride=stride, padding=1) * scale)
    residual = F.conv2d(hidden, block.conv2.weight, padding=1) * scale
    shortcut = x
    if index == 0:
        shortcut = F.conv2d(x, block.downsample[0].weight, stride=2) * scale
    torch.testing.assert_close(block(x), F.relu(shortcut + residual))


def test_convolutions_start_from_he_and_the_linear_layer_from_torch():
    torch.manual_seed(0)
    model = make("resnet32x4", classes=100)
    weight = model.layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    assert model.fc.weight.abs().max().item() == pytest.approx(1 / 16, rel=0.01)
    assert model.fc.bias.any()
