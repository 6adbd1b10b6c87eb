"""The losses by name, kdsweep's own and a user's, made from the user's options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from kdsweep.errors import UserError
from kdsweep.losses.adversarial import Adversarial
from kdsweep.losses.attention import Attention
from kdsweep.losses.base import Loss
from kdsweep.losses.cc import CC
from kdsweep.losses.crd import CRD
from kdsweep.losses.dist import DIST
from kdsweep.losses.dkd import DKD
from kdsweep.losses.function import function_loss
from kdsweep.losses.hinton import Hinton
from kdsweep.losses.hints import FitNet, MultiLevel
from kdsweep.losses.infonce import InfoNCE
from kdsweep.losses.logit_matching import LogitMAE, LogitMSE
from kdsweep.losses.nkd import NKD
from kdsweep.losses.nst import NST
from kdsweep.losses.options import LossSpec
from kdsweep.losses.pkt import PKT
from kdsweep.losses.reviewkd import ReviewKD
from kdsweep.losses.rkd import RKD
from kdsweep.losses.sp import SP
from kdsweep.losses.teacherless import LabelSmoothing, TeacherFree
from kdsweep.losses.vid import VID
from kdsweep.registry import Registry, did_you_mean

Given = TypeVar("Given", bound=Callable[..., Tensor] | type[Loss])
LOSSES: Registry[type[Loss]] = Registry("loss")
for _loss in (
    *(Hinton, LogitMSE, LogitMAE, DKD, DIST, NKD),
    *(LabelSmoothing, TeacherFree),
    *(
        FitNet,
        MultiLevel,
        Attention,
        SP,
        PKT,
        NST,
        CC,
        VID,
        ReviewKD,
        RKD,
        InfoNCE,
        CRD,
        Adversarial,
    ),
):
    LOSSES.add(_loss.spec.name, _loss)


def register_loss(
    name: str, *, weight: float = 1.0, help: str | None = None
) -> Callable[[Given], Given]:
    """Make a function on logits, or a class, known as ``distill.losses.NAME``.

    A function is called with those of ``student_logits`` [N, B, K], ``teacher_logits``
    [N, B, K], ``labels`` int64 [N, B] and ``temperature`` [N] that it names, and gives the loss
    of each of the N members [N], a mean over the batch; its other parameters are options, see
    ``kdsweep.losses.function``. A class is a ``Loss``, such as a ``FeatureLoss``; its options
    beside the weight are its ``options``, unless it has a whole ``spec``.

    Args:
        name: as in the configuration.
        weight: by default.
        help: a sentence for ``--help``; None: the docstring's first paragraph.

    Raises:
        UserError: the name is taken, or it can't be made a loss.
    """

    def add(given: Given) -> Given:
        made = as_loss(name, given, weight=weight)
        LOSSES.add(name, made, origin=given.__module__, help=help)
        return given

    return add


def as_loss(name: str, given: object, *, weight: float = 1.0) -> type[Loss]:
    """The class of a loss that is given as one, or as a function.

    Raises:
        UserError: it is neither, or its signature is not a loss's.
    """
    if inspect.isfunction(given):
        return function_loss(name, given, weight=weight)
    if not inspect.isclass(given) or not issubclass(given, Loss):
        raise UserError(
            f"loss {name}: is a {type(given).__name__}; allowed is a function, or a class of "
            "kdsweep.losses.Loss"
        )
    if not hasattr(given, "spec"):
        spec = LossSpec(name=name, weight=weight, options=given.options)
        given.spec = spec
    if given.spec.name != name:
        raise UserError(f"loss {name}: its spec calls it {given.spec.name}; call it the same")
    return given


def loss_names() -> tuple[str, ...]:
    """Every registered loss."""
    return LOSSES.names()


def loss_spec(name: str) -> LossSpec:
    """What is known of the loss of that name before any model is there.

    Raises:
        UserError: there is none.
    """
    return LOSSES.get(name, given=f"distill.losses.{name}").spec


def create_loss(
    name: str,
    options: Mapping[str, Any],
    *,
    student: nn.Module,
    teacher: nn.Module | None,
    image_size: int = 32,
) -> Loss:
    """A loss from the options under ``distill.losses.<name>``.

    Args:
        name: of the loss.
        options: numeric ones, and those that shape it (``student_taps``, ``standardize`` ...).
        student: a registered model, looked at for its layers and classes.
        teacher: the same; None where there is none.
        image_size: in pixels, of the images that both will see.

    Raises:
        UserError: an unknown loss, option or layer, a value out of its range, or no teacher.
    """
    made = LOSSES.get(name, given=f"distill.losses.{name}")
    return create(made, options, student=student, teacher=teacher, image_size=image_size)


def create(
    loss: type[Loss],
    options: Mapping[str, Any],
    *,
    student: nn.Module,
    teacher: nn.Module | None,
    image_size: int = 32,
) -> Loss:
    """A loss of a class that need not be registered; see ``create_loss``."""
    name, allowed = loss.spec.name, loss.spec.all_options
    parsed = {}
    for option, given in options.items():
        key = f"distill.losses.{name}.{option}"
        if option not in allowed:
            raise UserError(
                f"{key}={given}: allowed options of {name} are "
                f"{', '.join(allowed)}{did_you_mean(option, allowed)}"
            )
        parsed[option] = allowed[option].parse(key, given)
    if loss.spec.needs_teacher and teacher is None:
        raise UserError(
            f"distill.losses.{name}: allowed with a teacher only; those without one are "
            + ", ".join(other for other in LOSSES if not LOSSES[other].spec.needs_teacher)
        )
    return loss(options=parsed, student=student, teacher=teacher, image_size=image_size)


def create_losses(
    losses: Mapping[str, Mapping[str, Any]],
    *,
    student: nn.Module,
    teacher: nn.Module | None,
    image_size: int = 32,
) -> dict[str, Loss]:
    """The losses of a sum, by name, in the user's order.

    Raises:
        UserError: as ``create_loss``.
    """
    return {
        name: create_loss(name, options, student=student, teacher=teacher, image_size=image_size)
        for name, options in losses.items()
    }


def hyperparameters(losses: Mapping[str, Loss]) -> dict[str, float]:
    """One member's numeric options as ``<loss>.<option>``, defaults filled in."""
    return {
        f"{name}.{option}": value
        for name, loss in losses.items()
        for option, value in loss.values.items()
    }


def is_number(loss: str, option: str, value: object) -> bool:
    """Whether a loss's option is a numeric hyperparameter, not one that shapes the loss."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and option in loss_spec(loss).numbers


def hide_numbers(distill: dict[str, Any]) -> None:
    """Take out of a plain ``DistillConfig`` the numbers that members of a population have each."""
    for key in ("temperature", "alpha"):
        del distill[key]
    for loss, options in distill["losses"].items():
        for name, value in options.items():
            options[name] = "a number" if is_number(loss, name, value) else value
