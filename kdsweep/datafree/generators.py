"""Generators that make the students' training images, and learn beside them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.config import GeneratorConfig
from kdsweep.datafree.generator import DAFL_EPS, Generator, dafl_loss
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.base import at_least_float32
from kdsweep.losses.features import embedding
from kdsweep.losses.logit_matching import logit_mae
from kdsweep.models.taps import tapped
from kdsweep.teachers.live import LiveTeacher
from kdsweep.train.batch import Batch, iterate_batches, share_rows
from kdsweep.train.chunk import Chunk
from kdsweep.train.population import Member

_SHOWN, _FOUGHT = 8, 9  # what a stream of noise is for
_SEED = "seed"  # begins the label of a generator that all students of a seed share


@dataclass(frozen=True)
class _Learner:
    """A generator and its optimiser."""

    network: Generator
    adam: torch.optim.Adam


class Generators:
    """The images of ``distill.generator``, labelled by the teacher: a ``BatchSource``.

    A generator starts from a seed, and its noise is a pure function of seed, step and position.
    DAFL's does not look at students, so those of one seed share one; the adversarial one looks
    at its student alone, so each has its own.

    Args:
        config: the objective and its options.
        teacher: in evaluation mode, on the device, without gradients of its own.
        hardware: how to execute.
        taps: features of the teacher that the losses look at.
        image_size: in pixels.
        count: images that make an epoch.
        batch_size: images of a step.
        clip_norm: of a generator's gradient.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        teacher: nn.Module,
        hardware: Hardware,
        *,
        taps: tuple[str, ...] = (),
        image_size: int,
        count: int,
        batch_size: int,
        clip_norm: float | None,
    ) -> None:
        self.config = config
        self.teacher = teacher
        self.outputs = LiveTeacher(teacher, hardware, taps)
        self.hardware = hardware
        self.image_size = image_size
        self.sizes = [part.stop - part.start for part in iterate_batches(count, batch_size)]
        self.clip_norm = clip_norm
        self.private = config.objective == "adversarial"
        self.eps = 1e-5 if self.private else DAFL_EPS
        self.learners: dict[str | int, _Learner] = {}

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.sizes)

    def batches(self, chunks: Sequence[Chunk], epoch: int) -> Iterator[Batch]:
        """Images made for each step, with the classes that the teacher sees in them."""
        members, rows = share_rows(chunks, self._key)
        for step, size in enumerate(self.sizes, epoch * self.steps):
            images = self.make(members, size, step)
            index = torch.arange(size, device=images.device).expand(len(members), -1)
            outputs = self.outputs.outputs(index, index, images)  # it looks at the images alone
            labels = outputs.logits.argmax(-1)
            yield Batch(images=images, labels=labels, teacher_outputs=outputs, rows=rows)

    def after_step(self, chunks: Sequence[Chunk], batch_size: int, step: int) -> None:
        """Adversarial generators learn in one step of several."""
        if self.private and (step + 1) % self.config.student_steps == 0:
            for chunk in chunks:
                self._learn(chunk, batch_size, step)

    def make(self, members: Sequence[Member], size: int, step: int) -> Tensor:
        """Images [S, B, 3, H, W] for this step; DAFL's generators learn from them."""
        return torch.stack([self._shown(member, size, step) for member in members])

    def _shown(self, member: Member, size: int, step: int) -> Tensor:
        learner = self._learner(member)
        with torch.set_grad_enabled(not self.private), self.hardware.autocast():
            images = self._images(learner, member, size, step, _SHOWN)
            if self.private:
                return images
            tap = embedding(self.teacher)
            with tapped(self.teacher, (tap,)) as features:
                logits = self.teacher(images)
        loss = dafl_loss(
            logits,
            features[tap],
            one_hot=self.config.one_hot,
            information_entropy=self.config.information_entropy,
            activation=self.config.activation,
        )
        self._descend([learner], loss)
        return images.detach()

    def _learn(self, chunk: Chunk, size: int, step: int) -> None:
        """A step up the difference between student and teacher (DFAD)."""
        learners = [self._learner(member) for member in chunk.members]
        with self.hardware.autocast():
            images = torch.stack(
                [
                    self._images(learner, member, size, step, _FOUGHT)
                    for learner, member in zip(learners, chunk.members, strict=True)
                ]
            )
            student, _ = chunk.forward(images, step=step, train=True)
            teacher = self.teacher(images.flatten(0, 1)).reshape(student.logits.shape)
        difference = logit_mae(student.logits, at_least_float32(teacher))
        self._descend(learners, -difference.sum())

    def _images(
        self, learner: _Learner, member: Member, size: int, step: int, stream: int
    ) -> Tensor:
        device, dtype = self.hardware.device, self.hardware.dtype
        noise = streams.normal(
            torch.tensor(member.seed, device=device),
            *(streams.NOISE, stream, step),
            torch.arange(size, device=device)[:, None],
            torch.arange(self.config.latent, device=device),
        )
        return self.hardware.layout(learner.network(noise.to(dtype)).to(dtype))

    def _descend(self, learners: list[_Learner], loss: Tensor) -> None:
        """A step of each generator down its own part of a loss that is a sum."""
        parts = [list(learner.network.parameters()) for learner in learners]
        gradients = iter(torch.autograd.grad(loss, [p for part in parts for p in part]))
        for learner, part in zip(learners, parts, strict=True):
            for parameter in part:
                parameter.grad = next(gradients)
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(part, self.clip_norm)
            learner.adam.step()

    def _learner(self, member: Member) -> _Learner:
        key = self._key(member)
        if key not in self.learners:
            self.learners[key] = self._create(member.seed)
        return self.learners[key]

    def _create(self, seed: int) -> _Learner:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Generator(self.config.latent, self.image_size, eps=self.eps)
        network = network.to(device=self.hardware.device, dtype=self.hardware.dtype)
        return _Learner(network, torch.optim.Adam(network.parameters(), lr=self.config.lr))

    def _key(self, member: Member) -> str | int:
        return member.name if self.private else member.seed

    def snapshot(self) -> object:
        """A copy of everything that training changes."""
        return copy.deepcopy(self.learners)

    def restore(self, saved: object) -> None:
        """Go back to a snapshot, which is then used up."""
        assert isinstance(saved, dict)
        self.learners = saved

    def state(self, labels: Mapping[str, str]) -> dict[str, Tensor]:
        """Every generator and its optimiser's moments, as ``LABEL/PART/NAME``."""
        kept: dict[str, Tensor] = {}
        for key, learner in self.learners.items():
            label = self._label(key, labels)
            if label is None:
                continue
            for name, value in learner.network.state_dict().items():
                kept[f"{label}/network/{name}"] = value
            for number, moments in learner.adam.state_dict()["state"].items():
                for name, value in moments.items():
                    kept[f"{label}/adam/{number}.{name}"] = value
        return kept

    def load(self, state: Mapping[str, Tensor], labels: Mapping[str, str]) -> None:
        """Put the generators back."""
        names = {label: name for name, label in labels.items()}
        networks: dict[str, dict[str, Tensor]] = {}
        moments: dict[str, dict[str, Tensor]] = {}
        for full, value in state.items():
            label, part, name = full.split("/")
            kept = networks if part == "network" else moments
            kept.setdefault(label, {})[name] = value
        for label, network in networks.items():
            key = names.get(label) if self.private else int(label.removeprefix(_SEED))
            if key is not None:
                self.learners[key] = self._create(0)
                _load(self.learners[key], network, moments.get(label, {}))

    def _label(self, key: str | int, labels: Mapping[str, str]) -> str | None:
        """Of a generator: its member's, or one of the seed's own; None where no member has it."""
        return labels.get(key) if isinstance(key, str) else f"{_SEED}{key}"

    def learned(self, member: Member) -> nn.Module:
        """The generator that made this member's images."""
        return self._learner(member).network


def _load(learner: _Learner, network: Mapping[str, Tensor], adam: Mapping[str, Tensor]) -> None:
    learner.network.load_state_dict(network)
    moments: dict[int, dict[str, Tensor]] = {}
    for full, value in adam.items():
        number, _, name = full.partition(".")
        moments.setdefault(int(number), {})[name] = value
    groups = learner.adam.state_dict()["param_groups"]
    learner.adam.load_state_dict({"state": moments, "param_groups": groups})
