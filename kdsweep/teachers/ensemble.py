"""The outputs of several teachers at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdsweep.losses.base import Outputs
from kdsweep.train.interfaces import TeacherOutputs


class EnsembleOutputs:
    """What every teacher says, each from a bank or a forward pass of its own."""

    def __init__(self, teachers: Sequence[TeacherOutputs]) -> None:
        self.teachers = teachers

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Tell all of them."""
        for teacher in self.teachers:
            teacher.prepare(index, view)

    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Logits [S, B, E, K]."""
        said = [teacher.outputs(index, view, images).logits for teacher in self.teachers]
        return Outputs(logits=torch.stack(said, dim=-2))
