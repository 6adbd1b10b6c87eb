import pytest
import torch
from torch import nn

from kdsweep.models.mobilenetv2 import MobileNetV2, _InvertedResidual
from tests.models.helpers import make, parameters, tap


def test_stage_shapes_at_half_the_width():
    model = make("mobilenetv2").eval()
    shapes = tap(model, [*model.stages, "last"], torch.zeros(1, 3, 32, 32))
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == [
        (12, 16, 16),
        (16, 8, 8),
        (48, 4, 4),
        (160, 2, 2),
        (1280, 2, 2),
    ]


def test_full_width_has_the_count_of_the_paper():
    # the paper's first group has no expanding convolution (32 * 32 weights and a batch norm here);
    # its table 4 prints 3.4 M, torchvision counts 3,504,872
    count = parameters(MobileNetV2(multiplier=1.0, classes=1000)) - (32 * 32 + 64)
    assert count == 3_504_872


@pytest.mark.parametrize(
    ("channels_out", "stride", "shortcut"), [(8, 1, True), (8, 2, False), (12, 1, False)]
)
def test_the_shortcut_is_there_where_the_shape_stays(channels_out, stride, shortcut):
    block = _InvertedResidual(8, channels_out, expansion=6, stride=stride).eval()
    nn.init.zeros_(block.project[1].weight)  # the residual is 0 then
    x = torch.randn(2, 8, 6, 6)
    side = 6 // stride
    expected = x if shortcut else torch.zeros(2, channels_out, side, side)
    torch.testing.assert_close(block(x), expected)


def test_depthwise_convolutions_see_one_channel_each():
    block = _InvertedResidual(8, 8, expansion=6, stride=1)
    assert block.depthwise[0].weight.shape == (48, 1, 3, 3)


def test_initialisation():
    torch.manual_seed(0)
    model = make("mobilenetv2", classes=100)
    assert model.last[0].weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.01)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not model.fc.bias.any()
