"""kdsweep: knowledge-distillation sweeps with a verdict over seeds.

``sweep``, ``run`` and ``load`` do what the commands do; the ``register_`` functions add models,
losses and datasets of your own, and the ``check_`` functions try them. What a loss on features is
made of is in ``kdsweep.losses``, and what is raised in ``kdsweep.errors``. All of it is imported
when it is first asked for: ``import kdsweep`` alone imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kdsweep import errors

__version__ = "0.1.0"
_OWNERS = {
    "Study": "kdsweep.library",
    "load": "kdsweep.library",
    "run": "kdsweep.library",
    "sweep": "kdsweep.library",
    "register_dataset": "kdsweep.data.sources.registered",
    "register_loss": "kdsweep.losses.registry",
    "register_model": "kdsweep.models.registry",
    "check_loss": "kdsweep.losses.check",
    "check_model": "kdsweep.train.check",
}
__all__ = [
    "Study",
    "__version__",
    "check_loss",
    "check_model",
    "errors",
    "load",
    "losses",
    "register_dataset",
    "register_loss",
    "register_model",
    "run",
    "sweep",
]

if TYPE_CHECKING:
    from kdsweep import losses
    from kdsweep.data.sources.registered import register_dataset
    from kdsweep.library import Study, load, run, sweep
    from kdsweep.losses.check import check_loss
    from kdsweep.losses.registry import register_loss
    from kdsweep.models.registry import register_model
    from kdsweep.train.check import check_model
else:

    def __getattr__(name: str) -> object:
        if name == "losses":
            return import_module("kdsweep.losses")
        if name not in _OWNERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    return __all__
