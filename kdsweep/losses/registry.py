"""The losses by name, made from the user's options."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from kdsweep.errors import UserError
from kdsweep.losses.adversarial import Adversarial
from kdsweep.losses.attention import Attention
from kdsweep.losses.base import Loss, Structure
from kdsweep.losses.crd import CRD
from kdsweep.losses.dist import DIST
from kdsweep.losses.dkd import DKD
from kdsweep.losses.hinton import Hinton, HintonNoT2, Standardized
from kdsweep.losses.hints import FitNet, MultiLevel
from kdsweep.losses.infonce import InfoNCE
from kdsweep.losses.logit_matching import LogitMAE, LogitMSE
from kdsweep.losses.nkd import NKD
from kdsweep.losses.rkd import RKD
from kdsweep.losses.teacherless import LabelSmoothing, TeacherFree

_LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        *(Hinton, HintonNoT2, LogitMSE, LogitMAE, DKD, DIST, NKD, Standardized),
        *(LabelSmoothing, TeacherFree),
        *(FitNet, MultiLevel, Attention, RKD, InfoNCE, CRD, Adversarial),
    )
}


def loss_names() -> tuple[str, ...]:
    """Every registered loss."""
    return tuple(_LOSSES)


def loss_class(name: str) -> type[Loss]:
    """The loss of that name, for what it says of itself before any model is there.

    Raises:
        UserError: there is none.
    """
    if name not in _LOSSES:
        raise UserError(
            f"distill.losses.{name}: allowed is one of {', '.join(_LOSSES)}{_hint(name, _LOSSES)}"
        )
    return _LOSSES[name]


def numeric_options(name: str) -> dict[str, float]:
    """The options of a loss that may differ between members, with their defaults.

    ``temperature`` is among them only where the loss has a default of its own; a loss that uses
    the shared temperature takes it too.
    """
    return dict(loss_class(name).defaults)


def create_loss(
    name: str, options: Mapping[str, Any], *, student: nn.Module, teacher: nn.Module | None
) -> Loss:
    """A loss from the options under ``distill.losses.<name>``.

    Args:
        name: of the loss.
        options: numeric ones, and those that shape it (``student_taps``, ``standardize`` ...).
        student: a registered model, looked at for its layers and classes.
        teacher: the same; None where there is none.

    Raises:
        UserError: an unknown loss, option or layer, a value out of its range, or no teacher.
    """
    loss = loss_class(name)
    values: dict[str, float] = {}
    structure: dict[str, Structure] = {}
    numeric = [*loss.defaults, *(["temperature"] if loss.uses_temperature else [])]
    for option, given in options.items():
        key = f"distill.losses.{name}.{option}"
        if option in numeric:
            values[option] = _number(key, given, loss, option)
        elif option in loss.structure:
            structure[option] = _shaping(
                key, given, loss.structure[option], loss.choices.get(option, ())
            )
        else:
            allowed = [*numeric, *loss.structure]
            raise UserError(
                f"{key}={given}: allowed options of {name} are "
                f"{', '.join(allowed)}{_hint(option, allowed)}"
            )
    if loss.needs_teacher and teacher is None:
        raise UserError(
            f"distill.losses.{name}: allowed with a teacher only; those without one are "
            + ", ".join(other for other, cls in _LOSSES.items() if not cls.needs_teacher)
        )
    return loss(values=values, structure=structure, student=student, teacher=teacher)


def create_losses(
    losses: Mapping[str, Mapping[str, Any]], *, student: nn.Module, teacher: nn.Module | None
) -> dict[str, Loss]:
    """The losses of a sum, by name, in the user's order.

    Raises:
        UserError: as ``create_loss``.
    """
    return {
        name: create_loss(name, options, student=student, teacher=teacher)
        for name, options in losses.items()
    }


def hyperparameters(losses: Mapping[str, Loss]) -> dict[str, float]:
    """One member's numeric options as ``<loss>.<option>``, defaults filled in."""
    return {
        f"{name}.{option}": value
        for name, loss in losses.items()
        for option, value in loss.values.items()
    }


def _number(key: str, given: object, loss: type[Loss], option: str) -> float:
    fraction = option in loss.fractions
    positive = fraction or option in loss.positive or option == "temperature"
    allowed = "a number above 0" if positive else "a number, 0 or more"
    if fraction:
        allowed += " and below 1"
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise UserError(f"{key}={given}: allowed is {allowed}")
    value = float(given)
    low_enough = value < (1 if fraction else math.inf)
    high_enough = value > 0 if positive else value >= 0
    if not (low_enough and high_enough):
        raise UserError(f"{key}={given}: allowed is {allowed}")
    return value


def _shaping(key: str, given: object, default: Structure, choices: tuple[str, ...]) -> Structure:
    if isinstance(default, str):
        if not isinstance(given, str) or given not in choices:
            raise UserError(f"{key}={given}: allowed is one of {', '.join(choices)}")
        return given
    if isinstance(default, bool):
        if not isinstance(given, bool):
            raise UserError(f"{key}={given}: allowed is true or false")
        return given
    if isinstance(default, int):
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise UserError(f"{key}={given}: allowed is a whole number above 0")
        return given
    taps = [given] if isinstance(given, str) else given
    if taps is None:
        return ()
    if not isinstance(taps, list | tuple) or not all(isinstance(tap, str) for tap in taps):
        raise UserError(f"{key}={given}: allowed is a list of layers' names, or null")
    return tuple(taps)


def _hint(given: str, allowed: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f"; did you mean {close[0]}?" if close else ""
