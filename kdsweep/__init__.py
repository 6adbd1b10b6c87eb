"""kdsweep: knowledge-distillation sweeps with a verdict over seeds.

What is public is imported when it is first asked for: ``import kdsweep`` alone imports nothing
heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kdsweep import errors

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "errors", "load", "register_model", "run", "sweep"]

if TYPE_CHECKING:
    from kdsweep.library import Study, load, run, sweep
    from kdsweep.models.registry import register_model
else:
    _OWNERS = {
        **dict.fromkeys(("Study", "load", "run", "sweep"), "kdsweep.library"),
        "register_model": "kdsweep.models.registry",
    }

    def __getattr__(name: str) -> object:
        if name not in _OWNERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
