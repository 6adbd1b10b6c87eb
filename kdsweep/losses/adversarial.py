"""Adversarial distillation: a discriminator that tells the teacher from the student."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import (
    Batch,
    Loss,
    Outputs,
    Shapes,
    at_least_float32,
    classes,
    classifier,
)
from kdsweep.losses.features import embedding
from kdsweep.losses.options import Choice, Count, LossSpec, Number

_START = 3  # what a stream of noise is for
_BETA1, _BETA2, _EPS = 0.5, 0.999, 1e-8  # Adam's, as is usual for discriminators


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(teacher) - log(1 - D(student)), means over the batch: scores [*, B] -> [*].

    Source: Goodfellow et al. 2014, Generative Adversarial Nets, equation 1.
    """
    return F.softplus(-real).mean(-1) + F.softplus(fake).mean(-1)


def flipped_loss(fake: Tensor) -> Tensor:
    """-log D(student), mean over the batch: what a student loses that is recognised.

    The labels are flipped, which keeps the gradient where the discriminator is sure (ibid.,
    section 3).
    """
    return F.softplus(-fake).mean(-1)


class Discriminator(nn.Module):
    """One perceptron for each member: outputs [N, B, K] -> scores [N, B], and its own Adam.

    Args:
        seeds: of the members [N]; the start is drawn from them alone.
        sizes: (K, hidden units, 1).
        dtype: of the outputs.
    """

    step: Tensor  # int64 [], of the optimiser

    def __init__(
        self, seeds: Tensor, sizes: tuple[int, int, int], *, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.names = []
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            position = torch.arange(inputs * outputs, device=seeds.device).view(outputs, inputs)
            noise = streams.uniform(seeds[:, None, None], streams.NOISE, _START, layer, position)
            weight = ((2 * noise - 1) / math.sqrt(inputs)).to(dtype)
            for kind, value in (("weight", weight), ("bias", torch.zeros_like(weight[..., 0]))):
                name = f"{kind}{layer}"
                self.names.append(name)
                self.register_buffer(name, value)
                self.register_buffer(f"{name}_mean", torch.zeros_like(value))
                self.register_buffer(f"{name}_square", torch.zeros_like(value))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=seeds.device))

    def parts(self) -> list[Tensor]:
        """Copies of weights and biases, layer by layer."""
        return [self.get_buffer(name).clone() for name in self.names]

    @staticmethod
    def scores(parts: list[Tensor], outputs: Tensor) -> Tensor:
        """Log-odds [N, B] that outputs [N, B, K] are the teacher's."""
        w0, b0, w1, b1 = parts
        hidden = F.leaky_relu(outputs @ w0.transpose(1, 2) + b0.unsqueeze(1), 0.2)
        return (hidden @ w1.transpose(1, 2) + b1.unsqueeze(1)).squeeze(-1)

    @torch.no_grad()
    def descend(self, gradients: list[Tensor], rate: Tensor) -> None:
        """A step of Adam down gradients [N, ...] at learning rates [N]."""
        self.step.add_(1)
        t = self.step.to(torch.float64)
        for name, gradient in zip(self.names, gradients, strict=True):
            mean, square = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_square")
            mean.lerp_(gradient, 1 - _BETA1)
            square.lerp_(gradient.square(), 1 - _BETA2)
            unbiased = square / (1 - _BETA2**t)
            move = mean / (1 - _BETA1**t) / (unbiased.sqrt() + _EPS)
            own = rate.view(-1, *[1] * (gradient.dim() - 1))
            self.get_buffer(name).sub_((own * move).to(gradient.dtype))


class Adversarial(Loss):
    """A student that wants its logits, or its features, to pass for the teacher's.

    In each step the discriminator learns first, by an optimiser of its own at
    ``discriminator_lr``; then the student loses -log D of its own. It says nothing of which
    image is meant, so cross-entropy or another loss has to stand beside it.

    With ``sees: features`` the discriminator is shown the embeddings. Where the student's is of
    another width, a linear layer takes it to the teacher's; that layer is the student's, not the
    discriminator's, which would know either side by a layer of its own and need no features.

    Source: Xu, Hsu, Huang 2018, Training Shallow and Thin Networks for Acceleration via Knowledge
    Distillation with Conditional Adversarial Networks, equations 2 and 4 (without its class
    output).
    """

    spec = LossSpec(
        name="adversarial",
        weight=1.0,
        options={
            "discriminator_lr": Number(1e-3, positive=True),
            "hidden": Count(64),
            "sees": Choice(("logits", "features")),
        },
        learns="discriminator",
        why_not_fused="each student's discriminator learns in step with that student alone",
    )

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        student, teacher = parts["student"], parts["teacher"]
        self.width = classes(student)
        if self.structure["sees"] == "features":
            self.student_taps, self.teacher_taps = (embedding(student),), (embedding(teacher),)
            self.width = classifier(teacher).in_features

    def adapters(self, student_shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleDict:
        """A linear layer from the student's embedding to a teacher's of another width."""
        parts = nn.ModuleDict()
        for ours, theirs in zip(self.student_taps, self.teacher_taps, strict=True):
            (own,), (width,) = student_shapes[ours], teacher_shapes[theirs]
            if own != width:
                parts[adapter_key("student", ours)] = nn.Linear(own, width)
        return parts

    def create_state(
        self, labels: Tensor, seeds: Tensor, *, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        """A discriminator for each member."""
        return Discriminator(seeds, (self.width, self.count("hidden"), 1), dtype=dtype)

    def learned(self, state: nn.Module) -> dict[str, Tensor]:
        """The only member's discriminator, without its optimiser."""
        assert isinstance(state, Discriminator)
        return {name: part[0] for name, part in zip(state.names, state.parts(), strict=True)}

    def _shown(self, outputs: Outputs, taps: tuple[str, ...]) -> Tensor:
        return at_least_float32(outputs.features[taps[0]] if taps else outputs.logits)

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N], of the discriminator as it is after its own step."""
        discriminator = batch.state
        assert isinstance(discriminator, Discriminator)
        assert batch.teacher is not None
        student = self._shown(batch.student, self.student_taps)
        real = self._shown(batch.teacher, self.teacher_taps).detach().expand_as(student)
        with torch.enable_grad():
            parts = [part.requires_grad_() for part in discriminator.parts()]
            scores = (
                discriminator.scores(parts, real),
                discriminator.scores(parts, student.detach()),
            )
            lost = discriminator_loss(*scores).sum()  # a sum: members don't share a gradient
            gradients = torch.autograd.grad(lost, parts)
        discriminator.descend(list(gradients), h["discriminator_lr"])
        return flipped_loss(discriminator.scores(discriminator.parts(), student))
