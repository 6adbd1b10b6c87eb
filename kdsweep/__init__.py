"""kdsweep: knowledge-distillation sweeps with a verdict over seeds.

What is public is imported when it is first asked for: ``import kdsweep`` alone imports nothing
heavy. ``docs/plugins.md`` shows how to add a model, a loss or a dataset with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kdsweep import errors

__version__ = "0.1.0"
_OF = {
    "library": "Study load run sweep",
    # Of plugins, which add models, losses and datasets:
    "errors": "KdsweepError UserError",
    "data.sources.registered": "register_dataset",
    "models.base": "ImageClassifier",
    "models.registry": "register_model",
    "train.check": "check_model",
    "losses.registry": "register_loss",
    "losses.check": "check_loss",
    "losses.base": "Batch Loss Outputs Shapes epoch_number",
    "losses.adapters": "adapter_key",
    "losses.options": "Choice Count Layers LossSpec Number Switch",
    "losses.logits": "STANDARDIZE LogitLoss standardized",
    "losses.features": "TAPS FeatureLoss embedding last_stages match_maps stages unactivated",
    "losses.projected": "PROJECTED ProjectedLoss",
}
_OWNERS = {name: f"kdsweep.{module}" for module, names in _OF.items() for name in names.split()}
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
    "Study",
    "Switch",
    "UserError",
    "__version__",
    "adapter_key",
    "check_loss",
    "check_model",
    "embedding",
    "epoch_number",
    "errors",
    "last_stages",
    "load",
    "match_maps",
    "register_dataset",
    "register_loss",
    "register_model",
    "run",
    "stages",
    "standardized",
    "sweep",
    "unactivated",
]

if TYPE_CHECKING:
    from kdsweep.data.sources.registered import register_dataset
    from kdsweep.errors import KdsweepError, UserError
    from kdsweep.library import Study, load, run, sweep
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
else:

    def __getattr__(name: str) -> object:
        if name not in _OWNERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
