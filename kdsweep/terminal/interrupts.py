"""Ctrl-C and the signals of schedulers: the first one closes what is open, then the process ends.

SIGTERM comes of Slurm, Kubernetes, ``docker stop`` and ``kill``, SIGHUP of a terminal that is
closed, SIGUSR1 of schedulers that warn ahead. A signal that somebody else handles, or that the
process was started to ignore (``nohup``), is left to that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self, TypeAlias

from kdsweep.errors import Stopped

SHELL = 128  # is added to a signal's number for the exit status, as shells have it
STATUS = SHELL + signal.SIGINT
STOPS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
DEADLINE = 8.0  # seconds for closing what is open; what kills for good waits 10 or more
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None
AT_ONCE = b"kdsweep: stopped at once; the next start puts in order what was left open\n"


class Interrupts:
    """Raises ``Stopped``, or KeyboardInterrupt for Ctrl-C, in the main thread.

    Closing runs writes to databases. Another exception in the midst of that could leave a
    transaction open on which all further closing would wait: so a second Ctrl-C ends the process,
    whatever it is doing. Other signals interrupt nothing then, as senders like to repeat them;
    ``DEADLINE`` seconds after the first of those the process ends in any case.

    Handlers belong to the main thread: in any other this does nothing.

    Args:
        keyboard: whether Ctrl-C is handled, too.
        deadline: seconds from a signal to the end.
        leave: ends the process with a status.
    """

    def __init__(
        self,
        *,
        keyboard: bool = True,
        deadline: float = DEADLINE,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self.keyboard = keyboard
        self.deadline = deadline
        self.leave = leave
        self.before: dict[int, Handler] = {}
        self.status = STATUS
        self.timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        if self.keyboard and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._handle(signal.SIGINT, self._first_interrupt)
        for signum in STOPS:
            if signal.getsignal(signum) is signal.SIG_DFL:
                self._handle(signum, self._first_stop)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Put back the handlers that were there."""
        if self.timer is not None:
            self.timer.cancel()
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        self.before = {}

    def _handle(self, signum: int, handler: Callable[[int, FrameType | None], None]) -> None:
        self.before.setdefault(signum, signal.getsignal(signum))
        signal.signal(signum, handler)

    def _first_interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._close(signum)
        raise KeyboardInterrupt

    def _first_stop(self, signum: int, frame: FrameType | None) -> None:
        self._close(signum)
        self._later_stop(signum, frame)
        raise Stopped(signum)

    def _close(self, signum: int) -> None:
        self.status = SHELL + signum
        for each in self.before:
            handler = self._second_interrupt if each == signal.SIGINT else self._later_stop
            signal.signal(each, handler)

    def _later_stop(self, signum: int, frame: FrameType | None) -> None:
        """What is asked for is being done; from now on in a limited time."""
        if self.timer is None:
            self.timer = threading.Timer(self.deadline, self._end)
            self.timer.daemon = True
            self.timer.start()

    def _second_interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._end()

    def _end(self) -> None:
        if os.isatty(1):  # what is drawn below the cursor goes, and the cursor is seen again
            os.write(1, b"\r\x1b[J\x1b[?25h")
        os.write(2, AT_ONCE)
        self.leave(self.status)


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """For a call in somebody's program: all is put in order, and then the signal is sent again.

    The program is ended by it, as it would have been without the call. Ctrl-C is its own affair.
    """
    try:
        with Interrupts(keyboard=False):
            yield
    except Stopped as stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        signal.raise_signal(stopped.signum)
        raise
