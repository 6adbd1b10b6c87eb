"""The one display of a command: how the sweep stands, and what is done now."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kdsweep.terminal.screen import Now, Standing, screen

if TYPE_CHECKING:
    from rich.console import Console

    from kdsweep.terminal.live import Live
    from kdsweep.terminal.progress import Progress

log = logging.getLogger(__name__)
Clock = Callable[[], float]  # seconds


class Display:
    """Lines that are drawn again and again on a terminal; elsewhere nothing is drawn.

    A command within a command, such as a job of Hydra's own launcher within a sweep, draws in
    the display that is there.

    Args:
        console: a terminal; None: that of the standard output, if it is one.
        clock: seconds.
        refreshing: whether a thread draws; else only ``refresh`` does.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        clock: Clock = time.monotonic,
        refreshing: bool = True,
    ) -> None:
        self.console = console
        self.clock = clock
        self.refreshing = refreshing
        self.lock = threading.RLock()
        self.live: Live | None = None
        self.opened = 0
        self.standing: Standing | None = None
        self.running: list[Progress] = []
        self.phase = ""
        self.since = 0.0
        self.finished, self.seconds = 0, 0.0  # trainings of this session, and what they took

    @property
    def is_drawn(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self.live is not None

    def __enter__(self) -> Self:
        self.opened += 1
        if self.opened == 1 and (self.console is not None or is_terminal()):
            self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.opened -= 1
        if self.opened == 0 and self.live is not None:
            self.live.stop()
            self.live = None

    def _start(self) -> None:
        from rich.console import Console

        from kdsweep.terminal.live import REFRESH_SECONDS, Live

        console = self.console or Console(file=sys.stdout, force_jupyter=False)
        plain = console.options.ascii_only
        self.live = Live(
            console,
            lambda width: self.lines(width, plain=plain),
            seconds=REFRESH_SECONDS if self.refreshing else None,
            owner=self,
        )
        self.live.start()

    def lines(self, width: int, *, plain: bool = False) -> list[str]:
        """What is drawn, in so many columns."""
        with self.lock:
            return screen(self.standing, self._now(), width, plain=plain)

    def show(self, standing: Standing) -> None:
        """The sweep stands so."""
        with self.lock:
            before = self.standing
            if before is not None and before.study == standing.study:
                trained = max(standing.trained, before.trained)  # some may have no record yet
                standing = dataclasses.replace(standing, trained=trained)
            self.standing = standing

    def note(self, phase: str) -> None:
        """What is done while nothing is trained; a line where nothing is drawn."""
        with self.lock:
            self.phase, self.since = phase, self.clock()
        if self.live is None:
            log.info("%s", phase)

    def begin(self, progress: Progress) -> None:
        """A training begins."""
        with self.lock:
            self.running.append(progress)
            self.phase = ""

    def end(self, progress: Progress, *, trained: bool = True) -> None:
        """A training has ended; ``trained``: to its last epoch."""
        with self.lock:
            self.running.remove(progress)
            if progress.counts and trained:
                self.finished += progress.members
                self.seconds += self.clock() - progress.started
                if self.standing is not None:
                    count = min(self.standing.trained + progress.members, self.standing.most)
                    self.standing = dataclasses.replace(self.standing, trained=count)

    def refresh(self) -> None:
        """Draw now."""
        if self.live is not None:
            self.live.refresh()

    def _now(self) -> list[Now]:
        """The trainings that run; the last one says when all of the sweep will be done."""
        if self.running:
            left = self._sweep_left()
            last = len(self.running) - 1
            return [p.now(left if i == last else None) for i, p in enumerate(self.running)]
        if self.phase:
            return [Now(title=self.phase, so_far=self.clock() - self.since)]
        return []

    def _sweep_left(self) -> float | None:
        """Seconds at most, if every further training takes what those of this session took."""
        known = [(p.left, p.estimate.pace, p.members) for p in self.running if p.counts]
        if self.standing is None or not known:
            return None
        longest, each = 0.0, 0.0
        for left, pace, members in known:
            if left is None or pace is None:
                return None
            longest, each = max(longest, left), max(each, pace / members)
        if self.finished:
            each = self.seconds / self.finished
        open_ = self.standing.most - self.standing.trained - sum(one[2] for one in known)
        return longest + each * max(0, open_) / len(known)


def display_here() -> Display:
    """The display that is drawn below the standard output, or a new one."""
    from kdsweep.terminal.live import Above

    return sys.stdout.live.owner if isinstance(sys.stdout, Above) else Display()


def is_terminal() -> bool:
    """Whether the standard output is a terminal that can be drawn on, and nobody else's."""
    if multiprocessing.current_process().name != "MainProcess":  # its parent draws
        return False
    if os.environ.get("TERM", "") in ("dumb", "unknown"):
        return False
    return sys.stdout is not None and sys.stdout.isatty()
