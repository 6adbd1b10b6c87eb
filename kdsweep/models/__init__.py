"""Teachers and students by name: kdsweep's own, torchvision's and timm's.

Every model is an ``ImageClassifier``: images [B, 3, H, W] to logits [B, K], with the names of the
layers that end its stages and of its last linear layer, whose input is the embedding.
"""

from kdsweep.models.base import ImageClassifier, layer_names
from kdsweep.models.registry import create_model, model_names, register_model
from kdsweep.models.weights import load_weights

__all__ = [
    "ImageClassifier",
    "create_model",
    "layer_names",
    "load_weights",
    "model_names",
    "register_model",
]
