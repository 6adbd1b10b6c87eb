"""How every command ends: with its exit status, and in one line where something went wrong."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from types import TracebackType

import kdsweep
from kdsweep.errors import Refusal, Stopped
from kdsweep.terminal import interrupts

FULL_ERROR = "HYDRA_FULL_ERROR"
CLOSED_PIPE = 141  # 128 + SIGPIPE, as shells have it

# The line that tells a user of an error, and the exit status.
Explain = Callable[[Exception], tuple[str, int]]


class OneLine:
    """Turns whatever ends the commands inside it into one line on stderr and an exit status.

    Hydra has its own way with errors, which has to be gone round at two points. It prints a
    shortened traceback and leaves with status 1, unless ``HYDRA_FULL_ERROR`` is set: so that is
    set meanwhile, and Hydra raises. Of an ``Exception`` in a callback it only warns: so those
    travel in a ``Refusal``, which is none, and are unpacked here. A user who set the variable
    gets the whole traceback.

    Args:
        explain: finds the line and the status.
    """

    def __init__(self, explain: Explain) -> None:
        self.explain = explain
        self.interrupts = interrupts.Interrupts()

    def __enter__(self) -> None:
        self.interrupts.__enter__()
        if sys.stdout is None:  # closed by whoever started this
            sys.stdout = io.StringIO()
        logging.raiseExceptions = False  # a pipe that nobody reads is told once, by the next print
        self.traceback_wanted = os.environ.get(FULL_ERROR) == "1"
        os.environ[FULL_ERROR] = "1"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.traceback_wanted:
            del os.environ[FULL_ERROR]
        if isinstance(error, Refusal):
            error = error.error
            if self.traceback_wanted:
                raise error from None
        if isinstance(error, Stopped):  # its handlers stay until the end
            leave(str(error), interrupts.SHELL + error.signum)
        self.interrupts.restore()
        if isinstance(error, KeyboardInterrupt):
            leave("interrupted", interrupts.STATUS)
        if isinstance(error, BrokenPipeError):  # whoever read it (head, a pager) has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CLOSED_PIPE)
        if isinstance(error, Exception) and not self.traceback_wanted:
            leave(*self.explain(error))


def leave(line: str, status: int) -> None:
    """End the process with a line on stderr."""
    print(f"kdsweep: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(status)


def run(command: Callable[[list[str]], None], usage: str, explain: Explain) -> None:
    """Run a command on this process's arguments and leave with its exit status.

    Args:
        command: takes the arguments.
        usage: printed for ``--help``; ``--version`` prints kdsweep's.
        explain: see ``OneLine``.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(usage.strip())
        return
    if "--version" in arguments:
        print(f"kdsweep {kdsweep.__version__}")
        return
    with OneLine(explain):
        command(arguments)
