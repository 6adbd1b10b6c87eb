"""A background thread that writes to the store, in order and in as few calls as it can.

A call costs the store about the same for one epoch as for twenty. So the writer sends what one
run has pending in one call, and rests after each round in proportion to its length: with few
runs each epoch is in the store at once, with a hundred runs their epochs are sent several at a
time and the training thread keeps the interpreter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

BATCH = 1000  # metrics in one call, MLflow's limit
REST = 3.0  # seconds of rest per second of writing
RETRY_S = 10.0  # after the store refused a call

_log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class BackgroundWriter:
    """Queues calls and points per run; one thread sends points with ``send(run, points)``.

    What the store refuses stays queued, in order: it is tried again later, and by ``flush``.
    """

    def __init__(self, send: Callable[[str, list[Point]], None]) -> None:
        self._send = send
        self._calls: dict[str, list[Callable[[], None]]] = {}
        self._pending: dict[str, list[Point]] = {}
        self._guard = threading.Lock()  # of _calls, _pending, _thread and _stop
        self._sending = threading.Lock()  # one call at a time keeps a run's points in order
        self._wake = threading.Event()
        self._stop = threading.Event()  # of the present thread
        self._thread: threading.Thread | None = None

    def first(self, run: str, call: Callable[[], None]) -> None:
        """Queue a call that goes before the run's points; it may be repeated."""
        with self._guard:
            self._calls.setdefault(run, []).append(call)
            self._start()
        self._wake.set()

    def add(self, run: str, points: list[Point]) -> None:
        """Queue points; returns at once."""
        with self._guard:
            self._pending.setdefault(run, []).extend(points)
            self._start()
        self._wake.set()

    def _start(self) -> None:
        if self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._work, args=(self._stop,), name="kdsweep-tracking", daemon=True
            )
            self._thread.start()

    def flush(self, run: str | None = None) -> None:
        """Send what is queued, of one run or of all, in the calling thread.

        Raises whatever ``send`` raises; what could not be sent stays queued.
        """
        for each in self._runs() if run is None else [run]:
            while self._send_some(each):
                pass

    def stop(self) -> None:
        """End the thread; what is queued stays queued."""
        with self._guard:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None:
            self._wake.set()
            thread.join()

    def _runs(self) -> list[str]:
        with self._guard:
            return list(self._calls | self._pending)

    def _send_some(self, run: str) -> bool:
        """Send a run's calls and up to one batch of its points; whether there were any points."""
        with self._sending:
            while calls := self._calls.get(run):
                calls[0]()
                with self._guard:
                    del calls[0]
                    if not calls:
                        del self._calls[run]
            with self._guard:
                points = self._pending.get(run, [])[:BATCH]
            if not points:
                return False
            # Only sent points leave the queue: an interrupt in between sends them again, and
            # MLflow keeps one of two equal points.
            self._send(run, points)
            with self._guard:
                rest = self._pending.pop(run)[len(points) :]
                if rest:
                    self._pending[run] = rest
        return True

    def _work(self, stop: threading.Event) -> None:
        refused = False
        while not stop.is_set():
            self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            failure: Exception | None = None
            for run in self._runs():
                if stop.is_set():
                    return
                try:
                    self._send_some(run)
                except Exception as error:  # any error of the store: kept for the next flush
                    failure = error
            if failure is None:
                stop.wait(REST * (time.monotonic() - began))
            else:
                if not refused:
                    _log.warning("Records wait, since the store does not take them: %s", failure)
                stop.wait(RETRY_S)
                self._wake.set()
            refused = failure is not None
