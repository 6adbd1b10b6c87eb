"""A loss made of a function on logits: its options are its parameters with defaults."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.losses.base import Batch, Loss, at_least_float32
from kdsweep.losses.options import Choice, Count, LossSpec, Number, Option, Switch

INPUTS = ("student_logits", "teacher_logits", "labels", "temperature")


class FunctionLoss(Loss):
    """A loss whose value is a function's, called with those of ``INPUTS`` that it names."""

    function: ClassVar[Callable[..., Tensor]]
    inputs: ClassVar[tuple[str, ...]]

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student = at_least_float32(batch.student.logits)
        members = len(student)
        given = {
            "student_logits": student,
            "labels": batch.labels.expand(members, -1),
            "temperature": h["temperature"],
        }
        if batch.teacher is not None:
            teacher = at_least_float32(batch.teacher.logits)
            given["teacher_logits"] = teacher.expand(members, -1, -1)
        own = {key: value for key, value in h.items() if key in self.spec.options}
        return self.function(**{key: given[key] for key in self.inputs}, **own, **self.structure)


def function_loss(name: str, function: Callable[..., Tensor], *, weight: float) -> type[Loss]:
    """The loss of a function.

    Its parameters are any of ``student_logits`` [N, B, K], ``teacher_logits`` [N, B, K],
    ``labels`` int64 [N, B] and ``temperature`` [N], for N members that train together, and
    options with defaults: a number, which each member may have its own of, is a tensor [N]; what
    is annotated as ``int``, ``bool`` or a ``Literal`` of words is the same for all.

    Raises:
        UserError: the signature has something else.
    """
    parameters = inspect.signature(function).parameters
    if "student_logits" not in parameters:
        raise UserError(
            f"loss {name}: its signature ({', '.join(parameters)}) has no student_logits; allowed "
            f"are {', '.join(INPUTS)}, and options with defaults"
        )
    annotations = _annotations(name, function)
    options = {
        key: _option(name, parameter, annotations.get(key))
        for key, parameter in parameters.items()
        if key not in INPUTS
    }
    spec = LossSpec(
        name=name,
        weight=weight,
        options=options,
        needs_teacher="teacher_logits" in parameters,
        uses_temperature="temperature" in parameters,
        uses_labels="labels" in parameters,
    )
    made = {
        "spec": spec,
        "function": staticmethod(function),
        "inputs": tuple(key for key in INPUTS if key in parameters),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
    }
    return type(function.__name__, (FunctionLoss,), made)


def _annotations(name: str, function: Callable[..., Tensor]) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError) as error:
        raise UserError(f"loss {name}: its annotations can't be read: {error}") from error


def _option(name: str, parameter: inspect.Parameter, annotation: object) -> Option:
    """What a parameter may be, by its default and its annotation."""
    key, default = f"loss {name}: {parameter.name}", parameter.default
    if parameter.name == "weight":
        raise UserError(f"{key}: every loss has a weight already; call it something else")
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if parameter.kind not in plain or default is inspect.Parameter.empty:
        raise UserError(
            f"{key}: allowed are {', '.join(INPUTS)}, and options with defaults, such as "
            f"{parameter.name}=1.0"
        )
    words = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    if isinstance(default, bool):
        return Switch(default=default)
    if isinstance(default, int) and annotation is int and default > 0:
        return Count(default=default)
    if isinstance(default, int | float):
        return Number(float(default), signed=True)
    if isinstance(default, str) and default in words:
        return Choice((default, *(word for word in words if word != default)))
    raise UserError(
        f"{key}={default!r}: allowed is a number, true or false, or a word of a Literal"
    )
