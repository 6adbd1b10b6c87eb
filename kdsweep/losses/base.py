"""What every distillation loss is made of: its inputs, its options and its learnable parts.

A tensor for N members has the member axis first; one that all members share may have 1 in its
place (the teacher's, when every member sees the same batch).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from kdsweep.losses.options import LossSpec, Option, Value

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]  # tap -> shape of one image's feature


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a network gives for a batch.

    Attributes:
        logits: [N, B, K].
        features: [N, B, ...] by tap. A tap is a layer's dotted name for what it puts out, or
            that name and ``:input`` for what goes into it.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """All that a loss is given beside its hyperparameters; see ``Loss.__call__``."""

    student: Outputs
    teacher: Outputs | None
    labels: Tensor
    epoch: float
    index: Tensor | None
    state: nn.Module | None


class Loss(ABC):
    """A distillation loss: maps outputs to one value per member. It holds no tensors.

    Args:
        options: as the user gave them, parsed.
        student: a registered model, looked at for its layers and classes.
        teacher: the same; None where there is none.
        image_size: in pixels, of the images that both will see.

    Attributes:
        spec: the loss's name, options and needs.
        values: the numeric options of one member, defaults filled in.
        structure: the other options, defaults filled in.
        student_taps: the student's layers whose outputs are needed.
        teacher_taps: the teacher's, in the same order.
    """

    spec: ClassVar[LossSpec]
    options: ClassVar[Mapping[str, Option]] = {}  # for a spec that is made of them

    student_taps: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        options: Mapping[str, Value],
        student: nn.Module,
        teacher: nn.Module | None,
        image_size: int,
    ) -> None:
        known = self.spec.all_options
        given = {**{name: option.default for name, option in known.items()}, **options}
        self.values = {
            name: value
            for name, value in given.items()
            if name in self.spec.numbers and isinstance(value, float)
        }
        self.structure = {k: v for k, v in given.items() if k not in self.spec.numbers}

    @property
    def name(self) -> str:
        """As in ``distill.losses.<name>``."""
        return self.spec.name

    def count(self, option: str) -> int:
        """The value of an option that is a ``Count``."""
        value = self.structure[option]
        assert isinstance(value, int)
        return value

    def adapters(self, student_shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleDict:
        """Learnable parts that stand between a tapped feature and this loss.

        Keys are ``adapter_key("student", tap)`` and ``adapter_key("teacher", tap)``; a tap
        without an entry reaches the loss as it is. A module that takes all features of a side
        has the key ``adapter_key("student")``. They are drawn from torch's global generator,
        belong to each member, and are trained, clipped, checkpointed and counted with it (those
        on the teacher's side too).

        Members train together where they are made of ``nn.Conv2d``, ``nn.BatchNorm2d``,
        ``nn.Linear``, and operations that treat all channels alike: [B, N * C, ...] has the
        channels of N members side by side. A module with ``stacks = True`` takes parameters of
        the shape [N, ...] and such features by itself.

        Args:
            student_shapes: of one image's feature, by tap: (C, H, W) or (D,).
            teacher_shapes: the same of the teacher's.
        """
        return nn.ModuleDict()

    def create_state(
        self, labels: Tensor, seeds: Tensor, *, dtype: torch.dtype = torch.float32
    ) -> nn.Module | None:
        """What the loss remembers beyond a batch, as buffers; None where it remembers nothing.

        Args:
            labels: of all training images, int64 [n], on the device of the state.
            seeds: of the members [N].
            dtype: of the features that the loss will see.
        """
        return None

    def learned(self, state: nn.Module) -> dict[str, Tensor]:
        """The parameters of what the state of a single member has learned, where it learns."""
        return {}

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        h: Mapping[str, Tensor],
        *,
        epoch: float,
        index: Tensor | None = None,
        state: nn.Module | None = None,
    ) -> Tensor:
        """The loss of each member [N], a mean over the batch.

        Args:
            student: its outputs, features behind their adapters.
            teacher: the same of the teacher, detached.
            labels: int64 [N, B].
            h: ``temperature`` and this loss's options by name, each [N].
            epoch: epochs trained so far, with fraction.
            index: of the images in the training set, int64 [N, B].
            state: what ``create_state`` made; the call may update it.
        """
        batch = Batch(
            student=student, teacher=teacher, labels=labels, epoch=epoch, index=index, state=state
        )
        return self.compute(batch, h)

    @abstractmethod
    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]: what each kind of loss defines."""


def classes(model: nn.Module) -> int:
    """How many classes a registered model tells apart."""
    return classifier(model).out_features


def classifier(model: nn.Module) -> nn.Linear:
    """The last layer of a registered model."""
    layer = model.get_submodule(str(model.classifier))
    assert isinstance(layer, nn.Linear)
    return layer


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision raised to float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def per_image(value: Tensor) -> Tensor:
    """A hyperparameter [*] as [*, 1, 1], to meet logits [*, B, K]."""
    return value[..., None, None]


def epoch_number(epoch: float) -> int:
    """The epoch in progress counted from 1, as published code counts its warm-ups."""
    return math.floor(epoch) + 1
