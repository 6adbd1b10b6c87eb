import math

import pytest
import torch
from torch import nn

from kdsweep.models.cifar_cnn import CifarStudent, CifarTeacher, scaled
from tests.models.helpers import make, parameters, tap


def convolutions(model):
    """(in, out, kernel, stride, padding) of each; all of them have biases."""
    found = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.bias is not None for conv in found)
    return [
        (c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]) for c in found
    ]


def test_the_teacher_is_that_of_system_1():
    model = CifarTeacher(classes=10)
    assert parameters(model) == 4_664_970
    assert convolutions(model) == [
        (3, 64, 7, 2, 3),
        (64, 128, 3, 1, 1),
        (128, 128, 3, 1, 1),
        (128, 256, 3, 2, 1),
        (256, 256, 3, 1, 1),
        (256, 512, 3, 2, 1),
        (512, 512, 3, 1, 1),
    ]
    pool = model.stem[3]
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 2, 1)
    shapes = tap(model, ["stem", *model.stages], torch.zeros(2, 3, 32, 32))
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == [
        (64, 8, 8),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]


def test_the_student_is_that_of_system_1():
    model = CifarStudent(classes=10)
    assert parameters(model) == 106_826
    assert convolutions(model) == [
        (3, 16, 3, 1, 1),
        (16, 32, 3, 1, 1),
        (32, 64, 3, 1, 1),
        (64, 128, 3, 1, 1),
    ]
    names = [*model.stages, "fc1", "fc2"]
    shapes = tap(model, names, torch.zeros(2, 3, 32, 32))
    assert [tuple(output.shape[1:]) for output, _ in shapes.values()] == [
        (16, 16, 16),
        (32, 8, 8),
        (64, 4, 4),
        (128, 4, 4),
        (64,),
        (10,),
    ]


def test_pooling_before_the_relu_is_system_1s_block_to_the_last_bit():
    torch.manual_seed(0)
    block = CifarStudent(classes=10).block1
    convolution, norm, pool, relu = block
    images = torch.randn(8, 3, 32, 32)
    cotangent = torch.randn(8, 16, 16, 16)
    ours = block(images)
    published = pool(relu(norm(convolution(images))))
    assert torch.equal(ours, published)
    for one, other in zip(
        torch.autograd.grad(ours, block.parameters(), cotangent),
        torch.autograd.grad(published, block.parameters(), cotangent),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_the_students_dropouts_come_before_its_two_linear_layers():
    model = CifarStudent(classes=10).train()
    names = ["dropout1", "fc1", "relu", "dropout2", "fc2"]
    seen = tap(model, names, torch.ones(512, 3, 16, 16))
    assert list(seen) == names
    assert (model.dropout1.p, model.dropout2.p) == (0.5, 0.3)
    kept = (seen["dropout2"][0] != 0) & (seen["relu"][0] != 0)
    rate = kept.sum() / (seen["relu"][0] != 0).sum()
    assert rate.item() == pytest.approx(0.7, abs=0.03)
    assert torch.equal(seen["relu"][0], seen["fc1"][0].clamp(min=0))


def test_both_start_from_torchs_default_initialisation():
    torch.manual_seed(0)
    conv = CifarTeacher(classes=10).block3[3]
    bound = 1 / math.sqrt(512 * 9)  # uniform between the bounds
    assert bound * 0.999 < conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert conv.bias.any()


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (16, 0.5, 8),
        (16, 2, 32),
        (16, 1.1, 18),
        (5, 0.5, 3),
        (7, 0.5, 4),
        (16, 0.03, 1),
        (16, 1e-6, 1),
    ],
)
def test_widths_are_rounded_half_up_and_at_least_1(channels, width, expected):
    assert scaled(channels, width) == expected


def test_half_a_student_has_half_of_every_hidden_width():
    # conv + bn: 3-8, 8-16, 16-32, 32-64; linear: 64-32, 32-10
    expected = (224 + 16) + (1168 + 32) + (4640 + 64) + (18_496 + 128) + 2080 + 330
    assert parameters(make("cifar_student", width=0.5)) == expected


@pytest.mark.parametrize("name", ["cifar_teacher", "cifar_student"])
def test_width_multiplies_what_the_classifier_sees(name):
    features = {"cifar_teacher": 512, "cifar_student": 64}[name]
    sizes = []
    for width in (0.001, 0.25, 1.0, 1.5, 2.0):
        model = make(name, width=width, classes=7, image_size=16).eval()
        linear = model.get_submodule(model.classifier)
        assert linear.in_features == max(1, features * width // 1)
        assert linear.out_features == 7
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 7)
        sizes.append(parameters(model))
    assert sizes == sorted(sizes)
