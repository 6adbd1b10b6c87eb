"""kdsweep: knowledge-distillation sweeps with a verdict over seeds."""

__version__ = "0.1.0"
