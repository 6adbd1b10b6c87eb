from __future__ import annotations

import pytest
import torch
from torch import nn

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError
from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.hints import hint, regressor
from kdsweep.losses.registry import create_loss
from kdsweep.models import create_model
from tests.losses.toy import SHAPES, STUDENT, Case, Toy, f64, make


def test_hint_by_hand():
    """Two members; differences 1, -2, 2, 0 of the first, 3, 0, 0, 0 of the second."""
    student = f64([[[2, 0], [2, 1]], [[3, 0], [0, 0]]])
    teacher = f64([[[1, 2], [0, 1]], [[0, 0], [0, 0]]])
    assert hint(student, teacher).tolist() == [9 / 4, 9 / 4]


def test_hint_of_maps_averages_the_larger_one_first():
    student, teacher = f64([[[[[1, 3], [5, 7]]]]]), f64([[[[[6]]]]])
    assert hint(student, teacher).tolist() == [4.0]  # (4 - 6)^2


def test_hint_is_a_mean_over_images_and_elements():
    student, teacher = torch.randn(2, 3, 4, 5, 6).double(), torch.randn(2, 3, 4, 5, 6).double()
    expected = [nn.functional.mse_loss(s, t) for s, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(hint(student, teacher), torch.stack(expected))


def test_regressor_maps_the_students_channels_to_the_teachers():
    conv, norm = regressor((3, 8, 8), (5, 4, 4))
    assert conv.weight.shape == (5, 3, 1, 1)
    assert conv.bias is None
    assert isinstance(norm, nn.BatchNorm2d)
    assert regressor((3,), (5,)).weight.shape == (5, 3)
    assert regressor((3, 8, 8), (5,)) is None


def test_each_level_has_its_regressor_and_their_hints_are_summed():
    loss = make("multi_level", {})
    adapters = loss.adapters(SHAPES["student"], SHAPES["teacher"])
    assert list(adapters) == [adapter_key("student", tap) for tap in loss.student_taps]
    assert [conv.weight.shape[:2] for conv, _ in adapters.values()] == [(4, 3), (8, 6), (16, 12)]
    case = Case("multi_level", {})
    parts = [hint(case.tensors[tap], case.teacher[tap]) for tap in loss.student_taps]
    torch.testing.assert_close(case.value(), parts[0] + parts[1] + parts[2])


def test_fitnet_is_the_middle_level_alone():
    case = Case("multi_level", {})
    fitnet = make("fitnet", {})
    assert fitnet.student_taps == ("second",)
    one = Case("fitnet", {})
    expected = hint(one.tensors["second"], one.teacher["second"])
    torch.testing.assert_close(one.value(), expected)
    assert not torch.allclose(one.value(), case.value())


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        ("mobilenetv2", "vgg13", ("groups.2", "block3")),  # as published, at 8 x 8
        ("vgg8", "vgg13", ("block3", "block3")),
        ("resnet20", "resnet56", ("layer2", "layer2")),
        ("cifar_student", "cifar_teacher", ("block3", "block2")),
    ],
)
def test_fitnets_layers_have_maps_of_one_size(student, teacher, layers):
    models = [
        create_model(ModelConfig(name=name), classes=3, image_size=32)
        for name in (student, teacher)
    ]
    loss = create_loss("fitnet", {}, student=models[0], teacher=models[1], image_size=32)
    assert (*loss.student_taps, *loss.teacher_taps) == layers


def test_fitnet_is_refused_where_no_two_stages_have_one_size():
    class Odd(Toy):
        def forward(self, images):
            return super().forward(images[..., :1, :])

    with pytest.raises(UserError, match=r"^distill.losses.fitnet: no stage .* student_taps and"):
        create_loss("fitnet", {}, student=STUDENT, teacher=Odd(), image_size=8)
    named = {"student_taps": "first", "teacher_taps": "second"}
    loss = create_loss("fitnet", named, student=STUDENT, teacher=Odd(), image_size=8)
    assert (loss.student_taps, loss.teacher_taps) == (("first",), ("second",))


def test_features_that_can_not_be_matched_are_refused_in_one_line():
    loss = make("fitnet", {"student_taps": "first", "teacher_taps": "head:input"})
    with pytest.raises(UserError, match=r"first.*\(3, 8, 8\).*\(16,\)") as error:
        loss.adapters(SHAPES["student"], SHAPES["teacher"])
    assert "\n" not in str(error.value)
