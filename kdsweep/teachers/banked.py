"""A teacher whose logits come from a bank, and that fills it where they are missing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdsweep.data import Views
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.base import Outputs
from kdsweep.teachers.bank import Index, LogitBank

FILL_BATCH = 512  # images in one forward pass that fills the bank, on a GPU
FILL_BATCH_ON_CPU = 128  # smaller ones are shared more evenly between processes


class BankedTeacher:
    """The teacher's logits per (image, discrete view), computed once, ever.

    Args:
        model: the trained teacher.
        bank: where its logits are kept; read on the hardware's device.
        views: renders what is missing.
        hardware: how to run the teacher.
        on_fill: hears how many pairs are about to be computed.
    """

    def __init__(
        self,
        model: nn.Module,
        bank: LogitBank,
        *,
        views: Views,
        hardware: Hardware,
        on_fill: Callable[[int], None] | None = None,
    ) -> None:
        self.model = model.eval()
        self.bank = bank
        self.views = views
        self.hardware = hardware
        self.on_fill = on_fill

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Compute what is missing of the pairs [S, n] that the next epoch will ask for.

        Processes that fill at once go through the batches in orders of their own and look again
        before each, so they share the work without waiting for one another.

        Raises:
            UserError: a logit that the bank can't hold.
        """
        i, v = self.bank.missing(index.flatten().cpu().numpy(), view.flatten().cpu().numpy())
        if not len(i):
            return
        if self.on_fill is not None:
            self.on_fill(len(i))
        size = FILL_BATCH_ON_CPU if self.hardware.device.type == "cpu" else FILL_BATCH
        starts = list(range(0, len(i), size))
        random.Random(os.getpid()).shuffle(starts)
        for start in starts:
            batch = slice(start, start + size)
            self._fill(*self.bank.missing(i[batch], v[batch]))

    @torch.no_grad()
    def _fill(self, i: Index, v: Index) -> None:
        if not len(i):
            return
        device = self.hardware.device
        images = self.views.render(torch.from_numpy(i).to(device), torch.from_numpy(v).to(device))
        with self.hardware.autocast():
            logits = self.model(images)
        self.bank.write(i, v, logits)

    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Banked logits [S, B, K] in the parameters' precision; the images are not looked at."""
        return Outputs(logits=self.bank.read(index, view).to(self.hardware.dtype), features={})
