from __future__ import annotations

import pytest
import torch

from kdsweep.losses.features import embedding, match_maps, stages
from tests.losses.toy import Toy, f64


def test_stages_and_embedding_are_the_models_own():
    assert stages(Toy()) == ("first", "second", "third")
    assert embedding(Toy()) == "head:input"


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
