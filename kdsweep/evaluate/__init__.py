"""What a trained network is worth: its metrics, its answers image by image, its costs."""

from kdsweep.evaluate.bits import pack_correctness, unpack_correctness
from kdsweep.evaluate.cost import (
    Compression,
    Cost,
    Latency,
    compression,
    efficiency,
    measure_cost,
)
from kdsweep.evaluate.metrics import (
    agreement,
    classification_metrics,
    correct,
    fidelity_kl,
    per_class_accuracy,
)

__all__ = [
    "Compression",
    "Cost",
    "Latency",
    "agreement",
    "classification_metrics",
    "compression",
    "correct",
    "efficiency",
    "fidelity_kl",
    "measure_cost",
    "pack_correctness",
    "per_class_accuracy",
    "unpack_correctness",
]
