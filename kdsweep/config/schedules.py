"""How a hyperparameter is asked to move over training; no heavy imports, the schema has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from kdsweep.errors import UserError

NAMES = ("constant", "linear", "cosine", "step", "stop")


@dataclass(frozen=True, kw_only=True)
class HyperSchedule:
    """One hyperparameter over training; epochs may be fractions and count from 0.

    constant: its value. linear, cosine: from its value at ``start_epoch`` to ``end`` at
    ``stop_epoch``, and flat outside. step: times ``gamma`` after every ``step_size`` epochs from
    ``start_epoch``. stop: its value before ``stop_epoch`` and ``end`` from then on, so that
    alpha with ``end`` 0 stops distilling.
    """

    name: str = "constant"
    end: float = 0.0
    start_epoch: float = 0.0
    stop_epoch: float | None = None  # null: the end of training
    gamma: float = 0.5
    step_size: float = 5.0  # epochs

    def __post_init__(self) -> None:
        self._require(self.name in NAMES, "name", "one of " + ", ".join(NAMES))
        self._require(math.isfinite(self.end) and self.end >= 0, "end", "0 or more")
        self._require(self.start_epoch >= 0, "start_epoch", "0 or more")
        self._require(self.name != "stop" or self.stop_epoch is not None, "stop_epoch", "an epoch")
        self._require(
            self.name not in ("linear", "cosine")
            or self.stop_epoch is None
            or self.stop_epoch > self.start_epoch,
            "stop_epoch",
            f"above start_epoch={self.start_epoch}",
        )
        self._require(math.isfinite(self.gamma) and self.gamma > 0, "gamma", "a number above 0")
        self._require(self.step_size > 0, "step_size", "a number above 0")

    @classmethod
    def of_options(cls, hyperparameter: str, options: object) -> HyperSchedule:
        """The schedule of ``distill.schedules.<hyperparameter>`` as the user gave it, checked.

        Raises:
            UserError: an unknown field, or a value out of its range.
        """
        if isinstance(options, HyperSchedule):
            return options
        key = f"distill.schedules.{hyperparameter}"
        if not isinstance(options, Mapping):
            raise UserError(f"{key}={options}: allowed is a mapping, such as {key}.name=linear")
        allowed = [field.name for field in fields(cls)]
        for field, given in options.items():
            if field not in allowed:
                raise UserError(f"{key}.{field}={given}: allowed are {', '.join(allowed)}")
            number = isinstance(given, int | float) and not isinstance(given, bool)
            if field != "name" and not (number or (field == "stop_epoch" and given is None)):
                raise UserError(f"{key}.{field}={given}: allowed is a number")
        try:
            made = cls(**options)
            made.check(hyperparameter)
        except UserError as error:
            raise UserError(f"{key}.{error}") from None
        return made

    def check(self, hyperparameter: str) -> None:
        """Refuse what would leave the range of ``alpha`` or ``temperature``.

        Raises:
            UserError: temperature scheduled to 0, or alpha above 1.
        """
        uses_end = self.name in ("linear", "cosine", "stop")
        if hyperparameter == "temperature" or hyperparameter.endswith(".temperature"):
            ok = not uses_end or 0.001 <= self.end <= 1000
            self._require(ok, "end", f"0.001 to 1,000 for {hyperparameter}")
        if hyperparameter == "alpha":
            self._require(not uses_end or self.end <= 1, "end", "0 to 1 for alpha")
            self._require(self.name != "step" or self.gamma <= 1, "gamma", "up to 1 for alpha")

    def _require(self, ok: bool, field: str, allowed: str) -> None:
        if not ok:
            raise UserError(f"{field}={getattr(self, field)}: allowed is {allowed}")
