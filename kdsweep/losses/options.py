"""The options of a loss: what each may be, by default and as the user gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from kdsweep.errors import UserError

Value: TypeAlias = float | bool | int | str | tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A hyperparameter, which may differ between members trained together.

    Attributes:
        default: None where the value is ``distill.<option>`` unless the loss has one of its own.
        positive: whether 0 is refused.
        fraction: whether 0 is refused, and 1 and more.
        signed: whether it may be below 0.
    """

    default: float | None
    positive: bool = False
    fraction: bool = False
    signed: bool = False

    def parse(self, key: str, given: object) -> float:
        """The value of the option ``key``.

        Raises:
            UserError: it is no number, or out of its range.
        """
        above_0 = self.positive or self.fraction
        allowed = "a number above 0" if above_0 else "a number, 0 or more"
        if self.fraction:
            allowed += " and below 1"
        if self.signed:
            allowed = "a number"
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise UserError(f"{key}={given}: allowed is {allowed}")
        value = float(given)
        limit = 1.0 if self.fraction else math.inf
        size = abs(value) if self.signed else value
        if not (0 <= size < limit) or (above_0 and value == 0):
            raise UserError(f"{key}={given}: allowed is {allowed}")
        return value


@dataclass(frozen=True)
class Switch:
    """True or false, the same for all members trained together (as are all that follow)."""

    default: bool

    def parse(self, key: str, given: object) -> bool:
        """The value of the option ``key``, or a ``UserError``."""
        if not isinstance(given, bool):
            raise UserError(f"{key}={given}: allowed is true or false")
        return given


@dataclass(frozen=True)
class Count:
    """A whole number above 0."""

    default: int

    def parse(self, key: str, given: object) -> int:
        """The value of the option ``key``, or a ``UserError``."""
        number = 0 if isinstance(given, bool) or not isinstance(given, int | float) else given
        if not number >= 1 or number % 1 != 0:  # nan and infinity too
            raise UserError(f"{key}={given}: allowed is a whole number above 0")
        return int(number)


@dataclass(frozen=True)
class Choice:
    """One word of several, the first by default."""

    choices: tuple[str, ...]

    @property
    def default(self) -> str:
        """The first choice."""
        return self.choices[0]

    def parse(self, key: str, given: object) -> str:
        """The value of the option ``key``, or a ``UserError``."""
        if not isinstance(given, str) or given not in self.choices:
            raise UserError(f"{key}={given}: allowed is one of {', '.join(self.choices)}")
        return given


@dataclass(frozen=True)
class Layers:
    """Names of layers; empty where the loss chooses them from the model."""

    default: tuple[str, ...] = ()

    def parse(self, key: str, given: object) -> tuple[str, ...]:
        """The value of the option ``key``, or a ``UserError``: a name, a list of them or null."""
        names = [given] if isinstance(given, str) else given
        if names is None:
            return ()
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise UserError(f"{key}={given}: allowed is a list of layers' names, or null")
        return tuple(names)


Option: TypeAlias = Number | Switch | Count | Choice | Layers


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """What is known of a loss before any model is there.

    Attributes:
        name: as in ``distill.losses.<name>``.
        weight: by default, as published. It is relative to cross-entropy: (1 - alpha) * CE +
            alpha * weight * loss is "CE 1, loss w" at alpha 0.5, up to a common factor of one
            half (see docs/methods.md), and "CE 0.1, loss w" at alpha 0.9.
        options: beside the weight.
        needs_teacher: whether ``teacher`` may not be None.
        uses_temperature: whether ``distill.temperature`` matters to it. Such a loss also takes
            a ``temperature`` of its own, which then replaces the shared one.
        uses_labels: whether labels matter, so that mixed images need both of theirs.
        uses_index: whether it wants ``index`` and ``state``; undefined for mixed images.
        why_not_fused: the reason, for the user, where members can't be trained as one network.
        learns: what its state is called where that learns, to be saved and counted.
    """

    name: str
    weight: float
    options: Mapping[str, Option] = field(default_factory=dict)
    needs_teacher: bool = True
    uses_temperature: bool = False
    uses_labels: bool = False
    uses_index: bool = False
    why_not_fused: str = ""
    learns: str = ""

    @property
    def all_options(self) -> dict[str, Option]:
        """Every option that the user may give, by name."""
        shared = {"temperature": Number(None, positive=True)} if self.uses_temperature else {}
        return {"weight": Number(self.weight), **shared, **self.options}

    @property
    def numbers(self) -> dict[str, Number]:
        """The options that may differ between members trained together."""
        return {k: o for k, o in self.all_options.items() if isinstance(o, Number)}
