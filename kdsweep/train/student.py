"""A student with the learnable parts that its distillation losses need beside it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from kdsweep.losses.adapters import adapted
from kdsweep.losses.base import Loss
from kdsweep.losses.curriculum import CurriculumTheta
from kdsweep.models.taps import tap_shapes, tapped

MODEL = "model."  # in front of the names of the student's own parameters
TEMPERATURE = "temperature"  # the adapter, and the feature, of a learned temperature


class Student(nn.Module):
    """A model, the layers of it that losses look at, and the adapters between the two.

    Args:
        model: the network that will be kept.
        losses: by name; what they tap of student and teacher.
        adapters: learnable parts by loss and ``adapter_key``; trained with the model.
    """

    def __init__(
        self, model: nn.Module, losses: Mapping[str, Loss], adapters: nn.ModuleDict
    ) -> None:
        super().__init__()
        self.model = model
        self.adapters = adapters
        self.wanted = {
            "student": {name: loss.student_taps for name, loss in losses.items()},
            "teacher": {name: loss.teacher_taps for name, loss in losses.items()},
        }
        self.taps = student_taps(losses)

    def forward(
        self, images: Tensor, teacher: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Logits, and both networks' features as ``<loss>/<tap>``, behind their adapters.

        Theta of a learned temperature is among the student's.
        """
        with tapped(self.model, self.taps) as features:
            logits = self.model(images)
        own = self._adapt("student", features)
        if TEMPERATURE in self.adapters:
            own[TEMPERATURE] = self.adapters[TEMPERATURE]()
        return logits, own, self._adapt("teacher", teacher)

    def _adapt(self, side: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not features:
            return {}
        given = {}
        for name, taps in self.wanted[side].items():
            own = self.adapters[name] if name in self.adapters else nn.ModuleDict()
            assert isinstance(own, nn.ModuleDict)
            for tap, feature in adapted(own, side, taps, features).items():
                given[f"{name}/{tap}"] = feature
        return given


def student_taps(losses: Mapping[str, Loss]) -> tuple[str, ...]:
    """The student's layers that any of the losses looks at."""
    return tuple(dict.fromkeys(tap for loss in losses.values() for tap in loss.student_taps))


def teacher_taps(losses: Mapping[str, Loss]) -> tuple[str, ...]:
    """The teacher's layers that any of the losses looks at."""
    return tuple(dict.fromkeys(tap for loss in losses.values() for tap in loss.teacher_taps))


def with_adapters(
    model: nn.Module,
    losses: Mapping[str, Loss],
    teacher: nn.Module | None,
    image_size: int,
    *,
    learned_temperature: bool = False,
) -> Student:
    """A student and its adapters, drawn after it, so that they don't change how it starts."""
    adapters = nn.ModuleDict()
    if learned_temperature:
        adapters[TEMPERATURE] = CurriculumTheta()
    if student_taps(losses):
        assert teacher is not None
        own = tap_shapes(model, student_taps(losses), image_size)
        theirs = tap_shapes(teacher, teacher_taps(losses), image_size)
        for name, loss in losses.items():
            parts = loss.adapters(own, theirs)
            if len(parts):
                adapters[name] = parts
    return Student(model, losses, adapters)
