"""Datasets as uint8 tensors, their splits, and deterministic random views."""

from kdsweep.data.dataset import Dataset, Split
from kdsweep.data.load import load_dataset
from kdsweep.data.sources import register_dataset
from kdsweep.data.views import Views, normalise

__all__ = ["Dataset", "Split", "Views", "load_dataset", "normalise", "register_dataset"]
