"""Whether a loss keeps what training relies on, tried on random numbers before any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.config import ModelConfig
from kdsweep.errors import KdsweepError, UserError, first_line
from kdsweep.losses.adapters import adapted
from kdsweep.losses.base import Loss, Outputs, classes
from kdsweep.losses.registry import LOSSES, as_loss, create
from kdsweep.models.registry import create_model
from kdsweep.models.taps import tap_shapes

MEMBERS, IMAGES, SEEN = 3, 8, 64  # of a batch, and in the training set
LARGE = 100.0  # times what is usual
EPOCH = 30.0  # when warm-ups are over
TEMPERATURE = 4.0


def check_loss(
    loss: str | Callable[..., Tensor] | type[Loss], options: Mapping[str, Any] | None = None
) -> None:
    """See that a loss can be trained with: between two small networks, on random numbers.

    Every loss that a plugin registers is checked so before it is first trained, between the
    networks that it is asked for.

    Args:
        loss: a name, or what ``register_loss`` takes.
        options: as under ``distill.losses.NAME``.

    Raises:
        UserError: in one line, what is wrong: a shape, a gradient that is not there or not finite,
            members that depend on one another, numbers drawn at random.
    """
    if isinstance(loss, str):
        name, made = loss, LOSSES.get(loss, given=f"distill.losses.{loss}")
    else:
        name = loss.__name__
        made = as_loss(getattr(getattr(loss, "spec", None), "name", name), loss)
    networks = {"student": "resnet8", "teacher": "resnet20"}
    with torch.random.fork_rng(devices=[]):
        student, teacher = (
            create_model(ModelConfig(name=model), classes=10, image_size=32, key=f"pair.{role}")
            for role, model in networks.items()
        )
        tried = create(made, options or {}, student=student, teacher=teacher)
        check_created(tried, student, teacher, image_size=32)


def check_created(
    loss: Loss, student: nn.Module, teacher: nn.Module | None, *, image_size: int
) -> None:
    """See that a loss between two networks can be trained with; see ``check_loss``.

    Args:
        loss: made for these networks.
        student: a registered model.
        teacher: the same; None where there is none.
        image_size: in pixels.

    Raises:
        UserError: in one line, what is wrong.
    """
    given = f"distill.losses.{loss.name}"
    try:
        _Trial(loss, student, teacher, image_size=image_size).run()
    except KdsweepError as error:
        raise UserError(f"{given}: {str(error).removeprefix(f'{given}: ')}") from error
    except Exception as error:  # whatever a user's code raises
        frames = error.__traceback__
        while frames is not None and frames.tb_next is not None:
            frames = frames.tb_next
        line = "" if frames is None else f" (line {frames.tb_lineno})"
        raise UserError(
            f"{given}: of logits [{MEMBERS}, {IMAGES}, K] for {MEMBERS} members of {IMAGES} "
            f"images it raises {type(error).__name__}: {first_line(error)}{line}"
        ) from error


class _Trial:
    """A loss with random inputs for some members."""

    def __init__(
        self, loss: Loss, student: nn.Module, teacher: nn.Module | None, *, image_size: int
    ) -> None:
        self.loss = loss
        draw = torch.Generator().manual_seed(0)
        shapes = {"student": tap_shapes(student, loss.student_taps, image_size), "teacher": {}}
        if teacher is not None:
            shapes["teacher"] = tap_shapes(teacher, loss.teacher_taps, image_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.adapters = loss.adapters(shapes["student"], shapes["teacher"]).train()
        k = classes(student)

        def drawn(members: int, *shape: int) -> Tensor:
            return torch.randn(members, IMAGES, *shape, generator=draw)

        self.student = {"logits": 2 * drawn(MEMBERS, k)}
        self.student |= {tap: drawn(MEMBERS, *shape) for tap, shape in shapes["student"].items()}
        self.teacher = {"logits": 3 * drawn(1, k)}
        self.teacher |= {tap: drawn(1, *shape) for tap, shape in shapes["teacher"].items()}
        self.all_labels = torch.randint(k, (SEEN,), generator=draw)
        self.index = torch.stack(
            [torch.randperm(SEEN, generator=draw)[:IMAGES] for _ in range(MEMBERS)]
        )
        fewer = 1 - torch.arange(MEMBERS) / 20  # members differ in their numbers
        self.h = {"temperature": TEMPERATURE * fewer}
        self.h |= {option: value * fewer for option, value in loss.values.items()}

    def run(self) -> None:
        """Raise a ``UserError`` for the first thing that is wrong."""
        leaves = {k: v.clone().requires_grad_() for k, v in self.student.items()}
        values = self.value(leaves)
        self._check_values(values)
        gradients = _gradients(values.sum(), leaves)
        if not any(g.any() for g in gradients.values()):
            raise UserError(
                "its gradient with respect to the student's outputs is 0 everywhere: something in "
                "it cuts the student off, such as detach, item, argmax or no_grad"
            )
        _check_finite(gradients, "on random outputs")
        if not self.loss.spec.uses_index and not self.value(self.student).equal(values):
            raise UserError("it gives another value when it is called again: it draws at random")
        self._check_members(values, leaves)
        large = {key: LARGE * value.detach() for key, value in leaves.items()}
        large = {key: value.requires_grad_() for key, value in large.items()}
        _check_finite(_gradients(self.value(large).sum(), large), "on large outputs")
        if self.loss.spec.needs_teacher and not self.loss.student_taps:
            same = {"logits": self.teacher["logits"].repeat(MEMBERS, 1, 1).requires_grad_()}
            found = _gradients(self.value(same).sum(), same)
            _check_finite(found, "where the student's logits are the teacher's")

    def value(self, student: Mapping[str, Tensor], members: slice = slice(None)) -> Tensor:
        """The loss of some members, whose outputs are given."""
        loss = self.loss
        count = len(student["logits"])
        features = [
            {
                side: adapted(self.adapters, side, taps, {k: v[i % len(v)] for k, v in of.items()})
                for side, taps, of in (
                    ("student", loss.student_taps, student),
                    ("teacher", loss.teacher_taps, self.teacher),
                )
            }
            for i in range(count)
        ]
        ours, theirs = (
            {tap: torch.stack([one[side][tap] for one in features]) for tap in taps}
            for side, taps in (("student", loss.student_taps), ("teacher", loss.teacher_taps))
        )
        index = self.index[members]
        value: Any = loss(
            Outputs(logits=student["logits"], features=ours),
            Outputs(logits=self.teacher["logits"], features=theirs),
            self.all_labels[index],
            {key: value[members] for key, value in self.h.items()},
            epoch=EPOCH,
            index=index,
            state=loss.create_state(self.all_labels, torch.arange(MEMBERS)[members]),
        )
        if not isinstance(value, Tensor):
            raise UserError(f"it gives a {type(value).__name__}; allowed is a tensor [{count}]")
        return value

    def _check_values(self, values: Tensor) -> None:
        if list(values.shape) != [MEMBERS]:
            raise UserError(
                f"of {MEMBERS} members and {IMAGES} images it gives a value of shape "
                f"{list(values.shape)}; allowed is [{MEMBERS}], one for each member: take the "
                "mean over images and classes (dim=-1, -2), not over members"
            )
        if not values.isfinite().all():
            raise UserError(f"its value on random outputs is not finite: {values.tolist()}")
        if not values.requires_grad:
            raise UserError(
                "its value has no gradient: something in it cuts the student off, such as detach, "
                "item, argmax or no_grad"
            )

    def _check_members(self, values: Tensor, leaves: Mapping[str, Tensor]) -> None:
        """A member's value depends on its own outputs alone, and on its own numbers."""
        first = _gradients(values[0], leaves)
        alone = self.value({key: value[:1] for key, value in self.student.items()}, slice(1))
        if any(gradient[1:].any() for gradient in first.values()) or not torch.allclose(
            alone, values[:1], rtol=1e-3, atol=1e-5
        ):
            raise UserError(
                f"a member's value depends on the members beside it (alone it is "
                f"{alone.tolist()[0]:.6g}, among {MEMBERS} {values.tolist()[0]:.6g}): "
                "something in it reduces or mixes dim 0, which is the members'"
            )


def _gradients(value: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, allow_unused=True)
    return {key: grad for key, grad in zip(leaves, found, strict=True) if grad is not None}


def _check_finite(gradients: Mapping[str, Tensor], where: str) -> None:
    if not all(gradient.isfinite().all() for gradient in gradients.values()):
        raise UserError(
            f"its gradient {where} is not finite: look for sqrt, log, norm or a division at 0 "
            "(log_softmax is safe)"
        )
