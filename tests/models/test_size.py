from __future__ import annotations

import pytest
import torch
from torch import nn

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError
from kdsweep.models import create_model
from kdsweep.models.cifar_cnn import CifarStudent
from kdsweep.models.size import count_parameters


def test_parameters_are_counted_without_being_made() -> None:
    assert count_parameters(lambda: CifarStudent(classes=10)) == 106_826
    huge = count_parameters(lambda: nn.Linear(10**6, 10**6))  # 4 TB, if they were made
    assert huge == 10**12 + 10**6
    assert torch.get_default_device().type == "cpu"


@pytest.mark.parametrize("name", ["cifar_teacher", "cifar_student"])
def test_a_width_that_no_memory_holds_is_refused(name: str) -> None:
    config = ModelConfig(name=name, width=100)
    with pytest.raises(UserError) as caught:
        create_model(config, classes=10, image_size=32, key="pair.student")
    line = str(caught.value)
    assert line.startswith(f"pair.student.width=100: makes {name} a model of ")
    assert "allowed are up to 500,000,000" in line
