"""A sweep on a terminal of its own, ended by Ctrl-C: what is seen, and what is left."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.terminal.emulator import Terminal

COLUMNS, ROWS = 80, 40
SWEEP = (
    "-m", "experiment=smoke", "tracking=none", "distill.temperature=1,4", "seeds=2",
    "train.epochs=100000", "train.threads=1",
)  # fmt: skip


# A shell's background job, and whatever it starts, would never hear Ctrl-C.
HEARING = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('kdsweep', run_name='__main__', alter_sys=True)"
)


class Screen:
    """A command's terminal, read for as long as something is awaited."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.end, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEARING, *arguments],
            cwd=cwd,
            env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(REPOSITORY)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.terminal = Terminal(COLUMNS, ROWS)
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def read_until(self, seen: Callable[[list[str]], bool]) -> bool:
        """Whether it was seen before the command ended, or fell silent for minutes."""
        while not seen(self.terminal.shown):
            if not select.select([self.end], [], [], 300)[0]:
                return False
            try:
                got = os.read(self.end, 65536)
            except OSError:  # its last process has closed the other end
                return seen(self.terminal.shown)
            self.terminal.write(self.decoder.decode(got))
        return True

    def resize(self, columns: int) -> None:
        self.terminal.resize(columns)
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.end)


def test_a_sweep_that_is_resized_and_interrupted(tmp_path: Path) -> None:
    screen = Screen(*SWEEP, cwd=tmp_path)
    try:
        assert screen.read_until(bool)
        assert screen.terminal.shown[0].startswith("kdsweep "), "before anything is imported"
        assert screen.read_until(lambda lines: any("the sweep: at most" in x for x in lines))
        screen.resize(60)
        assert screen.read_until(lambda lines: lines[-1].endswith(" left"))
        shown = screen.terminal.shown
        assert sum("trainings" in line and "round 1 of 4" in line for line in shown) == 1, shown
        assert sum(line.startswith("cells: ") for line in shown) == 1, shown
        screen.process.send_signal(signal.SIGINT)
        screen.read_until(lambda lines: False)
        assert screen.process.wait() == 130
        above = [line for line in screen.terminal.shown if line]
        assert above[-3].startswith("Interrupted; the same command continues study"), above
        assert above[-1] == "kdsweep: interrupted"
        assert not any("the sweep: at most" in line or "cells: " in line for line in above), above
        assert not screen.terminal.screen.cursor.hidden
    finally:
        screen.close()
