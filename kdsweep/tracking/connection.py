"""The way of records to a store: at once, in the background, or by the disk while it is away."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdsweep.config.secrets import hide_passwords
from kdsweep.store import writable
from kdsweep.tracking.base import RecordRefused, StoreAway, TrackingError
from kdsweep.tracking.connect import connect, http_limit, reraised
from kdsweep.tracking.delivery import Delivery
from kdsweep.tracking.outbox import Journal, Numbered, Outbox
from kdsweep.tracking.records import (
    ARTEFACTS,
    LogDataset,
    LogFile,
    LogParams,
    LogPoints,
    LogText,
    OpenRun,
    OpenSweep,
    Record,
    SetTags,
    SetView,
)
from kdsweep.tracking.store import Store
from kdsweep.tracking.writer import BackgroundWriter

ANSWER_S = 15  # for a server's answer
TRIES = 5  # of a record that fails alone, while the store takes others

_log = logging.getLogger(__name__)


class Connection:
    """Writes records to one store, which it opens at the first use.

    Args:
        store: which.
        root: the folder of everything that kdsweep writes.
        patience: s that ``close`` waits for a store that is away.
    """

    def __init__(self, store: Store, *, root: Path, patience: float) -> None:
        self.store = store
        self._patience = patience
        address = hide_passwords(store.uri)
        self._outbox = Outbox(root, store=address, experiment=store.experiment)
        self._writer = BackgroundWriter(self._send, self._outbox.create)
        self._opening = threading.Lock()
        self._delivery: Delivery | None = None
        self._failing: tuple[Record, int] | None = None  # fails alone, and how often

    def open(self) -> Delivery:
        """Open the store, and deliver what earlier sessions had to leave.

        Raises:
            UserError: it can't be created, reached or written.
        """
        with self._opening:
            if self._delivery is None:
                client, experiment = connect(self.store)
                delivery = Delivery(client, experiment, self.store)
                self._deliver_left(delivery)
                self._delivery = delivery
                atexit.register(self._at_exit)
            return self._delivery

    @contextlib.contextmanager
    def calling(self, doing: str) -> Iterator[None]:
        """Ask the store, not for long, with errors of our own."""
        with reraised(self.store, doing), http_limit(ANSWER_S):
            yield

    def write(self, record: Record) -> bool:
        """Write a record at once, or let it wait where the store is away; whether it is written.

        One that the store refuses is left out, with all that follows where it is a run.
        """
        delivery = self.open()
        if not self._writer.is_away:
            try:
                self._send([record])
                return True
            except StoreAway as error:
                self._writer.leave(error)
            except RecordRefused as error:
                self._writer.refuse(record.run, error)
                if isinstance(record, OpenRun | OpenSweep):
                    delivery.leave_out(record.run)
                return False
        self._writer.add(record)
        return False

    def add(self, record: Record) -> None:
        """Write a record in the background."""
        self.open()
        self._writer.add(record)

    def settle(self, run: str) -> None:
        """Write what a run has pending, unless it has to wait."""
        if not self._writer.is_away:
            with contextlib.suppress(StoreAway):  # it waits now
                self._writer.flush(run)

    def flush(self) -> None:
        """Write all that is pending.

        Raises:
            StoreAway: the rest waits.
        """
        self._writer.flush()

    def close(self, *, patience: float | None = None) -> None:
        """Write all that is pending, or leave it to a later session."""
        self._writer.finish(self._patience if patience is None else patience)

    def _at_exit(self) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # what waits is on disk
            self.close()

    def _send(self, records: Sequence[Record]) -> None:
        delivery, record = self.open(), records[0]
        try:
            with self.calling(_what(record)):
                delivery.send(records, again=False)
        except StoreAway as error:
            if self._fails_alone(record, delivery):
                raise RecordRefused(str(error)) from error
            raise
        self._failing = None

    def _fails_alone(self, record: Record, delivery: Delivery) -> bool:
        """Whether the store has failed to take this record often, and takes others."""
        if isinstance(record, ARTEFACTS):  # which may be kept elsewhere
            return False
        try:
            with self.calling("a trial"):
                delivery.prove()
        except TrackingError:
            return False
        before = self._failing[1] if self._failing and self._failing[0] is record else 0
        self._failing = (record, before + 1)
        return before + 1 >= TRIES

    def _deliver_left(self, delivery: Delivery) -> None:
        """Send what earlier sessions had to leave, in order."""
        for journal in self._outbox.left():
            try:
                waiting = journal.waiting()
            except (KeyError, TypeError):
                _log.error("%s: its records can't be read and are left there", journal.path)
                journal.close()
                continue
            try:
                with writable(journal.path.parent):
                    for numbered in waiting:
                        self._deliver(delivery, journal, numbered)
            except StoreAway as error:
                _log.warning("%s; records of an earlier session wait in %s", error, journal.path)
                journal.close()
                return
            journal.remove()
            _log.info("Records (%d) of an earlier session are delivered", len(waiting))

    def _deliver(self, delivery: Delivery, journal: Journal, numbered: Numbered) -> None:
        number, record = numbered
        try:
            with self.calling(_what(record)):
                delivery.send([record], again=True)
        except RecordRefused as error:
            self._writer.refuse(record.run, error)
        journal.delivered([number])


def _what(record: Record) -> str:
    """Names a record in an error."""
    if isinstance(record, OpenSweep):
        return f"study={record.study}"
    if isinstance(record, OpenRun):
        return f"run {record.name}"
    names = {
        LogParams: "params", LogDataset: "data set", LogPoints: "metrics", SetTags: "tags",
        SetView: "view",
    }  # fmt: skip
    part = names.get(type(record), "end")
    if isinstance(record, LogText):
        part = f"artefact {record.file}"
    elif isinstance(record, LogFile):
        part = f"artefact {Path(record.path).name}"
    return f"{part} of run {record.run}"
