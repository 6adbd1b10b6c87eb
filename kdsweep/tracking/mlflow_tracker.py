"""The tracker that writes to MLflow, through its client and explicit run ids only.

What is told of a run by tags: ``kdsweep.study``, ``kdsweep.kind`` (``sweep`` for
the parent run, ``run`` for the others), ``kdsweep.reason`` of an early end, and
``kdsweep.owner``, the process that has it open. A sweep's run has one owner tag per process, so
that it ends with the last of them.

MLflow has no state PRUNED. A pruned run is KILLED with ``kdsweep.state=pruned``: it was ended on
purpose before its last epoch, and a search for FINISHED finds whole curves only.

A run is created at once, and so are its files; its parameters, data set, tags, texts and metrics
are written in the background, in this order. While the store is away everything waits on disk.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from kdsweep.config.secrets import hide_passwords
from kdsweep.store import writable
from kdsweep.tracking import links
from kdsweep.tracking.base import (
    DatasetInfo,
    RecordRefused,
    RunRecord,
    Status,
    StoreAway,
    Tracker,
    TrackingError,
)
from kdsweep.tracking.connect import connect, http_limit, locked, refused, reraised
from kdsweep.tracking.delivery import (
    KIND,
    OWNER,
    PARENT,
    STATE,
    STUDY,
    SWEEP,
    Delivery,
    own_key,
    owners,
)
from kdsweep.tracking.outbox import Journal, Numbered, Outbox
from kdsweep.tracking.owner import this_process
from kdsweep.tracking.params import flatten, key_name
from kdsweep.tracking.records import (
    ARTEFACTS,
    UNSENT,
    CloseRun,
    CloseSweep,
    LogDataset,
    LogFile,
    LogParams,
    LogPoints,
    LogText,
    OpenRun,
    OpenSweep,
    Point,
    Record,
    SetTags,
)
from kdsweep.tracking.store import Store
from kdsweep.tracking.writer import BATCH, BackgroundWriter

if TYPE_CHECKING:
    from mlflow.entities import Run

ANSWER_S = 15  # for a server's answer
TRIES = 5  # of a record that fails alone, while the store takes others

_log = logging.getLogger(__name__)


class MlflowTracker(Tracker):
    """Records runs in one experiment of one store; opens it at the first use.

    Args:
        store: which.
        root: the folder of everything that kdsweep writes.
        patience: s that ``shutdown`` waits for a store that is away.
    """

    def __init__(self, store: Store, *, root: Path, patience: float) -> None:
        self.uri = hide_passwords(store.uri)
        self._store = store
        self._patience = patience
        self._outbox = Outbox(root, store=self.uri, experiment=store.experiment)
        self._connecting = threading.Lock()
        self._connection: Delivery | None = None
        self._writer = BackgroundWriter(self._send, self._outbox.create)
        self._sweeps: dict[str, str] = {}  # by run id: the studies that this process has open
        self._failing: tuple[Record, int] | None = None  # fails alone, and how often

    def _connect(self) -> Delivery:
        with self._connecting:
            if self._connection is None:
                client, experiment = connect(self._store)
                delivery = Delivery(client, experiment, self._store)
                self._deliver_left(delivery)
                self._connection = delivery
                atexit.register(self._at_exit)
            return self._connection

    @override
    def prepare(self) -> None:
        self._connect()

    @override
    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        ours = {**_source(), **tags, STUDY: study, KIND: "sweep", own_key(): str(this_process())}
        record = OpenSweep(run=SWEEP + study, study=study, params=flatten(params), tags=ours)
        self._write(record)
        run = self._connect().known(record.run) or record.run
        self._sweeps[run] = study
        return run

    @override
    def open_run(
        self,
        name: str,
        *,
        parent: str | None,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        dataset: DatasetInfo | None = None,
        start_ms: int | None = None,
    ) -> str:
        run = self._open(name, parent, tags, unique=None, start_ms=start_ms)
        assert run is not None
        self._describe_input(run, params, dataset)
        return run

    @override
    def open_unique(
        self,
        name: str,
        *,
        unique: str,
        parent: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        dataset: DatasetInfo | None = None,
    ) -> str | None:
        run = self._open(name, parent, tags, unique=unique, start_ms=None)
        if run is not None:
            self._describe_input(run, params, dataset)
        return run

    def _open(
        self,
        name: str,
        parent: str | None,
        tags: Mapping[str, str],
        *,
        unique: str | None,
        start_ms: int | None,
    ) -> str | None:
        record = OpenRun(
            run=UNSENT + uuid.uuid4().hex,
            name=name,
            parent=parent,
            tags={**_source(), **tags, KIND: "run", OWNER: str(this_process())},
            start_ms=_now() if start_ms is None else start_ms,
            unique=unique,
        )
        return self._connect().known(record.run) if self._write(record) else record.run

    def _describe_input(
        self, run: str, params: Mapping[str, object], dataset: DatasetInfo | None
    ) -> None:
        self._writer.add(LogParams(run=run, params=flatten(params)))
        if dataset is not None:
            self._writer.add(LogDataset(run=run, dataset=dataset))

    @override
    def log_epoch(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None:
        self.log_metrics(run, metrics, step=epoch)

    @override
    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self._add_points(run, _points(metrics, step))

    @override
    def log_history(
        self, run: str, history: Sequence[Mapping[str, float]], *, first_epoch: int = 1
    ) -> None:
        epochs = enumerate(history, first_epoch)
        self._add_points(run, [p for epoch, metrics in epochs for p in _points(metrics, epoch)])

    def _add_points(self, run: str, points: Sequence[Point]) -> None:
        self._connect()
        for start in range(0, len(points), BATCH):
            self._writer.add(LogPoints(run=run, points=tuple(points[start : start + BATCH])))

    @override
    def log_verdict(
        self, run: str, *, verdict: str, difference: float, low: float, high: float, n: int
    ) -> None:
        metrics = {"delta": difference, "delta_low": low, "delta_high": high, "n_seeds": float(n)}
        self.log_metrics(run, metrics)
        interval = f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        self.set_tags(run, {"kdsweep.verdict": verdict, "kdsweep.interval": interval})

    @override
    def describe(self, run: str, markdown: str) -> None:
        self.set_tags(run, {"mlflow.note.content": markdown})

    @override
    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        self._connect()
        self._writer.add(SetTags(run=run, tags=dict(tags)))

    @override
    def log_file(self, run: str, path: Path, folder: str | None = None) -> None:
        if not path.is_file():
            raise TrackingError(f"artefact {path.name} of run {run}: {path} is not there")
        self._write(LogFile(run=run, path=str(path), folder=folder))

    @override
    def log_text(self, run: str, text: str, file: str) -> None:
        self._connect()
        self._writer.add(LogText(run=run, text=text, file=file))

    @override
    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None:
        self._connect()
        end = _now() if end_ms is None else end_ms
        study = self._sweeps.pop(run, None)
        if study is None:
            self._writer.add(CloseRun(run=run, status=status, reason=reason, end_ms=end))
        else:
            self._writer.add(
                CloseSweep(
                    run=run,
                    status=status,
                    reason=reason,
                    end_ms=end,
                    study=study,
                    owner=str(this_process()),
                    owner_key=own_key(),
                )
            )
        if not self._writer.is_away:
            with contextlib.suppress(StoreAway):  # it waits now
                self._writer.flush(run)

    @override
    def close_dangling(self, study: str) -> int:
        delivery, closed = self._connect(), 0
        limit = http_limit(ANSWER_S)
        with refused(self._store), limit, locked(self._store):
            open_runs = delivery.search(study, "attributes.status = 'RUNNING'")
            for run in reversed(open_runs):  # the sweep last: it ends with the last of its runs
                dead = owners(run)
                if dead and all(owner.is_dead() for owner in dead):
                    gone = ", ".join(f"{owner.pid} on {owner.host}" for owner in dead)
                    reason = f"its process ({gone}) ended without closing it"
                    delivery.end_dead(run, study, reason)
                    closed += 1
        return closed

    @override
    def runs_of(self, study: str, *, tagged: str | None = None) -> list[RunRecord]:
        delivery = self._connect()
        self._writer.flush()
        having = [] if tagged is None else [f"tags.`{tagged}` != ''"]
        with self._calling(f"study={study}"):
            return [_record(run) for run in delivery.search(study, *having)]

    @override
    def compare_url(self, runs: Sequence[str]) -> str:
        delivery = self._connect()
        known = [run for run in map(delivery.known, runs) if run is not None]
        return links.compare_url(self._store.ui, known, [delivery.experiment])

    @override
    def ui_command(self) -> str:
        return links.ui_command(self._store.uri, self._store.database)

    @override
    def flush(self) -> None:
        self._writer.flush()

    @override
    def shutdown(self) -> None:
        self._writer.finish(self._patience)

    def _at_exit(self) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # what waits is on disk
            self.shutdown()

    @contextlib.contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Ask the store, not for long, with errors of our own."""
        with reraised(self._store, doing), http_limit(ANSWER_S):
            yield

    def _write(self, record: Record) -> bool:
        """Write a record at once, or let it wait where the store is away; whether it is written.

        One that the store refuses is left out, with all that follows where it is a run.
        """
        delivery = self._connect()
        if not self._writer.is_away:
            try:
                self._send([record])
                return True
            except StoreAway as error:
                self._writer.leave(error)
            except RecordRefused as error:
                self._writer.refuse(record.run, error)
                delivery.leave_out(record.run)
                return False
        self._writer.add(record)
        return False

    def _send(self, records: Sequence[Record]) -> None:
        delivery, record = self._connect(), records[0]
        try:
            with self._calling(_what(record)):
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
            with self._calling("a trial"):
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
            with self._calling(_what(record)):
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
    names = {LogParams: "params", LogDataset: "data set", LogPoints: "metrics", SetTags: "tags"}
    part = names.get(type(record), "end")
    if isinstance(record, LogText):
        part = f"artefact {record.file}"
    elif isinstance(record, LogFile):
        part = f"artefact {Path(record.path).name}"
    return f"{part} of run {record.run}"


def _now() -> int:
    return int(time.time() * 1000)


def _points(metrics: Mapping[str, float], step: int) -> list[Point]:
    now = _now()
    return [Point(key_name(key), float(value), now, step) for key, value in metrics.items()]


def _source() -> dict[str, str]:
    """What MLflow's own table shows as user and source."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        user = str(os.getuid())
    return {
        "mlflow.user": user,
        "mlflow.source.name": "kdsweep",
        "mlflow.source.type": "LOCAL",
    }


def _record(run: Run) -> RunRecord:
    tags = run.data.tags
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name,
        parent=tags.get(PARENT),
        sweep=tags.get(KIND) == "sweep",
        status=run.info.status,
        state=tags.get(STATE, run.info.status.lower()),
        params=run.data.params,
        tags=tags,
        metrics=run.data.metrics,
    )
