"""Writes records to the store with MLflow's client; a second time changes nothing.

MLflow keeps one of two equal points, parameters, tags, inputs and files. A run is created with
the id that we gave it as a tag, and looked for by it before another try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.errors import UserError
from kdsweep.tracking import calls
from kdsweep.tracking.base import RecordRefused, RunRecord, StoreAway
from kdsweep.tracking.connect import locked
from kdsweep.tracking.owner import Owner
from kdsweep.tracking.params import key_name
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
    Record,
    SetTags,
    SetView,
)
from kdsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY = "kdsweep.study"
KIND = "kdsweep.kind"
STATE = "kdsweep.state"
REASON = "kdsweep.reason"
OWNER = "kdsweep.owner"
ID = "kdsweep.id"  # what we called the run before the store did
PARENT = "mlflow.parentRunId"
PAUSES = "kdsweep.pauses"  # of a study's parent run: when nothing trained, as FROM-TO in ms
VIEW = "mlflow.sharedViewState."  # begins an experiment's tag that holds a view of its table
SWEEP = f"{UNSENT}sweep:"  # with a study's name: its parent run

_FIRST = ("mlflow.user", "mlflow.source.name", "mlflow.source.type")  # of who created a run

LOCK_S = 10.0  # how long another process is waited for; a record is then tried again later

_MLFLOW_STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    "pruned": "KILLED",
}


class Delivery:
    """Writes to one experiment of one store; raises what MLflow raises."""

    def __init__(self, client: MlflowClient, experiment: str, store: Store) -> None:
        self.client = client
        self.experiment = experiment
        self._store = store
        self._ids: dict[str, str | None] = {}  # the store's, by ours; None: not to be written
        self._tried: set[str] = set()  # runs that may have been created without an answer
        self._studies: dict[str, str] = {}  # by the store's id

    def prove(self) -> None:
        """Write something small: raises where the store can't be written."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.client.set_experiment_tag(self.experiment, "kdsweep.opened", now)

    def send(self, records: Sequence[Record], *, again: bool) -> None:
        """Write one record, or the points of several of one run.

        Args:
            records: more than one only of points.
            again: another process may have closed the run in the meantime.
        """
        first = records[0]
        if isinstance(first, OpenSweep):
            self._ids[first.run] = self.open_sweep(first)
            return
        if isinstance(first, OpenRun):
            again = again or first.run in self._tried
            self._tried.add(first.run)
            made = self._made_before(first.run) if again else None
            self._ids[first.run] = made or self.open_run(first)
            return
        run = self.id_of(first.run)
        if run is None:
            return
        points = [p for each in records if isinstance(each, LogPoints) for p in each.points]
        if points:
            calls.log_points(self.client, run, points)
        elif isinstance(first, CloseRun):
            self._close(run, first, again=again)
        else:
            self._log(run, first)

    def _log(self, run: str, record: Record) -> None:
        if isinstance(record, LogParams):
            calls.log_params(self.client, run, record.params)
        elif isinstance(record, LogDataset):
            calls.log_dataset(self.client, run, record.dataset)
        elif isinstance(record, SetTags):
            calls.set_tags(self.client, run, record.tags)
        elif isinstance(record, SetView):
            self.client.set_experiment_tag(self.experiment, VIEW + record.key, record.state)
        elif isinstance(record, LogText):
            self.client.log_text(run, record.text, record.file)
        elif isinstance(record, LogFile):
            if not Path(record.path).is_file():
                raise RecordRefused(f"{record.path}: the file has gone")
            self.client.log_artifact(run, record.path, record.folder)

    def id_of(self, run: str) -> str | None:
        """The store's id of a run; None where nothing is to be written to it.

        Raises:
            RecordRefused: it was never created.
        """
        if not run.startswith(UNSENT):
            return run
        if run not in self._ids:
            found = self._made_before(run)
            if found is None:
                raise RecordRefused(f"run {run}: was never created")
            self._ids[run] = found
        return self._ids[run]

    def known(self, run: str) -> str | None:
        """The store's id of a run, without asking the store; None where it has none yet."""
        return self._ids.get(run) if run.startswith(UNSENT) else run

    def leave_out(self, run: str) -> None:
        """Write nothing to a run that the store would not create."""
        self._ids[run] = None

    def open_run(self, record: OpenRun) -> str | None:
        """Create a run and return its id; None where there is one that it must be unique with."""
        tags = dict(record.tags)
        if record.parent is not None:
            parent = self.id_of(record.parent)
            if parent is not None:
                study = self._study_of(parent)
                tags |= {PARENT: parent, STUDY: study}
                if record.unique is not None:
                    with self._locked():
                        same = f"tags.`{record.unique}` = {quoted(tags[record.unique])}"
                        if any(_counts(run) for run in self.search(study, same)):
                            return None
                        return self._create(record, tags)
        return self._create(record, tags)

    def _create(self, record: OpenRun, tags: dict[str, str]) -> str:
        tags[ID] = record.run
        return calls.create_run(
            self.client, self.experiment, record.name, tags, start_ms=record.start_ms
        )

    def open_sweep(self, record: OpenSweep) -> str:
        """Create a study's parent run or open it again; return its id."""
        client, params, tags = self.client, record.params, record.tags
        with self._locked():
            found = self.search(record.study, f"tags.`{KIND}` = 'sweep'")
            if found:
                run = str(found[0].info.run_id)
                known = found[0].data.params
                params = {key: value for key, value in params.items() if key not in known}
                tags = {**tags, PAUSES: self._pauses_before(found[0], record)}
                client.update_run(run, status="RUNNING")
                for key in _stale_tags(found[0]):
                    client.delete_tag(run, key)
                calls.set_tags(client, run, {k: v for k, v in tags.items() if k not in _FIRST})
            else:
                run = calls.create_run(
                    client, self.experiment, record.study, tags, start_ms=record.start_ms
                )
            calls.log_params(client, run, params)
        self._studies[run] = record.study
        return run

    def _close(self, run: str, record: CloseRun, *, again: bool) -> None:
        if not isinstance(record, CloseSweep):
            self._end(run, record, record.end_ms, again=again)
            return
        with self._locked():
            read = self.client.get_run(run)
            if record.owner_key in read.data.tags:
                self.client.delete_tag(run, record.owner_key)
            others = [owner for owner in owners(read) if str(owner) != record.owner]
            if all(owner.is_dead() for owner in others):
                end = self._end_of_sweep(read, record.study) or record.end_ms
                self._end(run, record, end, again=again)

    def end_lost(self, run: Run, study: str, is_lost: Callable[[Owner], bool]) -> bool:
        """End a run that lost processes alone have open; whether it was ended.

        A sweep's run forgets those that are lost; a session that opens it again ends it then.
        """
        having = owners(run)
        lost = [owner for owner in having if is_lost(owner)]
        if run.data.tags[KIND] == "sweep":
            for owner in lost:
                self.client.delete_tag(run.info.run_id, sweep_key(owner))
        if not lost or len(lost) < len(having):
            return False
        gone = ", ".join(f"{owner.pid} on {owner.host}" for owner in lost)
        self._end_dead(run, study, f"its process ({gone}) ended without closing it")
        return True

    def _end_dead(self, run: Run, study: str, reason: str) -> None:
        """End a run that no process has open any more, with the time of its last sign."""
        last = self._end_of_sweep(run, study) if run.data.tags[KIND] == "sweep" else None
        end = last or calls.last_sign(self.client, run)
        record = CloseRun(run=run.info.run_id, status="killed", reason=reason, end_ms=end)
        self._end(record.run, record, end, again=False)

    def _last_end(self, study: str) -> int | None:
        return calls.last_end(self.client, self.experiment, self._of(study))

    def _pauses_before(self, sweep: Run, record: OpenSweep) -> str:
        """The pauses of a sweep that is opened again, the one that ends now included."""
        pauses = _pauses(sweep)
        last = self._last_end(record.study)
        if sweep.info.status != "RUNNING" and last is not None:
            pauses[last] = record.start_ms  # of two from one moment nothing trained between
        return ",".join(f"{start}-{end}" for start, end in pauses.items())

    def _end_of_sweep(self, sweep: Run, study: str) -> int | None:
        """When the last run ended, less all pauses before: so a duration is of work alone."""
        last = self._last_end(study)
        if last is None:
            return None
        return last - sum(end - start for start, end in _pauses(sweep).items() if end <= last)

    def _end(self, run: str, record: CloseRun, end_ms: int, *, again: bool) -> None:
        tags: dict[str, str] = {STATE: record.status} if record.status == "pruned" else {}
        if record.reason:
            tags[REASON] = record.reason
        if tags:
            calls.set_tags(self.client, run, tags)
        if again and not record.reason and REASON in self.client.get_run(run).data.tags:
            self.client.delete_tag(run, REASON)
        self.client.set_terminated(run, _MLFLOW_STATUS[record.status], end_ms)

    def search(self, study: str, *conditions: str) -> list[Run]:
        """The runs of a study that are ours and meet the conditions, oldest first."""
        found = calls.search(self.client, self.experiment, self._of(study), *conditions)
        return [run for run in found if KIND in run.data.tags]

    def _of(self, study: str) -> str:
        return f"tags.`{STUDY}` = {quoted(study)}"

    def _made_before(self, run: str) -> str | None:
        if run.startswith(SWEEP):
            found = self.search(run.removeprefix(SWEEP), f"tags.`{KIND}` = 'sweep'")
        else:
            found = calls.search(self.client, self.experiment, f"tags.`{ID}` = {quoted(run)}")
        return str(found[0].info.run_id) if found else None

    def _study_of(self, run: str) -> str:
        if run not in self._studies:
            self._studies[run] = self.client.get_run(run).data.tags.get(STUDY, "")
        return self._studies[run]

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._store, wait=LOCK_S, error=StoreAway)


def sweep_key(owner: Owner) -> str:
    """The tag that a process has on the sweeps that it has open."""
    return f"{OWNER}.{key_name(owner.host)[:100]}.{owner.pid}"


def owners(run: Run) -> list[Owner]:
    """The processes that have a run open."""
    tags = run.data.tags
    return [Owner.parse(value) for key, value in tags.items() if key.startswith(OWNER)]


def run_record(run: Run) -> RunRecord:
    """A run of the store in our own words."""
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
        start_ms=run.info.start_time,
        end_ms=run.info.end_time,
    )


def _pauses(sweep: Run) -> dict[int, int]:
    """Ends by starts, in ms."""
    pairs = (pause.split("-") for pause in sweep.data.tags.get(PAUSES, "").split(",") if pause)
    return {int(start): int(end) for start, end in pairs}


def _counts(run: Run) -> bool:
    return run.info.status in ("RUNNING", "FINISHED")


def _stale_tags(sweep: Run) -> list[str]:
    """The tags of earlier sessions that say nothing of the present one."""
    tags = sweep.data.tags
    dead = [k for k, v in tags.items() if k.startswith(OWNER) and Owner.parse(v).is_dead()]
    return [*dead, REASON] if REASON in tags else dead


def quoted(study: str) -> str:
    """A string of MLflow's search language, which has two kinds of quotes and no escapes."""
    if "'" in study and '"' in study:
        raise UserError(f"study={study}: a study's name may hold ' or \" but not both")
    return f'"{study}"' if "'" in study else f"'{study}'"
