"""Ctrl-C: the first one closes what is open, the second stops at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

STATUS = 130  # 128 + SIGINT, as shells have it


def install() -> None:
    """Let a second SIGINT end the process, whatever it is doing; to be called by the main thread.

    Closing runs writes to databases. A second KeyboardInterrupt in the midst of that could leave
    a transaction open on which all further closing would wait.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is somebody's
        signal.signal(signal.SIGINT, _first)


def _first(signum: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, _second)
    raise KeyboardInterrupt


def _second(signum: int, frame: FrameType | None) -> NoReturn:
    if os.isatty(1):  # what is drawn below the cursor goes, and the cursor is seen again
        os.write(1, b"\r\x1b[J\x1b[?25h")
    os.write(2, b"kdsweep: stopped at once; the next start puts in order what was left open\n")
    os._exit(STATUS)
