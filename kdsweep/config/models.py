"""Models by name, the pair of a teacher and its student, and where the teacher comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kdsweep.config.checks import (
    choice,
    non_negative,
    positive,
    require,
    seed,
    temperature,
    within,
)
from kdsweep.errors import UserError


@dataclass(kw_only=True)
class ModelConfig:
    """A model by its registered name."""

    name: str = "cifar_student"  # of the architecture
    width: float = 1.0  # multiplies the channels, in the families that have a width
    weights: str | None = None  # torchvision's name of pretrained weights, or a local file
    kwargs: dict[str, Any] = field(default_factory=dict)  # of a plugin's model, for its function


@dataclass(kw_only=True)
class PairConfig:
    """A teacher and the student that it teaches."""

    teacher: ModelConfig = field(default_factory=lambda: ModelConfig(name="cifar_teacher"))
    student: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        width("pair.teacher.width", self.teacher.width)
        width("pair.student.width", self.student.width)


@dataclass(kw_only=True)
class TeacherConfig:
    """Where the teacher comes from: a checkpoint, or training with ``train``'s settings.

    Several may teach at once (``ensemble``), or one after another: ``pair.teacher`` teaches the
    first of ``assistants``, that one the next, and the last of them the student; or the student's
    own architecture, trained alone, teaches the next of ``generations``.
    """

    checkpoint: str | None = None  # safetensors or torch state dict of the user's own
    seed: int = 0  # of its initialisation and order of images
    epochs: int | None = None  # null: train.epochs
    lr: float | None = None  # null: train.optimizer.lr; a number lets students of all rates share
    weight_decay: float | None = None  # null: train.optimizer.weight_decay
    checkpoint_epoch: int | None = None  # stop there, on the schedule of all epochs
    ensemble: int = 1  # so many teachers, with seeds from seed up
    combine: str = "probabilities"  # an ensemble's mean of them, or of the teachers' losses
    assistants: list[Any] = field(default_factory=list)  # names, or {name: ..., width: ...}
    generations: int = 0  # of the student's architecture, instead of pair.teacher
    assistant_temperature: float = 4.0  # assistants and generations learn by hinton with it
    assistant_alpha: float = 0.7  # the weight of distillation in what they learn

    def __post_init__(self) -> None:
        if self.epochs is not None:
            positive("teacher.epochs", self.epochs)
        if self.lr is not None:
            positive("teacher.lr", self.lr)
        if self.weight_decay is not None:
            non_negative("teacher.weight_decay", self.weight_decay)
        if self.checkpoint_epoch is not None:
            positive("teacher.checkpoint_epoch", self.checkpoint_epoch)
        within("teacher.ensemble", self.ensemble, 1, 100)
        choice("teacher.combine", self.combine, ("probabilities", "losses"))
        within("teacher.generations", self.generations, 0, 100)
        temperature("teacher.assistant_temperature", self.assistant_temperature)
        alpha = self.assistant_alpha
        require(0 <= alpha <= 1, "teacher.assistant_alpha", alpha, "0 to 1")
        self.assistants = [_assistant(given) for given in self.assistants]
        for assistant in self.assistants:
            width("teacher.assistants: width", assistant.width)
        many = [
            f"teacher.{key}={value}"
            for key, value, plain in (
                ("checkpoint", self.checkpoint, None),
                ("ensemble", self.ensemble, 1),
                ("generations", self.generations, 0),
            )
            if value != plain
        ]
        if self.assistants and self.checkpoint is None:
            many.append("teacher.assistants=[...]")
        if len(many) > 1:
            raise UserError(f"{' '.join(many)}: allowed is one of them at a time")
        if self.checkpoint is not None and self.checkpoint_epoch is not None:
            raise UserError(
                f"teacher.checkpoint_epoch={self.checkpoint_epoch}: allowed is null with "
                "teacher.checkpoint, which is not trained"
            )
        seed("teacher.seed", self.seed)


def width(key: str, value: float) -> None:
    """A factor of a model's channels."""
    within(key, value, 0.01, 100)


def _assistant(given: object) -> ModelConfig:
    if isinstance(given, ModelConfig):
        return given
    fields = {"name": given} if isinstance(given, str) else given
    allowed = ("name", "width", "weights", "kwargs")
    ok = (
        isinstance(fields, dict)
        and "name" in fields
        and set(fields) <= set(allowed)
        and isinstance(fields.get("width", 1.0), int | float)
    )
    require(ok, "teacher.assistants", given, "a model's name, or {name: ..., width: ...}")
    assert isinstance(fields, dict)
    return ModelConfig(**fields)
