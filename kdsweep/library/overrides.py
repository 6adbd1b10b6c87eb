"""objects of Python as the command line's ``key=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from kdsweep.errors import UserError

_PLAIN = re.compile(r"[A-Za-z_][\w./+-]*")
_WORDS = ("null", "true", "false", "nan", "inf")  # text that would be read as something else


def axes(values: Mapping[str, object]) -> list[str]:
    """The overrides of a sweep: a list is an axis, anything else is fixed.

    Raises:
        UserError: a key that is no text, an axis without values, or a value of no known type.
    """
    return [f"{_key(key)}={_axis(key, value)}" for key, value in values.items()]


def fixed(values: Mapping[str, object]) -> list[str]:
    """The overrides of one experiment: a list is a value like any other.

    Raises:
        UserError: a key that is no text, or a value of no known type.
    """
    return [f"{_key(key)}={_element(key, value)}" for key, value in values.items()]


def _key(key: object) -> str:
    if not isinstance(key, str) or not key or "=" in key:
        raise UserError(f"{key!r}: allowed is a key of the configuration, such as 'train.epochs'")
    return key


def _axis(key: str, value: object) -> str:
    if isinstance(value, str):  # a range, an interval, or a list as the command line has it
        return value
    value = _of_python(value)
    if not isinstance(value, list | tuple | range):
        return _element(key, value)
    if not value:
        raise UserError(f"{key}=[]: allowed is a list with at least one value")
    return ",".join(_element(key, one) for one in value)


def _element(key: str, value: object) -> str:
    """One value; text is quoted where the command line would read it as something else."""
    value = _of_python(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS
        return value if plain else _quoted(value)
    if isinstance(value, Mapping):
        parts = (f"{_element(key, k)}:{_element(key, v)}" for k, v in value.items())
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list | tuple | range):
        return "[" + ",".join(_element(key, one) for one in value) + "]"
    raise UserError(
        f"{key}={value!r}: is a {type(value).__name__}; allowed are numbers, text, true, false, "
        "None, and lists of them"
    )


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _of_python(value: object) -> object:
    """NumPy's numbers and arrays as Python's own."""
    import numpy as np

    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
