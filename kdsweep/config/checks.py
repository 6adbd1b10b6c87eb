"""Checks that say in one line what was given for which key and what is allowed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

from kdsweep.errors import UserError

STUDY_NAME_LENGTH = 100
FOLDER_NAME_BYTES = 255  # of one name in a path: what file systems take
PATH_BYTES = 2000  # of root=; systems take 4096 with everything below it


def require(ok: bool, key: str, given: object, allowed: str) -> None:
    """Raise a ``UserError`` unless ``ok``."""
    if not ok:
        raise UserError(f"{key}={shortened(str(given), 200)}: allowed is {allowed}")


def choice(key: str, given: str, allowed: Sequence[str]) -> None:
    """One of the names that are allowed."""
    require(given in allowed, key, given, "one of " + ", ".join(allowed))


def positive(key: str, value: float) -> None:
    """A finite number above 0."""
    require(math.isfinite(value) and value > 0, key, value, "a number above 0")


def non_negative(key: str, value: float) -> None:
    """A finite number from 0 up."""
    require(math.isfinite(value) and value >= 0, key, value, "0 or more")


def within(key: str, value: float, low: float, high: float) -> None:
    """A number of a closed range."""
    require(low <= value <= high, key, value, f"{low:,} to {high:,}")


def temperature(key: str, value: float) -> None:
    """A temperature by which float32 logits can be divided."""
    within(key, value, 0.001, 1000)


def study_name(given: str) -> None:
    """A name that folders, databases and addresses can hold.

    Raises:
        UserError: another sign, or more than 100 of them.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", given) or ".." in given:
        raise UserError(
            f"study={shortened(given)}: allowed are letters, digits and any of . _ + - (no ..)"
        )
    if len(given) > STUDY_NAME_LENGTH:
        raise UserError(
            f"study={shortened(given)}: has {len(given)} letters; allowed are up to "
            f"{STUDY_NAME_LENGTH}, since files are named after it"
        )


def root(given: str) -> None:
    """A folder whose path file systems and addresses of databases can hold.

    Raises:
        UserError: a sign that ends an address, a name or a path that is too long.
    """
    if not given.strip() or any(sign in "?%" or not sign.isprintable() for sign in given):
        raise UserError(
            f"root={shortened(given)}: allowed is a folder whose path holds no ? and no %, "
            "which database addresses can't"
        )
    longest = max(len(os.fsencode(name)) for name in given.split("/"))
    if longest > FOLDER_NAME_BYTES or len(os.fsencode(given)) > PATH_BYTES:
        raise UserError(
            f"root={shortened(given)}: allowed is a folder whose names have up to "
            f"{FOLDER_NAME_BYTES} bytes each, and its path up to {PATH_BYTES}"
        )


def storage(given: str) -> None:
    """An address of a database that is still there when the process has ended.

    Raises:
        UserError: SQLite without a file, which is a database in memory.
    """
    if re.fullmatch(r"sqlite(\+\w+)?:/*(:memory:)?(\?.*)?", given.strip()):
        raise UserError(
            f"storage={given}: has no file, so the study would be lost; give sqlite:///FILE"
        )


def shortened(text: str, length: int = 60) -> str:
    """``text`` on one line, or its start where that is too long."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= length else f"{line[:length]}..."


def seed(key: str, value: int) -> None:
    """A seed that every random stream can take."""
    require(0 <= value < 2**62, key, value, "0 up to below 2**62")
