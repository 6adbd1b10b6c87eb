"""The library: sweeps, experiments and studies for programs and notebooks."""

from kdsweep.library.calls import load, run, sweep
from kdsweep.library.study import Study

__all__ = ["Study", "load", "run", "sweep"]
