from __future__ import annotations

import pytest
import torch

from kdsweep.config import ModelConfig
from kdsweep.losses.features import embedding, equal_stages, match_maps, stages
from kdsweep.models import create_model
from tests.losses.toy import Toy, f64


def test_stages_and_embedding_are_the_models_own():
    assert stages(Toy()) == ("first", "second", "third")
    assert embedding(Toy()) == "head:input"


def pairs(student: str, teacher: str, size: int = 32) -> list[tuple[str, str]]:
    models = [
        create_model(ModelConfig(name=name), classes=3, image_size=size)
        for name in (student, teacher)
    ]
    return equal_stages(*models, size)


def test_stages_are_paired_where_their_maps_have_one_size():
    """vgg13 is at 32, 16, 8, 4, 4; mobilenetv2 at 16, 8, 4, 2; shufflenetv2 at 16, 8, 4."""
    assert pairs("mobilenetv2", "vgg13") == [
        ("groups.1", "block2"),
        ("groups.2", "block3"),
        ("groups.4", "block4"),
    ]
    assert pairs("vgg8", "vgg13") == [(f"block{i}", f"block{i}") for i in range(1, 6)]
    assert pairs("shufflenetv2", "resnet8x4") == [("group1", "layer2"), ("group2", "layer3")]
    assert pairs("resnet8", "vgg13", 48) == [
        ("layer1", "block1"),
        ("layer2", "block2"),
        ("layer3", "block3"),
    ]


def test_looking_at_sizes_leaves_a_model_as_it_is():
    model = create_model(ModelConfig(name="resnet8"), classes=3, image_size=32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert equal_stages(model, model, 32)[0] == ("layer1", "layer1")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_maps_of_one_size_are_left_as_they_are():
    student, teacher = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 7, 5, 6)
    assert match_maps(student, teacher) == (student, teacher)


@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_the_larger_map_is_averaged_down(larger):
    large = torch.arange(16.0).view(1, 1, 1, 4, 4)
    small = torch.zeros(1, 1, 2, 2, 2)
    maps = (large, small) if larger == "student" else (small, large)
    out = match_maps(*maps)
    pooled, untouched = out if larger == "student" else out[::-1]
    assert pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert untouched is small


def test_each_axis_is_matched_on_its_own():
    student, teacher = f64([[[[[1, 3], [5, 7]]]]]), f64([[[[[1, 2, 3, 4]]]]])
    ours, theirs = match_maps(student, teacher)
    assert ours.tolist() == [[[[[3, 5]]]]]
    assert theirs.tolist() == [[[[[1.5, 3.5]]]]]
