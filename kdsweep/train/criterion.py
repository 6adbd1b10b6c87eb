"""The loop's criterion: labels and every distillation loss, weighed for each member."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdsweep.config import Config
from kdsweep.losses import Loss, Outputs
from kdsweep.losses.curriculum import curriculum_temperature
from kdsweep.losses.ensemble import mean_of_probabilities, one_by_one
from kdsweep.losses.schedules import scheduled
from kdsweep.losses.total import Mixup, total_loss
from kdsweep.train.chunk import Chunk
from kdsweep.train.population import Member
from kdsweep.train.student import TEMPERATURE


class Total:
    """The loop's criterion: L = (1 - alpha) * CE + alpha * sum of weight * loss.

    Args:
        losses: by name.
        labels: of all training images, for losses that remember them.
        config: for the schedules of the hyperparameters.
    """

    def __init__(self, losses: dict[str, Loss], labels: Tensor, config: Config) -> None:
        self.losses = losses
        self.labels = labels
        self.schedules = config.distill.schedules
        self.epochs = config.train.epochs
        self.ensemble = config.teacher.combine if config.teacher.ensemble > 1 else None
        self.states: dict[tuple[str, ...], dict[str, nn.Module]] = {}

    def __call__(
        self,
        chunk: Chunk,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        *,
        epoch: float,
        index: Tensor | None,
        mixup: Mixup | None,
    ) -> Tensor:
        """The loss [n] of the chunk's members."""

        def total(teacher: Outputs | None) -> Tensor:
            return total_loss(
                self.losses,
                student,
                teacher,
                labels,
                self._hyper(chunk, student, epoch),
                epoch=epoch,
                index=index,
                mixup=mixup,
                combine=mean_of_probabilities if self.ensemble == "probabilities" else None,
                states=self._states(chunk),
            )[0]

        if teacher is None or self.ensemble != "losses":
            return total(teacher)
        return torch.stack([total(one) for one in one_by_one(teacher)]).mean(0)

    def _hyper(self, chunk: Chunk, student: Outputs, epoch: float) -> dict[str, Tensor]:
        """The members' hyperparameters at ``epoch``, after schedules and what was learned."""
        hyper = dict(chunk.hyper)
        for name, schedule in self.schedules.items():
            key = name if name in ("alpha", "temperature") else f"{name}.weight"
            hyper[key] = scheduled(hyper[key], schedule, epoch, self.epochs)
        if TEMPERATURE in student.features:
            theta = student.features[TEMPERATURE].reshape(-1)
            hyper["temperature"] = curriculum_temperature(theta, epoch)
        return hyper

    def _states(self, chunk: Chunk) -> dict[str, nn.Module]:
        names = tuple(member.name for member in chunk.members)
        if names not in self.states:
            made = {
                name: loss.create_state(self.labels, chunk.seeds, dtype=chunk.hyper["lr"].dtype)
                for name, loss in self.losses.items()
            }
            self.states[names] = {k: state for k, state in made.items() if state is not None}
        return self.states[names]

    def forget(self, names: Collection[str]) -> None:
        """Drop the states of members that train no more."""
        self.states = {key: state for key, state in self.states.items() if not {*key} & {*names}}

    def state(self, labels: Mapping[str, str]) -> dict[str, Tensor] | None:
        """What the losses remember, as ``LABEL/LOSS/BUFFER``; None where several share it."""
        if any(len(names) > 1 for names, states in self.states.items() if states):
            return None
        return {
            f"{labels[name]}/{loss}/{buffer}": value
            for (name, *_), states in self.states.items()
            for loss, state in states.items()
            for buffer, value in state.state_dict().items()
        }

    def load(
        self, state: Mapping[str, Tensor], labels: Mapping[str, str], chunks: Sequence[Chunk]
    ) -> None:
        """Put back what the losses remembered."""
        for chunk in chunks:
            for loss, own in self._states(chunk).items():
                (member,) = chunk.members
                prefix = f"{labels[member.name]}/{loss}/"
                own.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                )

    def learned(self, member: Member) -> dict[str, Mapping[str, Tensor]]:
        """What the losses' states have learned beside this member, by what it is called."""
        states = self.states.get((member.name,), {})
        return {
            self.losses[name].spec.learns: self.losses[name].learned(state)
            for name, state in states.items()
            if self.losses[name].spec.learns
        }
