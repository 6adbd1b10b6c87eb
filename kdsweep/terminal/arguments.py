"""key=value arguments of the small commands beside the main one, without Hydra's start-up."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from kdsweep.errors import UserError


def parse(arguments: list[str], allowed: Mapping[str, str | None]) -> dict[str, str | None]:
    """Read ``key=value`` arguments; ``allowed`` maps each key to its default.

    Raises:
        UserError: an argument is not of that form, or of an unknown key.
    """
    values = dict(allowed)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {close[0]}=...?" if close else ""
            keys = ", ".join(f"{k}=" for k in allowed)
            raise UserError(f"{argument}: allowed are {keys}{hint or '; --help explains them'}")
        values[key] = value
    return values
