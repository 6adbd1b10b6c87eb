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

import getpass
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from kdsweep.config.secrets import hide_passwords
from kdsweep.tracking import links
from kdsweep.tracking.base import (
    DatasetInfo,
    RunRecord,
    Status,
    Tracker,
    TrackingError,
)
from kdsweep.tracking.connect import http_limit, locked, refused
from kdsweep.tracking.connection import ANSWER_S, Connection
from kdsweep.tracking.delivery import (
    KIND,
    OWNER,
    STUDY,
    SWEEP,
    own_key,
    owners,
    run_record,
)
from kdsweep.tracking.owner import this_process
from kdsweep.tracking.params import flatten, key_name
from kdsweep.tracking.records import (
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
    SetTags,
)
from kdsweep.tracking.store import Store
from kdsweep.tracking.writer import BATCH

if TYPE_CHECKING:
    pass


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
        self._connection = Connection(store, root=root, patience=patience)
        self._sweeps: dict[str, str] = {}  # by run id: the studies that this process has open

    @override
    def prepare(self) -> None:
        self._connection.open()

    @override
    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        ours = {**_source(), **tags, STUDY: study, KIND: "sweep", own_key(): str(this_process())}
        record = OpenSweep(run=SWEEP + study, study=study, params=flatten(params), tags=ours)
        self._connection.write(record)
        run = self._connection.open().known(record.run) or record.run
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
        return (
            self._connection.open().known(record.run)
            if self._connection.write(record)
            else record.run
        )

    def _describe_input(
        self, run: str, params: Mapping[str, object], dataset: DatasetInfo | None
    ) -> None:
        self._connection.add(LogParams(run=run, params=flatten(params)))
        if dataset is not None:
            self._connection.add(LogDataset(run=run, dataset=dataset))

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
        for start in range(0, len(points), BATCH):
            self._connection.add(LogPoints(run=run, points=tuple(points[start : start + BATCH])))

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
        self._connection.add(SetTags(run=run, tags=dict(tags)))

    @override
    def log_file(self, run: str, path: Path, folder: str | None = None) -> None:
        if not path.is_file():
            raise TrackingError(f"artefact {path.name} of run {run}: {path} is not there")
        self._connection.write(LogFile(run=run, path=str(path), folder=folder))

    @override
    def log_text(self, run: str, text: str, file: str) -> None:
        self._connection.add(LogText(run=run, text=text, file=file))

    @override
    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None:
        end = _now() if end_ms is None else end_ms
        study = self._sweeps.pop(run, None)
        if study is None:
            self._connection.add(CloseRun(run=run, status=status, reason=reason, end_ms=end))
        else:
            self._connection.add(
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
        self._connection.settle(run)

    @override
    def close_dangling(self, study: str) -> int:
        delivery, closed = self._connection.open(), 0
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
        delivery = self._connection.open()
        self._connection.flush()
        having = [] if tagged is None else [f"tags.`{tagged}` != ''"]
        with self._connection.calling(f"study={study}"):
            return [run_record(run) for run in delivery.search(study, *having)]

    @override
    def compare_url(self, runs: Sequence[str]) -> str:
        delivery = self._connection.open()
        known = [run for run in map(delivery.known, runs) if run is not None]
        return links.compare_url(self._store.ui, known, [delivery.experiment])

    @override
    def ui_command(self) -> str:
        return links.ui_command(self._store.uri, self._store.database)

    @override
    def flush(self) -> None:
        self._connection.flush()

    @override
    def shutdown(self) -> None:
        self._connection.close()


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
