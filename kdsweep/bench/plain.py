"""The reference: the loop that system 1 trains with, one student at a time.

A DataLoader with Pillow transforms, the teacher's forward pass in every step, PyTorch's own
optimiser, losses and layers, one image at a time through the augmentation. Nothing is shared
with kdsweep but the two networks' definitions and the pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kdsweep import data
from kdsweep.config import Config
from kdsweep.hardware.choose import usable_cores
from kdsweep.models import create_model


@dataclass(kw_only=True)
class PlainLoop:
    """One student, its teacher and its loader."""

    config: Config
    dataset: data.Dataset
    teacher: nn.Module
    device: torch.device
    seed: int = 0
    loader_workers: int = field(default_factory=lambda: min(2, usable_cores()))

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.student = create_model(
            self.config.pair.student,
            classes=len(self.dataset.classes),
            image_size=self.config.data.image_size,
        ).to(self.device)
        optimizer = self.config.train.optimizer
        self.optimizer = torch.optim.Adam(
            self.student.parameters(), lr=optimizer.lr, weight_decay=optimizer.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(
            self.optimizer,
            step_size=self.config.schedule.step_size,
            gamma=self.config.schedule.gamma,
        )
        self.loader = self._loader()

    def _loader(self) -> DataLoader[tuple[Tensor, int]]:
        from torchvision import transforms

        config = self.config.data
        augment = [transforms.RandomCrop(config.image_size, padding=config.views.padding)]
        if config.views.flip:
            augment.append(transforms.RandomHorizontalFlip())
        transform = transforms.Compose(
            [*augment, transforms.ToTensor(), transforms.Normalize(config.mean, config.std)]
        )
        return DataLoader(
            _Pictures(self.dataset.train.images, self.dataset.train.labels, transform),
            batch_size=self.config.train.batch_size,
            shuffle=True,
            num_workers=self.loader_workers,
            persistent_workers=self.loader_workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def epoch(self, steps: int | None = None) -> float:
        """Train one epoch, or its first ``steps``; seconds a step, without the first one."""
        temperature, alpha = self.config.distill.temperature, self.config.distill.alpha
        self.student.train()
        started, done = 0.0, 0
        for images, labels in self._batches(steps):
            with torch.no_grad():
                taught = self.teacher(images)
            said = self.student(images)
            soft = F.kl_div(
                F.log_softmax(said / temperature, 1),
                F.softmax(taught / temperature, 1),
                reduction="batchmean",
            )
            loss = alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(said, labels)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            loss.item()  # the running loss that such loops print
            if done == 0:
                started = time.perf_counter()
            done += 1
        self.scheduler.step()
        return (time.perf_counter() - started) / max(done - 1, 1)

    def _batches(self, steps: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        for number, (images, labels) in enumerate(self.loader):
            if number == steps:
                return
            yield images.to(self.device), labels.to(self.device)

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Percent of normalised images [n, C, H, W] that the student has right."""
        self.student.eval()
        starts = range(0, len(images), 1000)
        batches = (images[start : start + 1000].to(self.device) for start in starts)
        parts = [self.student(batch).argmax(1).cpu() for batch in batches]
        return float((torch.cat(parts) == labels).float().mean() * 100)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Images as Pillow pictures, the way torchvision's CIFAR-10 gives them."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Any) -> None:
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]
