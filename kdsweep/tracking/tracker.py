"""Experiment tracking: runs in MLflow, by explicit run ids only, or nowhere.

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kdsweep.config.secrets import hide_passwords
from kdsweep.tracking import links
from kdsweep.tracking.base import DatasetInfo, RunRecord, Status, TrackingError
from kdsweep.tracking.connect import http_limit, locked, refused
from kdsweep.tracking.connection import ANSWER_S, Connection
from kdsweep.tracking.delivery import (
    KIND,
    OWNER,
    STUDY,
    SWEEP,
    run_record,
    sweep_key,
)
from kdsweep.tracking.owner import Owner, this_process
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
    Record,
    SetTags,
    SetView,
)
from kdsweep.tracking.writer import BATCH


class Tracker:
    """Records runs. Any number of runs are open at once, each named by its id.

    After ``prepare``, nothing that is logged fails or waits because of the store. While that is
    away, records are kept under root, in order, and are delivered once it is back: in the
    background, by ``shutdown``, or by the ``prepare`` of a later session. A run that is opened
    meanwhile has an id of ours. All methods may be called from any thread.

    Args:
        connection: to the store, which is opened at the first use. Without one nothing is
            recorded, and every run's id is the empty string.

    Attributes:
        uri: the store's address, without a password; empty where there is no store.
    """

    def __init__(self, connection: Connection | None) -> None:
        self.uri = "" if connection is None else hide_passwords(connection.store.uri)
        self._connection = connection
        self._sweeps: dict[str, str] = {}  # by run id: the studies that this process has open

    def prepare(self) -> None:
        """Open the store for writing, creating it where there is none, before any training.

        Delivers what earlier sessions had to leave. Safe in several processes at once, and cheap
        to call again.

        Raises:
            UserError: The store can't be created, reached or written.
        """
        if self._connection is not None:
            self._connection.open()

    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        """Open the parent run of a study and return its id: the same run in every session.

        A later session adds parameters that are new (MLflow's can't change) and replaces tags.
        Several processes may hold the sweep open; it ends when the last of them closes it. Its
        duration is from its start to the end of its last run, without the time between sessions.
        """
        if self._connection is None:
            return ""
        me = this_process()
        ours = {**_source(), **tags, STUDY: study, KIND: "sweep", sweep_key(me): str(me)}
        record = OpenSweep(
            run=SWEEP + study, study=study, params=flatten(params), tags=ours, start_ms=_now()
        )
        self._connection.write(record)
        run = self._connection.open().known(record.run) or record.run
        self._sweeps[run] = study
        return run

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
        """Open a run and return its id; it belongs to its parent's study.

        Params may be nested (dataclasses, mappings): they are flattened with dots. They are in
        the store when the run is closed, or after ``flush``.
        """
        run = self._open(name, parent, tags, unique=None, start_ms=start_ms)
        assert run is not None
        self._describe_input(run, params, dataset)
        return run

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
        """Open a run unless the study has one whose tag ``unique`` has the same value.

        A run that was killed or failed does not count.

        Returns:
            The new run's id, or None where there is such a run, in whichever process.
        """
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
        if self._connection is None:
            return ""
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
        self._add(LogParams(run=run, params=flatten(params)))
        if dataset is not None:
            self.log_dataset(run, dataset)

    def log_epoch(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None:
        """Log what one epoch gave. Returns at once; NaN and infinities are kept."""
        self.log_metrics(run, metrics, step=epoch)

    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics that belong to no epoch, such as those of the last evaluation."""
        self._add_points(run, _points(metrics, step))

    def log_history(
        self, run: str, history: Sequence[Mapping[str, float]], *, first_epoch: int = 1
    ) -> None:
        """Log the whole curve of a run that was found instead of trained, epoch by epoch."""
        epochs = enumerate(history, first_epoch)
        self._add_points(run, [p for epoch, metrics in epochs for p in _points(metrics, epoch)])

    def _add_points(self, run: str, points: Sequence[Point]) -> None:
        for start in range(0, len(points), BATCH):
            self._add(LogPoints(run=run, points=tuple(points[start : start + BATCH])))

    def log_verdict(
        self,
        run: str,
        *,
        verdict: str,
        difference: float,
        low: float,
        high: float,
        n: int,
        step: int = 0,
    ) -> None:
        """Log what a comparison with the baseline came to, also on a run that was closed.

        As metrics ``delta``, ``delta_low``, ``delta_high``, ``n_seeds`` and as tags
        ``kdsweep.verdict`` and ``kdsweep.interval``, so that MLflow's table can sort by either.

        Args:
            run: the run of a trial, or of a sweep.
            verdict: in a word, such as "better".
            difference: in points of the metric, as are ``low`` and ``high``.
            low: the lower end of its interval.
            high: the upper end.
            n: how many seeds it rests on.
            step: of the metrics; MLflow's table shows those of the last one.
        """
        metrics = {"delta": difference, "delta_low": low, "delta_high": high, "n_seeds": float(n)}
        self.log_metrics(run, metrics, step=step)
        interval = f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        self.set_tags(run, {"kdsweep.verdict": verdict, "kdsweep.interval": interval})

    def describe(self, run: str, markdown: str) -> None:
        """Set a run's description, which MLflow's page of the run shows first."""
        self.set_tags(run, {"mlflow.note.content": markdown})

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""
        self._add(SetTags(run=run, tags=dict(tags)))

    def log_dataset(self, run: str, dataset: DatasetInfo) -> None:
        """Make a dataset an input of a run."""
        self._add(LogDataset(run=run, dataset=dataset))

    def log_view(self, run: str, key: str, state: str) -> None:
        """Keep a view of the runs table with the experiment of the run; see ``table_url``."""
        self._add(SetView(run=run, key=key_name(key), state=state))

    def log_file(self, run: str, path: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artefacts, under ``folder``; it may be deleted afterwards.

        Raises:
            TrackingError: There is no such file.
        """
        if self._connection is None:
            return
        if not path.is_file():
            raise TrackingError(f"artefact {path.name} of run {run}: {path} is not there")
        self._connection.write(LogFile(run=run, path=str(path), folder=folder))

    def log_text(self, run: str, text: str, file: str) -> None:
        """Write ``text`` to the artefact ``file``, such as ``config.yaml``. Returns at once."""
        self._add(LogText(run=run, text=text, file=file))

    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None:
        """End a run, after the last of what was logged for it."""
        if self._connection is None:
            return
        end = _now() if end_ms is None else end_ms
        study = self._sweeps.pop(run, None)
        if study is None:
            self._add(CloseRun(run=run, status=status, reason=reason, end_ms=end))
        else:
            self._add(
                CloseSweep(
                    run=run,
                    status=status,
                    reason=reason,
                    end_ms=end,
                    study=study,
                    owner=str(this_process()),
                    owner_key=sweep_key(this_process()),
                )
            )
        self._connection.settle(run)

    def close_dangling(self, study: str, is_lost: Callable[[Owner], bool] = Owner.is_dead) -> int:
        """Close the runs of a study that lost processes left open; how many.

        Args:
            study: its name.
            is_lost: whether a process has ended; by itself, those that can be looked up here.
        """
        if self._connection is None:
            return 0
        delivery, closed = self._connection.open(), 0
        store, limit = self._connection.store, http_limit(ANSWER_S)
        with refused(store), limit, locked(store):
            open_runs = delivery.search(study, "attributes.status = 'RUNNING'")
            for run in reversed(open_runs):  # the sweep last: it ends with the last of its runs
                closed += delivery.end_lost(run, study, is_lost)
        return closed

    def runs_of(self, study: str, *, tagged: str | None = None) -> list[RunRecord]:
        """Every run of a study, or those with a tag, oldest first; the parent run included.

        Raises:
            TrackingError: The store can't be read.
        """
        if self._connection is None:
            return []
        delivery = self._connection.open()
        self._connection.flush()
        having = [] if tagged is None else [f"tags.`{tagged}` != ''"]
        with self._connection.calling(f"study={study}"):
            return [run_record(run) for run in delivery.search(study, *having)]

    def compare_url(self, runs: Sequence[str]) -> str:
        """The address of MLflow's comparison of these runs, once its UI is up."""
        if self._connection is None:
            return ""
        delivery = self._connection.open()
        known = [run for run in map(delivery.known, runs) if run is not None]
        return links.compare_url(self._connection.store.ui, known, [delivery.experiment])

    def table_url(self, view: str) -> str:
        """The address of the runs table in the view that ``log_view`` kept under a key."""
        if self._connection is None:
            return ""
        delivery = self._connection.open()
        return links.table_url(self._connection.store.ui, delivery.experiment, key_name(view))

    def run_url(self, run: str) -> str:
        """The address of a run's page; empty where the store does not have it yet."""
        if self._connection is None:
            return ""
        delivery = self._connection.open()
        known = delivery.known(run)
        ui = self._connection.store.ui
        return "" if known is None else links.run_url(ui, delivery.experiment, known)

    def ui_command(self) -> str:
        """The shell command that opens this store in MLflow's UI."""
        if self._connection is None:
            return ""
        store = self._connection.store
        return links.ui_command(store.uri, store.database, whole=store.whole)

    def flush(self) -> None:
        """Wait until everything that was logged is in the store.

        Raises:
            TrackingError: The store did not take them; they are kept for another try.
        """
        if self._connection is not None:
            self._connection.flush()

    def shutdown(self, *, patience: float | None = None) -> None:
        """Deliver what is logged, waiting ``patience`` s for a store that is away.

        Ends the background writer. What the store has not taken then stays under root for a later
        session. Also done when the interpreter exits.

        Args:
            patience: None: ``tracking.patience``.
        """
        if self._connection is not None:
            self._connection.close(patience=patience)

    def _add(self, record: Record) -> None:
        if self._connection is not None:
            self._connection.add(record)


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
