"""A teacher that looks at every batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdsweep.hardware.choose import Hardware
from kdsweep.losses.base import Outputs, at_least_float32
from kdsweep.models.taps import tapped


class LiveTeacher:
    """One forward pass of the teacher on each batch, shared by every member that sees it."""

    def __init__(self, model: nn.Module, hardware: Hardware, taps: tuple[str, ...] = ()) -> None:
        self.model = model.eval()
        self.hardware = hardware
        self.taps = taps

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Nothing to prepare: the images are there when the batch is."""

    @torch.no_grad()
    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Outputs [S, B, ...] for rendered images [S, B, C, H, W]."""
        shape = images.shape[:2]
        with self.hardware.autocast(), tapped(self.model, self.taps) as features:
            logits = self.model(images.flatten(0, 1))
        return Outputs(
            logits=at_least_float32(logits).reshape(*shape, -1),
            features={
                name: value.reshape(*shape, *value.shape[1:]) for name, value in features.items()
            },
        )
