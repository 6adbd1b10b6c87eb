"""What a trained network is worth: its metrics, its answers image by image, its costs."""

from kdsweep.evaluate.bits import pack_correctness, unpack_correctness
from kdsweep.evaluate.cost import Latency, compression, efficiency
from kdsweep.evaluate.metrics import (
    agreement,
    classification_metrics,
    correct,
    fidelity_kl,
    per_class_accuracy,
    reliability,
)

__all__ = [
    "Latency",
    "agreement",
    "classification_metrics",
    "compression",
    "correct",
    "efficiency",
    "fidelity_kl",
    "pack_correctness",
    "per_class_accuracy",
    "reliability",
    "unpack_correctness",
]
