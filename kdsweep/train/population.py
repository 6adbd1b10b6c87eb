"""The state of N students of one architecture, stacked.

Everything that belongs to a student is here: parameters, buffers, optimiser moments,
hyperparameters and the seed of its random streams, each with the member axis first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdsweep.config import OptimizerConfig
from kdsweep.train.chunk import Chunk
from kdsweep.train.dropout import seed_dropout
from kdsweep.train.grouped import try_grouping
from kdsweep.train.optimizer import StackedOptimizer
from kdsweep.train.student import MODEL, Student


@dataclass(frozen=True, kw_only=True)
class Member:
    """One student to be trained: everything in which it differs from its companions."""

    name: str
    seed: int
    hyper: Mapping[str, float] = field(default_factory=dict)  # lr, temperature, alpha, ...


class Population:
    """N students of one architecture.

    Args:
        members: the students; a member's start depends on its own seed alone.
        build: makes one student with freshly drawn parameters from torch's global generator.
        optimizer: the update rule; each member's ``lr`` and ``weight_decay`` override its own.
        device: where the state lives.
        dtype: of parameters and activations (float64 for exact comparisons).
        ema: decay of the moving average of each member's weights, a step; 0: there is none.
    """

    def __init__(
        self,
        members: list[Member],
        build: Callable[[], Student],
        *,
        optimizer: OptimizerConfig,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        ema: float = 0.0,
    ) -> None:
        self.members = members
        self.device = device
        params: dict[str, list[Tensor]] = {}
        buffers: dict[str, list[Tensor]] = {}
        started: dict[int, Student] = {}
        for member in members:
            if member.seed not in started:
                started[member.seed] = _build_seeded(build, member.seed)
            model = started[member.seed]
            for name, p in model.named_parameters():
                params.setdefault(name, []).append(p.detach())
            for name, b in model.named_buffers():
                buffers.setdefault(name, []).append(b)
        self.params = {k: _stack(v, device, dtype) for k, v in params.items()}
        self.buffers = {k: _stack(v, device, dtype) for k, v in buffers.items()}
        self.ema = ema
        self.averages = [v.detach().clone() for v in self._averaged()]
        self.template = next(iter(started.values())).to(device=device, dtype=dtype)
        self.clock = seed_dropout(self.template)
        self.grouped: nn.Module | None = None  # of any number of members, once it was tried
        self.tried = False
        self.optimizer = StackedOptimizer(list(self.params.values()), optimizer)
        self.seeds = torch.tensor([m.seed for m in members], dtype=torch.int64, device=device)
        assert len({frozenset(m.hyper) for m in members}) == 1, "members name the same numbers"
        base = {"lr": optimizer.lr, "weight_decay": optimizer.weight_decay}
        numbers = [{**base, **m.hyper} for m in members]
        self.hyper = {
            key: torch.tensor([each[key] for each in numbers], dtype=dtype, device=device)
            for key in sorted(numbers[0])
        }

    def __len__(self) -> int:
        return len(self.members)

    def chunks(self, size: int, image: tuple[int, ...]) -> list[Chunk]:
        """Views on the members, ``size`` at a time; they share this population's storage.

        One at a time where the network can't run several, which is then said.

        Args:
            size: members in a chunk.
            image: the shape of one image, [C, H, W], for trying the network out.
        """
        if size > 1 and len(self) > 1 and not self.tried:
            self.grouped = try_grouping(self.template, image)
            self.tried = True
        if self.grouped is None:
            size = 1
        starts = range(0, len(self), size)
        return [Chunk(self, slice(s, min(s + size, len(self))), self.grouped) for s in starts]

    def keep(self, alive: list[int]) -> None:
        """Drop the members that are not in ``alive``; chunks made before are no longer valid."""
        index = torch.tensor(alive, dtype=torch.int64, device=self.device)
        self.members = [self.members[i] for i in alive]
        self.params = {k: v[index] for k, v in self.params.items()}
        self.buffers = {k: v[index] for k, v in self.buffers.items()}
        self.averages = [v[index] for v in self.averages]
        self.hyper = {k: v[index] for k, v in self.hyper.items()}
        self.seeds = self.seeds[index]
        optimizer = self.optimizer.members(slice(None))
        optimizer.params = list(self.params.values())
        optimizer.moments = [[m[index] for m in moment] for moment in self.optimizer.moments]
        self.optimizer = optimizer

    def snapshot(self) -> list[Tensor]:
        """A copy of everything that training changes."""
        return [value.detach().clone() for value in self._changing()]

    def restore(self, saved: list[Tensor]) -> None:
        """Put a snapshot back, in place: chunks stay valid."""
        _copy(saved, self._changing())

    def _changing(self) -> list[Tensor]:
        moments = [m for moment in self.optimizer.moments for m in moment]
        return [*self.params.values(), *self.buffers.values(), *moments, *self.averages]

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: [N, ...] each."""
        return dict(zip(self._names(), self._changing(), strict=True))

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Whether what ``state`` gave is of these networks, of however many members."""
        own, given = (
            {name: (value.shape[1:], value.dtype) for name, value in each.items()}
            for each in (self.state(), state)
        )
        return own == given

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave of these members, in place."""
        places = self.state()
        _copy([state[name] for name in places], list(places.values()))

    def _names(self) -> list[str]:
        moments = [
            f"moment{i}/{k}" for i in range(len(self.optimizer.moments)) for k in self.params
        ]
        averages = [f"average/{i}" for i in range(len(self.averages))]
        return [*self.params, *self.buffers, *moments, *averages]

    def _averaged(self) -> list[Tensor]:
        """What there is a moving average of: none, or parameters and running statistics."""
        both = (*self.params.values(), *self.buffers.values())
        return [v for v in both if v.is_floating_point()] if self.ema > 0 else []

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Take the weights after step ``step`` (from 0) into their moving averages.

        Each is the mean of the weights after every step so far, with ``ema`` to the power of
        their age as their weight: the start, which is no step's, has no part in it.
        """
        if self.averages:
            newest = (1 - self.ema) / (1 - self.ema ** (step + 1))
            torch._foreach_lerp_(self.averages, self._averaged(), newest)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Have the averages, if any, in the place of the weights for a while; chunks see them."""
        weights = self._averaged()
        trained = [v.clone() for v in weights]
        _copy(self.averages, weights)
        try:
            yield
        finally:
            _copy(trained, weights)

    def state_dict(self, i: int) -> dict[str, Tensor]:
        """Member ``i``'s parameters and buffers by name, copied to the CPU.

        The model's own names are as the model has them; adapters keep their ``adapters.``.
        """
        both = {**self.params, **self.buffers}
        return {
            name.removeprefix(MODEL): stacked[i].detach().cpu().clone()
            for name, stacked in both.items()
        }


def _build_seeded(build: Callable[[], Student], seed: int) -> Student:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


@torch.no_grad()
def _copy(values: Sequence[Tensor], places: Sequence[Tensor]) -> None:
    for value, place in zip(values, places, strict=True):
        place.copy_(value)


def _stack(tensors: list[Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    stacked = torch.stack(tensors).to(device)
    return stacked.to(dtype) if stacked.is_floating_point() else stacked
