"""Some members of a population that run as one network: forward, and the optimiser's step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdsweep.losses.base import Outputs, at_least_float32
from kdsweep.train.dropout import DropoutClock, MemberKeys
from kdsweep.train.grouped import fold, unfold
from kdsweep.train.optimizer import clip_gradients

if TYPE_CHECKING:
    from kdsweep.train.population import Population


class Chunk:
    """Some consecutive members that run as one network: one alone, or several grouped."""

    def __init__(self, population: Population, part: slice, grouped: nn.Module | None) -> None:
        self.part = part
        self.size = part.stop - part.start
        self.grouped = self.size > 1
        network = grouped if self.grouped else population.template
        assert network is not None
        self.network = network
        self.members = tuple(population.members[part])
        self.clock: DropoutClock = population.clock
        self.seeds = population.seeds[part]
        self.keys = MemberKeys(self.seeds)
        self.hyper = {k: v[part] for k, v in population.hyper.items()}
        self.optimizer = population.optimizer.members(part)
        pick = part if self.grouped else part.start
        self.leaves = [p[pick].detach().requires_grad_() for p in population.params.values()]
        self.state: dict[str, Tensor] = dict(zip(population.params, self.leaves, strict=True))
        self.state.update({k: b[pick] for k, b in population.buffers.items()})

    def forward(
        self, images: Tensor, teacher: Outputs | None = None, *, step: int, train: bool
    ) -> tuple[Outputs, Outputs | None]:
        """Run images [n or 1, B, C, H, W] through these members.

        Returns:
            The students' outputs [n, B, ...] and the teacher's, each behind its adapters.
        """
        if self.network.training != train:
            self.network.train(train)
        self.clock.start(self.keys, step)
        features = {} if teacher is None else teacher.features
        logits, own, taught = functional_call(
            self.network,
            self.state,
            (self._fold(images), {tap: self._fold(value) for tap, value in features.items()}),
            tie_weights=False,  # looking for shared parameters takes time in every step
        )
        student = Outputs(
            logits=at_least_float32(self._unfold(logits)),
            features={tap: self._unfold(value) for tap, value in own.items()},
        )
        if teacher is None:
            return student, None
        return student, Outputs(
            logits=teacher.logits, features={tap: self._unfold(v) for tap, v in taught.items()}
        )

    def _fold(self, shared: Tensor) -> Tensor:
        if not self.grouped:
            return shared[0]
        return fold(shared.expand(self.size, *shared.shape[1:]))

    def _unfold(self, outputs: Tensor) -> Tensor:
        return unfold(outputs, self.size) if self.grouped else outputs.unsqueeze(0)

    def update(
        self, losses: Tensor, *, step: int, rate_factor: float, clip_norm: float | None
    ) -> None:
        """Optimiser step ``step`` (from 0) down the gradient of each member's own loss [n].

        The losses are summed, never averaged: a member's gradient must not shrink with the
        number of its companions, since Adam's eps and weight decay see its scale.
        """
        grads = list(torch.autograd.grad(losses.sum(), self.leaves, allow_unused=False))
        if not self.grouped:
            grads = [g.unsqueeze(0) for g in grads]
        if clip_norm is not None:
            grads = clip_gradients(grads, clip_norm)
        self.optimizer.step(
            grads, self.hyper["lr"] * rate_factor, self.hyper["weight_decay"], count=step + 1
        )
