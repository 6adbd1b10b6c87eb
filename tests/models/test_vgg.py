import pytest
import torch
from torch import nn

from tests.models.helpers import make, tap


@pytest.mark.parametrize(
    ("size", "sides"),
    [(16, (16, 8, 4, 2, 2)), (32, (32, 16, 8, 4, 4)), (64, (64, 32, 16, 8, 4))],
)
def test_large_images_are_pooled_once_more(size, sides):
    model = make("vgg8", image_size=size).eval()
    shapes = tap(model, model.stages, torch.zeros(1, 3, size, size))
    channels = (64, 128, 256, 512, 512)
    expected = [(c, side, side) for c, side in zip(channels, sides, strict=True)]
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == expected


@pytest.mark.parametrize(("name", "layers"), [("vgg8", 5), ("vgg13", 10)])
def test_convolutions_have_biases_of_0_and_stages_end_in_a_relu(name, layers):
    model = make(name).eval()
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == layers
    assert all(conv.bias is not None and not conv.bias.any() for conv in convolutions)
    for output, _ in tap(model, model.stages, torch.randn(2, 3, 32, 32)).values():
        assert (output == 0).any()
        assert (output >= 0).all()


def test_initialisation():
    torch.manual_seed(0)
    model = make("vgg8", classes=100)
    weight = model.block5[0].weight
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not model.fc.bias.any()
