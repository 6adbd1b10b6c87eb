"""The tracker that writes to MLflow, through its client and explicit run ids only.

What is told of a run by tags: ``kdsweep.study``, ``kdsweep.kind`` (``sweep`` for
the parent run, ``run`` for the others), ``kdsweep.reason`` of an early end, and
``kdsweep.owner``, the process that has it open. A sweep's run has one owner tag per process, so
that it ends with the last of them.

MLflow has no state PRUNED. A pruned run is KILLED with ``kdsweep.state=pruned``: it was ended on
purpose before its last epoch, and a search for FINISHED finds whole curves only.

A run is created at once, and so are its files; its parameters, data set, texts and metrics are
written in the background, in this order.
"""

from __future__ import annotations

import atexit
import getpass
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from kdsweep.config.secrets import hide_passwords
from kdsweep.errors import KdsweepError, UserError
from kdsweep.tracking import calls, links
from kdsweep.tracking.base import DatasetInfo, RunRecord, Status, Tracker, TrackingError
from kdsweep.tracking.connect import connect, locked, told
from kdsweep.tracking.owner import Owner, this_process
from kdsweep.tracking.params import flatten, key_name
from kdsweep.tracking.store import Store
from kdsweep.tracking.writer import BackgroundWriter, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY = "kdsweep.study"
KIND = "kdsweep.kind"
STATE = "kdsweep.state"
REASON = "kdsweep.reason"
OWNER = "kdsweep.owner"
PARENT = "mlflow.parentRunId"

_MLFLOW_STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    "pruned": "KILLED",
}

_log = logging.getLogger(__name__)


class MlflowTracker(Tracker):
    """Records runs in one experiment of one store; opens it at the first use."""

    def __init__(self, store: Store) -> None:
        self.uri = hide_passwords(store.uri)
        self._store = store
        self._connecting = threading.Lock()
        self._connection: tuple[MlflowClient, str] | None = None
        self._writer = BackgroundWriter(self._send)
        self._studies: dict[str, str] = {}  # by run id
        self._sweeps: set[str] = set()  # run ids of the sweeps that this process has open

    @property
    def _client(self) -> MlflowClient:
        return self._connect()[0]

    def _connect(self) -> tuple[MlflowClient, str]:
        with self._connecting:
            if self._connection is None:
                self._connection = connect(self._store)
                atexit.register(self._at_exit)
            return self._connection

    @override
    def prepare(self) -> None:
        self._connect()

    @override
    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        client, experiment = self._connect()
        ours = {
            **tags,
            STUDY: study,
            KIND: "sweep",
            _own_key(): str(this_process()),
        }
        flat = flatten(params)
        with told(TrackingError, self._store, f"study={study}"), locked(self._store):
            found = self._search(study, f"tags.`{KIND}` = 'sweep'")
            if found:
                run = str(found[0].info.run_id)
                known = found[0].data.params
                flat = {key: value for key, value in flat.items() if key not in known}
                client.update_run(run, status="RUNNING")
                for key in _stale_tags(found[0]):
                    client.delete_tag(run, key)
                calls.set_tags(client, run, ours)
            else:
                ours |= _source()
                run = calls.create_run(client, experiment, study, ours, start_ms=None)
            calls.log_params(client, run, flat)
        self._studies[run] = study
        self._sweeps.add(run)
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
        client, experiment = self._connect()
        with told(TrackingError, self._store, f"run {name}"):
            ours = {KIND: "run", OWNER: str(this_process())}
            if parent is not None:
                ours[PARENT] = parent
                ours[STUDY] = self._study_of(parent)
            ours = {**_source(), **tags, **ours}
            run = calls.create_run(client, experiment, name, ours, start_ms=start_ms)
        flat = flatten(params)
        self._later(run, "params", lambda: calls.log_params(client, run, flat))
        if dataset is not None:
            self._later(run, "data set", lambda: calls.log_dataset(client, run, dataset))
        return run

    @override
    def log_epoch(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None:
        self.log_metrics(run, metrics, step=epoch)

    @override
    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self._connect()
        self._writer.add(run, _points(metrics, step))

    @override
    def log_history(
        self, run: str, history: Sequence[Mapping[str, float]], *, first_epoch: int = 1
    ) -> None:
        self._connect()
        epochs = enumerate(history, first_epoch)
        self._writer.add(run, [p for epoch, metrics in epochs for p in _points(metrics, epoch)])

    @override
    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        with told(TrackingError, self._store, f"tags of run {run}"):
            calls.set_tags(self._client, run, tags)

    @override
    def log_file(self, run: str, path: Path, folder: str | None = None) -> None:
        with told(TrackingError, self._store, f"artefact {path.name} of run {run}"):
            self._client.log_artifact(run, str(path), folder)

    @override
    def log_text(self, run: str, text: str, file: str) -> None:
        self._later(run, f"artefact {file}", lambda: self._client.log_text(run, text, file))

    @override
    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None:
        self._writer.flush(run)
        with told(TrackingError, self._store, f"end of run {run}"):
            if run not in self._sweeps:
                self._end(run, status, reason, end_ms)
                return
            with locked(self._store):
                self._sweeps.discard(run)
                read = self._client.get_run(run)
                if _own_key() in read.data.tags:
                    self._client.delete_tag(run, _own_key())
                others = [owner for owner in _owners(read) if owner != this_process()]
                if all(owner.is_dead() for owner in others):
                    self._end(run, status, reason, end_ms)

    @override
    def close_dangling(self, study: str) -> int:
        closed = 0
        with told(TrackingError, self._store, f"study={study}"), locked(self._store):
            for run in self._search(study, "attributes.status = 'RUNNING'"):
                owners = _owners(run)
                if owners and all(owner.is_dead() for owner in owners):
                    gone = ", ".join(f"{owner.pid} on {owner.host}" for owner in owners)
                    reason = f"its process ({gone}) ended without closing it"
                    self._end(
                        run.info.run_id, "killed", reason, calls.last_sign(self._client, run)
                    )
                    closed += 1
        return closed

    @override
    def runs_of(self, study: str, *, tagged: str | None = None) -> list[RunRecord]:
        self._writer.flush()
        having = [] if tagged is None else [f"tags.`{tagged}` != ''"]
        with told(TrackingError, self._store, f"study={study}"):
            return [_record(run) for run in self._search(study, *having)]

    @override
    def compare_url(self, runs: Sequence[str]) -> str:
        return links.compare_url(self._store.ui, runs, [self._connect()[1]])

    @override
    def ui_command(self) -> str:
        return links.ui_command(self._store.uri, self._store.database)

    @override
    def flush(self) -> None:
        self._writer.flush()

    @override
    def shutdown(self) -> None:
        self._writer.stop()
        self._writer.flush()

    def _at_exit(self) -> None:
        try:
            self.shutdown()
        except KdsweepError as error:
            _log.error("The last records are lost: %s", error)

    def _later(self, run: str, what: str, call: Callable[[], None]) -> None:
        def tell() -> None:
            with told(TrackingError, self._store, f"{what} of run {run}"):
                call()

        self._connect()
        self._writer.first(run, tell)

    def _send(self, run: str, points: list[Point]) -> None:
        with told(TrackingError, self._store, f"metrics of run {run}"):
            calls.log_points(self._client, run, points)

    def _end(self, run: str, status: Status, reason: str | None, end_ms: int | None) -> None:
        tags: dict[str, str] = {STATE: status} if status == "pruned" else {}
        if reason:
            tags[REASON] = reason
        if tags:
            calls.set_tags(self._client, run, tags)
        self._client.set_terminated(run, _MLFLOW_STATUS[status], end_ms)

    def _search(self, study: str, *conditions: str) -> list[Run]:
        client, experiment = self._connect()
        found = calls.search(client, experiment, f"tags.`{STUDY}` = {_quoted(study)}", *conditions)
        return [run for run in found if KIND in run.data.tags]

    def _study_of(self, run: str) -> str:
        if run not in self._studies:
            self._studies[run] = self._client.get_run(run).data.tags.get(STUDY, "")
        return self._studies[run]


def _points(metrics: Mapping[str, float], step: int) -> list[Point]:
    now = int(time.time() * 1000)
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


def _own_key() -> str:
    me = this_process()
    return f"{OWNER}.{key_name(me.host)[:100]}.{me.pid}"


def _owners(run: Run) -> list[Owner]:
    tags = run.data.tags
    return [Owner.parse(value) for key, value in tags.items() if key.startswith(OWNER)]


def _stale_tags(sweep: Run) -> list[str]:
    """The tags of earlier sessions that say nothing of the present one."""
    tags = sweep.data.tags
    dead = [k for k, v in tags.items() if k.startswith(OWNER) and Owner.parse(v).is_dead()]
    return [*dead, REASON] if REASON in tags else dead


def _quoted(study: str) -> str:
    """A string of MLflow's search language, which has two kinds of quotes and no escapes."""
    if "'" in study and '"' in study:
        raise UserError(f"study={study}: a study's name may hold ' or \" but not both")
    return f'"{study}"' if "'" in study else f"'{study}'"
