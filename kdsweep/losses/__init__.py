"""What losses are made of: for a loss of your own, and kdsweep's are made of the same.

``kdsweep.register_loss`` makes one known by its name; ``docs/plugins.md`` has examples.
"""

from __future__ import annotations

from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import Batch, Loss, Outputs, Shapes, epoch_number
from kdsweep.losses.features import (
    TAPS,
    FeatureLoss,
    embedding,
    last_stages,
    match_maps,
    stages,
    unactivated,
)
from kdsweep.losses.logits import STANDARDIZE, LogitLoss, standardized
from kdsweep.losses.options import Choice, Count, Layers, LossSpec, Number, Switch
from kdsweep.losses.projected import PROJECTED, ProjectedLoss

__all__ = [
    "PROJECTED",
    "STANDARDIZE",
    "TAPS",
    "Batch",
    "Choice",
    "Count",
    "FeatureLoss",
    "Layers",
    "LogitLoss",
    "Loss",
    "LossSpec",
    "Number",
    "Outputs",
    "ProjectedLoss",
    "Shapes",
    "Switch",
    "adapter_key",
    "embedding",
    "epoch_number",
    "last_stages",
    "match_maps",
    "stages",
    "standardized",
    "unactivated",
]
