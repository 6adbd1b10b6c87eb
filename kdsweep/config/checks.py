"""Checks that say in one line what was given for which key and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from kdsweep.errors import UserError


def require(ok: bool, key: str, given: object, allowed: str) -> None:
    """Raise a ``UserError`` unless ``ok``."""
    if not ok:
        raise UserError(f"{key}={given}: allowed is {allowed}")


def choice(key: str, given: str, allowed: Sequence[str]) -> None:
    """One of the names that are allowed."""
    require(given in allowed, key, given, "one of " + ", ".join(allowed))


def positive(key: str, value: float) -> None:
    """A finite number above 0."""
    require(math.isfinite(value) and value > 0, key, value, "a number above 0")


def non_negative(key: str, value: float) -> None:
    """A finite number from 0 up."""
    require(math.isfinite(value) and value >= 0, key, value, "0 or more")


def study_name(given: str) -> None:
    """A name that folders, databases and addresses can hold."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", given):
        raise UserError(f"study={given}: allowed are letters, digits and any of . _ + -")


def seed(key: str, value: int) -> None:
    """A seed that every random stream can take."""
    require(0 <= value < 2**62, key, value, "0 up to below 2**62")
