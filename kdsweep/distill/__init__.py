"""Distillation losses, their schedules, and what the teacher says."""

from __future__ import annotations

from kdsweep.distill.base import Loss, Outputs
from kdsweep.distill.registry import create_loss, create_losses, hyperparameters, loss_names
from kdsweep.distill.total import Mixup, total_loss

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
