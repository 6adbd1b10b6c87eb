from __future__ import annotations

import torch
from torch import nn

from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import at_least_float32, classes, epoch_number, per_image
from tests.losses.toy import Toy


def test_adapter_keys_name_modules_of_dotted_layers():
    adapters = nn.ModuleDict({adapter_key("student", "layer2.0.conv:input"): nn.Linear(2, 3)})
    assert list(adapters) == ["student/layer2/0/conv:input"]
    assert adapter_key("student", "a.b") != adapter_key("teacher", "a.b")


def test_only_half_precision_is_raised():
    given = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    raised = [at_least_float32(torch.ones(1, dtype=dtype)).dtype for dtype in given]
    assert raised == [torch.float32, torch.float32, torch.float32, torch.float64]


def test_epochs_are_counted_from_one():
    assert [epoch_number(epoch) for epoch in (0, 0.99, 1, 2.5)] == [1, 1, 2, 3]


def test_classes_are_the_classifiers_outputs():
    assert classes(Toy(classes=7)) == 7


def test_a_hyperparameter_meets_logits():
    assert per_image(torch.ones(3)).shape == (3, 1, 1)
