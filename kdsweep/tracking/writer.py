"""A background thread that writes to the store, in order and in as few calls as it can.

A call costs the store about the same for one epoch as for twenty. So the writer sends what one
run has pending in one call, and rests after each round in proportion to its length: with few
runs each epoch is in the store at once, with a hundred runs their epochs are sent several at a
time and the training thread keeps the interpreter.

When the store is away, everything pending goes to a journal on disk, and so does all that is
added until the journal is empty again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kdsweep.tracking.base import RecordRefused, StoreAway
from kdsweep.tracking.outbox import Journal, Numbered
from kdsweep.tracking.records import LogFile, LogPoints, Record

BATCH = 1000  # metrics in one call, MLflow's limit
REST = 3.0  # seconds of rest per second of writing
RETRY_S = 10.0  # between tries of a store that is away
LAST_RETRY_S = 1.0  # the same at the end, when somebody waits

_log = logging.getLogger(__name__)


class BackgroundWriter:
    """Queues records for each run; one thread sends them with ``send(records)``.

    Args:
        send: writes some records of one run, more than one only of metrics. Raises StoreAway
            where they shall be sent again, RecordRefused where they shall not.
        create_journal: makes what keeps the records of a store that is away; raises OSError.
    """

    def __init__(
        self, send: Callable[[Sequence[Record]], None], create_journal: Callable[[], Journal]
    ) -> None:
        self._send = send
        self._create_journal = create_journal
        self._numbers = itertools.count()
        self._pending: dict[str, list[Numbered]] = {}
        self._away: StoreAway | None = None
        self._journal: Journal | None = None  # of what waits while the store is away
        self._unkept: list[Numbered] = []  # what waits and the disk did not take
        self._guard = threading.RLock()  # of all above
        self._sending = threading.Lock()  # one call at a time keeps a run's records in order
        self._wake = threading.Event()
        self._stop = threading.Event()  # of the present thread
        self._thread: threading.Thread | None = None
        self._refused: set[str] = set()  # runs

    @property
    def is_away(self) -> bool:
        """Whether records wait for the store to come back."""
        return self._away is not None

    def add(self, record: Record) -> None:
        """Queue a record; returns at once."""
        with self._guard:
            if self._away is not None and isinstance(record, LogFile):
                record = self._with_copy(record)
            numbered = (next(self._numbers), record)
            self._pending.setdefault(record.run, []).append(numbered)
            if self._away is not None:
                self._keep([numbered])
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._work, args=(self._stop,), name="kdsweep-tracking", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def flush(self, run: str | None = None) -> None:
        """Send what is queued, of one run or of all, in the calling thread.

        Raises:
            StoreAway: the store took a part at most; the rest stays queued.
        """
        try:
            for each in self._runs() if run is None else [run]:
                while self._send_some(each):
                    pass
        except StoreAway as error:
            self.leave(error)
            raise

    def finish(self, patience: float) -> None:
        """End the thread and send what is queued, trying for ``patience`` s.

        What is still queued then stays in the journal, if anywhere, and is no longer ours.
        """
        self._stop_thread()
        deadline = time.monotonic() + patience
        while self._pending:
            try:
                if self._away is None or patience > 0:
                    self.flush()
            except StoreAway:
                pass
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            if self._pending:
                time.sleep(min(LAST_RETRY_S, remaining))
        with self._guard:
            self._give_up()

    def leave(self, error: StoreAway) -> None:
        """Take the store for away: what is queued goes to the disk."""
        with self._guard:
            if self._away is not None:
                return
            self._away = error
            _log.warning("%s; training goes on, and records wait under root", error)
            self._keep(sorted(itertools.chain(*self._pending.values()), key=_number))

    def refuse(self, run: str, error: RecordRefused) -> None:
        """Say, once for each run, that something of it is not kept."""
        if run not in self._refused:
            self._refused.add(run)
            _log.error("%s; the store will not have it", error)

    def _stop_thread(self) -> None:
        with self._guard:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None:
            self._wake.set()
            thread.join()

    def _runs(self) -> list[str]:
        """Those with records, in the order of their first: a parent before its children."""
        with self._guard:
            return sorted(self._pending, key=lambda run: self._pending[run][0][0])

    def _send_some(self, run: str) -> bool:
        """Send a run's next record, or the next batch of its metrics; whether there was any."""
        with self._sending:
            with self._guard:
                batch = self._next(run)
            if not batch:
                return False
            try:
                self._send([record for _, record in batch])
            except RecordRefused as error:
                self.refuse(run, error)
            # Only sent records leave the queue: an interrupt in between sends them again, and
            # a record that the store has changes nothing there.
            with self._guard:
                self._drop(run, batch)
        return True

    def _next(self, run: str) -> list[Numbered]:
        batch: list[Numbered] = []
        points = 0
        for number, record in self._pending.get(run, []):
            if not isinstance(record, LogPoints):
                return batch or [(number, record)]
            points += len(record.points)
            if batch and points > BATCH:
                return batch
            batch.append((number, record))
        return batch

    def _drop(self, run: str, batch: list[Numbered]) -> None:
        rest = self._pending.pop(run)[len(batch) :]
        if rest:
            self._pending[run] = rest
        if self._away is None:
            return
        sent = {number for number, _ in batch}
        self._unkept = [each for each in self._unkept if each[0] not in sent]
        if self._pending:
            with contextlib.suppress(OSError):  # it is sent again, which changes nothing
                if self._journal is not None:
                    self._journal.delivered(sent)
            return
        self._away = None
        if self._journal is not None:
            self._journal.remove()
            self._journal = None
        _log.info("The tracking store is back and has all records")

    def _keep(self, records: list[Numbered]) -> None:
        """Write to the journal, with what it did not take before."""
        said = bool(self._unkept)
        self._unkept += records
        try:
            if self._journal is None:
                self._journal = self._create_journal()
            self._journal.append(self._unkept)
            self._unkept = []
        except OSError as problem:
            if not said:
                _log.error(
                    "Records wait in memory alone, since the disk does not take them: %s", problem
                )

    def _with_copy(self, record: LogFile) -> LogFile:
        """The record of a copy of the file, which may be deleted, where the disk takes one."""
        if self._journal is None:
            return record
        try:
            copy = self._journal.keep_file(Path(record.path))
        except OSError:  # of which appending to the journal tells
            return record
        return LogFile(run=record.run, path=str(copy), folder=record.folder)

    def _give_up(self) -> None:
        if not self._pending:
            return
        lost, self._unkept = len(self._unkept), []
        if lost:
            _log.error("The last records (%d) for the tracking store are lost", lost)
        if self._journal is not None:
            kept = sum(map(len, self._pending.values())) - lost
            _log.warning(
                "Records (%d) wait in %s; the next session with this root and store delivers them",
                kept,
                self._journal.path,
            )
            self._journal.close()
            self._journal = None
        self._pending.clear()
        self._away = None

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            try:
                for run in self._runs():
                    if stop.is_set():
                        return
                    self._send_some(run)
                rest = REST * (time.monotonic() - began)
            except StoreAway as error:
                self.leave(error)
                rest = RETRY_S
            stop.wait(rest)
            with self._guard:
                if self._pending:
                    self._wake.set()


def _number(numbered: Numbered) -> int:
    return numbered[0]
