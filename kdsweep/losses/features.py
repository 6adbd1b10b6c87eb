"""What the losses on features share: which layers they tap, and maps of unequal size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.errors import UserError
from kdsweep.losses.base import Batch, Loss, at_least_float32
from kdsweep.losses.options import Layers, Option
from kdsweep.models.base import layer_names
from kdsweep.models.taps import INPUT, tap_shapes, tapped
from kdsweep.registry import did_you_mean

LISTED = 40  # names of layers in an error message


def stages(model: nn.Module) -> tuple[str, ...]:
    """The layers that end each stage of a registered model, shallow to deep."""
    names = model.stages
    assert isinstance(names, tuple)
    return names


def embedding(model: nn.Module) -> str:
    """The tap of a registered model's embedding: what goes into its classifier."""
    return f"{model.classifier}{INPUT}"


TAPS: Mapping[str, Option] = {"student_taps": Layers(), "teacher_taps": Layers()}


class FeatureLoss(Loss):
    """A loss on tapped features, the student's paired with the teacher's in order.

    ``student_taps`` and ``teacher_taps`` name layers (``layer3``), or what goes into one
    (``fc:input``); without them each loss has a default, made from the model's stages. The options
    of such a loss include ``TAPS``.
    """

    options = TAPS
    single: ClassVar[bool] = False  # whether the loss takes one pair of layers alone

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        student, teacher = parts["student"], parts["teacher"]
        assert teacher is not None
        default = self.default_taps(student, teacher, parts["image_size"])
        self.student_taps = self._taps("student", student, default[0])
        self.teacher_taps = self._taps("teacher", teacher, default[1])
        given = f"distill.losses.{self.name}.student_taps={list(self.student_taps)}"
        n = len(self.student_taps)
        if not n:
            raise UserError(
                f"distill.losses.{self.name}: no stages were found in the networks; name layers "
                "with student_taps and teacher_taps"
            )
        if n != len(self.teacher_taps):
            raise UserError(
                f"{given}: allowed is as many layers as "
                f"teacher_taps={list(self.teacher_taps)}; name both"
            )
        if len(set(self.student_taps)) < n:
            raise UserError(f"{given}: allowed is each layer once")
        if self.single and n > 1:
            raise UserError(f"{given}: allowed is one layer; multi_level takes several")

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The taps where the user names none: both networks' embeddings."""
        return (embedding(student),), (embedding(teacher),)

    def features(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Pairs of the student's and the teacher's feature, in float32 at least."""
        assert batch.teacher is not None
        return [
            (
                at_least_float32(batch.student.features[ours]),
                at_least_float32(batch.teacher.features[theirs]),
            )
            for ours, theirs in zip(self.student_taps, self.teacher_taps, strict=True)
        ]

    def _taps(self, side: str, model: nn.Module, default: tuple[str, ...]) -> tuple[str, ...]:
        given = self.structure[f"{side}_taps"]
        assert isinstance(given, tuple)
        for tap in given:
            _check_layer(f"distill.losses.{self.name}.{side}_taps={tap}", tap, model)
        return given or default


def last_stages(student: nn.Module, teacher: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All stages of both networks, paired from the deepest up; the longer one loses its first."""
    ours, theirs = stages(student), stages(teacher)
    n = min(len(ours), len(theirs))
    return ours[-n:], theirs[-n:]


@torch.no_grad()
def unactivated(model: nn.Module, stage: str, image_size: int) -> str:
    """The tap before the ReLU that ends a stage; the stage itself where none does."""
    *_, (inner, last) = model.get_submodule(stage).named_modules()
    name = f"{stage}.{inner}".rstrip(".")
    if not isinstance(last, nn.ReLU | nn.ReLU6 | nn.LeakyReLU):
        return stage
    shape = (1, 3, image_size, image_size)
    like = next(model.parameters())
    images = torch.linspace(-1, 1, math.prod(shape), dtype=like.dtype, device=like.device)
    training = model.training
    model.eval()
    with tapped(model, (stage, name)) as outputs:
        model(images.view(shape))
    model.train(training)
    ends = outputs[stage].shape == outputs[name].shape and outputs[stage].equal(outputs[name])
    return f"{name}{INPUT}" if ends else stage


def equal_stages(student: nn.Module, teacher: nn.Module, image_size: int) -> list[tuple[str, str]]:
    """Pairs of the student's and the teacher's stages that put out maps of one size.

    Each stage is in one pair at most, and both networks' are in order, shallow to deep: of two
    stages of one size the first finds the other network's first.
    """
    ours, theirs = (tap_shapes(model, stages(model), image_size) for model in (student, teacher))
    pairs = []
    left = list(theirs)
    for stage, shape in ours.items():
        found = next((other for other in left if theirs[other][-2:] == shape[-2:]), None)
        if found is not None:
            pairs.append((stage, found))
            left = left[left.index(found) + 1 :]
    return pairs


def match_maps(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average the larger of two maps [*, C, H, W] down to the smaller, each axis on its own."""
    size = (
        min(student.shape[-2], teacher.shape[-2]),
        min(student.shape[-1], teacher.shape[-1]),
    )
    return _pooled(student, size), _pooled(teacher, size)


def _pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    pooled = F.adaptive_avg_pool2d(maps.flatten(0, -4), size)
    return pooled.view(*maps.shape[:-2], *size)


def _check_layer(given: str, tap: str, model: nn.Module) -> None:
    names = layer_names(model)
    layer = tap.removesuffix(INPUT)
    if layer in names:
        return
    first = [*stages(model), str(model.classifier)]
    listed = [*first, *(name for name in names if name not in first)]
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    raise UserError(
        f"{given}: allowed is a layer of the model, or a layer and {INPUT} for what goes into it: "
        + ", ".join(listed[:LISTED])
        + more
        + did_you_mean(layer, names)
    )
