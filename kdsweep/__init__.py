"""kdsweep: knowledge-distillation sweeps with a verdict over seeds.

What is public is imported when it is first asked for: ``import kdsweep`` alone imports nothing
heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsweep.data.sources.registered import register_dataset
    from kdsweep.errors import KdsweepError, UserError
    from kdsweep.models.registry import register_model

__version__ = "0.1.0"
__all__ = ["KdsweepError", "UserError", "register_dataset", "register_model"]

_FROM = {
    "KdsweepError": "kdsweep.errors",
    "UserError": "kdsweep.errors",
    "register_dataset": "kdsweep.data.sources.registered",
    "register_model": "kdsweep.models.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'kdsweep' has no attribute '{name}'")
    return getattr(importlib.import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
