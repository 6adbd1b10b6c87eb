"""kdsweep: knowledge-distillation sweeps with a verdict over seeds.

What is public is imported when it is first asked for: ``import kdsweep`` alone imports nothing
heavy. ``docs/plugins.md`` shows how to write a model, a loss or a dataset with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsweep.errors import KdsweepError, UserError
    from kdsweep.losses.adapters import adapter_key
    from kdsweep.losses.base import Batch, Loss, Outputs, Shapes, epoch_number
    from kdsweep.losses.check import check_loss
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
    from kdsweep.losses.registry import register_loss
    from kdsweep.models.base import ImageClassifier
    from kdsweep.models.registry import register_model
    from kdsweep.train.check import check_model

__version__ = "0.1.0"
__all__ = [
    "PROJECTED",
    "STANDARDIZE",
    "TAPS",
    "Batch",
    "Choice",
    "Count",
    "FeatureLoss",
    "ImageClassifier",
    "KdsweepError",
    "Layers",
    "LogitLoss",
    "Loss",
    "LossSpec",
    "Number",
    "Outputs",
    "ProjectedLoss",
    "Shapes",
    "Switch",
    "UserError",
    "adapter_key",
    "check_loss",
    "check_model",
    "embedding",
    "epoch_number",
    "last_stages",
    "match_maps",
    "register_loss",
    "register_model",
    "stages",
    "standardized",
    "unactivated",
]

_NAMES = {
    "errors": "KdsweepError UserError",
    "losses.adapters": "adapter_key",
    "losses.base": "Batch Loss Outputs Shapes epoch_number",
    "losses.check": "check_loss",
    "losses.features": "TAPS FeatureLoss embedding last_stages match_maps stages unactivated",
    "losses.logits": "STANDARDIZE LogitLoss standardized",
    "losses.options": "Choice Count Layers LossSpec Number Switch",
    "losses.projected": "PROJECTED ProjectedLoss",
    "losses.registry": "register_loss",
    "models.base": "ImageClassifier",
    "models.registry": "register_model",
    "train.check": "check_model",
}
_MODULES = {
    name: f"kdsweep.{module}" for module, names in _NAMES.items() for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kdsweep' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
