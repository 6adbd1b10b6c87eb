"""Distillation losses, their schedules, and what the teacher says."""

from __future__ import annotations

from kdsweep.losses.base import Loss, Outputs
from kdsweep.losses.registry import create_loss, create_losses, hyperparameters, loss_names
from kdsweep.losses.total import Mixup, total_loss

__all__ = [
    "Loss",
    "Mixup",
    "Outputs",
    "create_loss",
    "create_losses",
    "hyperparameters",
    "loss_names",
    "total_loss",
]
