"""kdsweep: knowledge-distillation sweeps with a verdict over seeds."""

from importlib import import_module
from typing import TYPE_CHECKING

from kdsweep import errors

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "errors", "load", "run", "sweep"]

if TYPE_CHECKING:
    from kdsweep.library import Study, load, run, sweep
else:  # imported when they are asked for: ``import kdsweep`` alone imports nothing heavy
    _OWNERS = dict.fromkeys(("Study", "load", "run", "sweep"), "kdsweep.library")

    def __getattr__(name: str) -> object:
        if name not in _OWNERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
