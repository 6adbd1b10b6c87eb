"""What a population is worth after an epoch: its logits and metrics on the evaluation images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdsweep.data.device import EvaluationImages
from kdsweep.evaluate import classification_metrics
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.base import at_least_float32
from kdsweep.train.chunk import Chunk
from kdsweep.train.population import Population


@torch.no_grad()
def predict(
    chunks: Sequence[Chunk], evaluation: EvaluationImages, hardware: Hardware, batch_size: int
) -> Tensor:
    """Logits [N, n, K] of every member on unaugmented images, in evaluation mode."""
    parts = []
    for images in _plain_batches(evaluation, hardware, batch_size):
        with hardware.autocast():
            outputs = [
                chunk.forward(images.unsqueeze(0), step=0, train=False)[0] for chunk in chunks
            ]
        parts.append(torch.cat([one.logits for one in outputs]))
    return torch.cat(parts, dim=1)


@torch.no_grad()
def predict_alone(
    model: nn.Module, evaluation: EvaluationImages, hardware: Hardware, batch_size: int
) -> Tensor:
    """Logits [n, K] of one network on unaugmented images, in evaluation mode, on the CPU."""
    model.eval()
    parts = []
    for images in _plain_batches(evaluation, hardware, batch_size):
        with hardware.autocast():
            logits = model(images)
        parts.append(at_least_float32(logits))
    return torch.cat(parts).cpu()


def _plain_batches(
    evaluation: EvaluationImages, hardware: Hardware, batch_size: int
) -> Iterator[Tensor]:
    for start in range(0, len(evaluation.labels), batch_size):
        yield hardware.layout(evaluation.normalise(evaluation.images[start : start + batch_size]))


def metrics_by_member(
    population: Population, losses: Tensor, logits: Tensor, evaluation: EvaluationImages
) -> dict[str, dict[str, float]]:
    """Each member's training loss and metrics, by name, from losses [N] and logits [N, n, K]."""
    measured = classification_metrics(logits, evaluation.labels)
    table = torch.stack([losses, *measured.values()]).cpu().tolist()
    names = ("train_loss", *(f"{evaluation.prefix}_{name}" for name in measured))
    return {
        member.name: {name: row[i] for name, row in zip(names, table, strict=True)}
        for i, member in enumerate(population.members)
    }


def has_diverged(record: Mapping[str, float]) -> bool:
    """Whether an epoch's metrics hold a loss that is not a finite number."""
    return not all(
        math.isfinite(value)
        for name, value in record.items()
        if name == "train_loss" or name.endswith("_nll")
    )
