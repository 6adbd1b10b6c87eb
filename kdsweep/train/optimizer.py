"""Adam, AdamW and SGD over stacked parameters: one learning rate and weight decay per member.

The update rules are torch.optim's (Kingma & Ba 2015; Loshchilov & Hutter 2019; Sutskever 2013).
torch's own classes take one learning rate for a whole tensor, so they can't step N members whose
parameters share one tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdsweep.config import OptimizerConfig


class StackedOptimizer:
    """The moments of N members, stacked as their parameters are: [N, *shape] each.

    Args:
        params: the stacked parameters; they are updated in place.
        config: which rule, and the numbers that all members share.
    """

    def __init__(self, params: list[Tensor], config: OptimizerConfig) -> None:
        self.config = config
        self.params = [p.detach() for p in params]
        moments = 1 if config.name == "sgd" else 2
        self.moments = [[torch.zeros_like(p) for p in self.params] for _ in range(moments)]
        self.dense = self.params[0].device.type != "cpu"
        self.owner: Tensor | None = None  # of every number of the parameters

    def members(self, chosen: slice) -> StackedOptimizer:
        """A view on some members: it steps their part of the same storage."""
        view = object.__new__(StackedOptimizer)
        view.config = self.config
        view.dense = self.dense
        view.owner = None
        view.params = [p[chosen] for p in self.params]
        view.moments = [[m[chosen] for m in moment] for moment in self.moments]
        return view

    @torch.no_grad()
    def step(self, grads: list[Tensor], lr: Tensor, weight_decay: Tensor, *, count: int) -> None:
        """The update number ``count`` (from 1); ``grads`` is parallel to ``params``, lr is [N]."""
        if self.config.name == "sgd":
            self._sgd(grads, lr, weight_decay)
        else:
            self._adam(grads, lr, weight_decay, count)

    def _decayed(self, grads: list[Tensor], weight_decay: Tensor) -> list[Tensor]:
        decayed = torch._foreach_addcmul(grads, self.params, self._spread(weight_decay))
        return list(decayed)

    def _sgd(self, grads: list[Tensor], lr: Tensor, weight_decay: Tensor) -> None:
        grads = self._decayed(grads, weight_decay)
        momentum = self.config.momentum
        if momentum > 0:
            (velocity,) = self.moments
            torch._foreach_mul_(velocity, momentum)
            torch._foreach_add_(velocity, grads)
            if self.config.nesterov:
                torch._foreach_add_(grads, velocity, alpha=momentum)
            else:
                grads = velocity
        torch._foreach_addcmul_(self.params, grads, self._spread(lr), value=-1)

    def _adam(self, grads: list[Tensor], lr: Tensor, weight_decay: Tensor, count: int) -> None:
        beta1, beta2 = self.config.beta1, self.config.beta2
        if self.config.name == "adamw":
            torch._foreach_mul_(self.params, self._spread(1 - lr * weight_decay))
        else:
            grads = self._decayed(grads, weight_decay)
        first, second = self.moments
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, value=1 - beta2)
        denominators = torch._foreach_sqrt(second)
        torch._foreach_div_(denominators, (1 - beta2**count) ** 0.5)
        torch._foreach_add_(denominators, self.config.eps)
        updates = torch._foreach_div(first, denominators)
        rates = self._spread(lr / (1 - beta1**count))
        torch._foreach_addcmul_(self.params, updates, rates, value=-1)

    def _spread(self, values: Tensor) -> list[Tensor]:
        """A tensor for each parameter that holds what each of the members has of ``values`` [N].

        Dense where that pays, and all of them one gather: on a GPU one kernel then updates all
        parameters.
        """
        if not self.dense:
            return [_column(values, p) for p in self.params]
        if self.owner is None:
            each = torch.arange(len(values), device=values.device)
            owners = [_column(each, p).expand_as(p).reshape(-1) for p in self.params]
            self.owner = torch.cat(owners)
        parts = torch.split(values[self.owner], [p.numel() for p in self.params])
        return [part.view_as(p) for part, p in zip(parts, self.params, strict=True)]


def clip_gradients(grads: list[Tensor], max_norm: float) -> list[Tensor]:
    """Scale each member's gradient to a norm of at most ``max_norm``, as clip_grad_norm_ does."""
    squares = [g.reshape(len(g), -1).square().sum(1) for g in grads]
    norm = torch.stack(squares).sum(0).sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return [g * _column(factor, g) for g in grads]


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))
