"""key=value arguments of the small commands beside the main one, without Hydra's start-up."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping

from kdsweep.errors import KdsweepError, UserError
from kdsweep.terminal import interrupts


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
            raise UserError(f"{argument}: allowed are {', '.join(f'{k}=' for k in allowed)}{hint}")
        values[key] = value
    return values


def run(command: Callable[[list[str]], None], usage: str) -> None:
    """Run a command on this process's arguments and leave with its exit status."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(usage.strip())
        return
    interrupts.install()
    try:
        command(arguments)
    except KdsweepError as error:
        print(f"kdsweep: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("kdsweep: interrupted", file=sys.stderr)
        sys.exit(interrupts.STATUS)
