"""The module that is shipped: from bytes of pixels to logits, the normalisation inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdsweep.config import DataConfig, ModelConfig
from kdsweep.data.views import affine
from kdsweep.models import create_model
from kdsweep.models.base import ImageClassifier
from kdsweep.models.weights import load_state, read_state
from kdsweep.package.manifest import Manifest

Pixels = NDArray[np.uint8]  # [B, 3, H, W]
Logits = NDArray[np.float32]  # [B, K]
Model = Callable[[Pixels], Logits]


class Classifier(nn.Module):
    """Maps uint8 images [B, 3, H, W] to logits [B, K], in evaluation mode and float32.

    Args:
        model: a trained network.
        mean: of each channel, of pixels from 0 to 1.
        std: likewise.
        image_size: pixels, height and width.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: ImageClassifier,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.image_size = image_size
        scale, shift = affine(DataConfig(mean=list(mean), std=list(std)), torch.float32, "cpu")
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """The logits, with the same roundings as in training."""
        logits: Tensor = self.model(images.to(torch.float32) * self.scale + self.shift)
        return logits

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The same as a graph, which takes any number of images."""
        images = torch.zeros((2, 3, self.image_size, self.image_size), dtype=torch.uint8)
        batch = torch.export.Dim("batch", min=1)
        return torch.export.export(self, (images,), dynamic_shapes={"images": {0: batch}})


def create_classifier(
    manifest: Manifest, state: Mapping[str, Tensor], *, given: str
) -> Classifier:
    """The classifier of a package.

    Args:
        manifest: has its architecture.
        state: its parameters and buffers.
        given: where they come from, for the errors.

    Raises:
        UserError: they do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        model = create_model(
            ModelConfig(
                name=manifest.architecture, width=manifest.width, kwargs=dict(manifest.kwargs)
            ),
            classes=len(manifest.classes),
            image_size=manifest.image_size,
        )
    load_state(model, state, given=given)
    return Classifier(model, mean=manifest.mean, std=manifest.std, image_size=manifest.image_size)


def read_student(file: Path, manifest: Manifest) -> Classifier:
    """The classifier with the weights that training has left in ``file``.

    Raises:
        UserError: they can't be read, or do not fit.
    """
    return create_classifier(manifest, read_state(str(file), option="weights"), given=str(file))


def answer(name: str, logits: Logits, classes: Sequence[str]) -> str:
    """The likeliest class of a picture of that name, and its probability, by logits [K]."""
    label = int(logits.argmax())
    probability = float(np.exp(logits[label] - np.logaddexp.reduce(logits)))
    return f"{name}: {classes[label]} ({probability:.1%})"


def of_module(module: Callable[[torch.Tensor], torch.Tensor]) -> Model:
    """A module of torch as a model."""

    def logits(images: Pixels) -> Logits:
        with torch.inference_mode():
            found: Logits = module(torch.from_numpy(images)).numpy()
        return found

    return logits
