"""How trials end: by their records, as failures, or given back for another try."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from kdsweep.errors import KdsweepError, TrainingError, reason_of
from kdsweep.jobs.job import Job
from kdsweep.jobs.records import failed_record
from kdsweep.results.cells import DRAWN
from kdsweep.results.record import FAILED, Record, find_record, write_record
from kdsweep.sweeper.cells import Cells
from kdsweep.sweeper.options import SweeperOptions
from kdsweep.sweeper.rounds import Rounds
from kdsweep.sweeper.study import FINISHED, Claim, SweepStudy, Unit, unit_of

log = logging.getLogger(__name__)


class Ending:
    """Ends the trials of one session, and keeps what failed.

    Args:
        study: opened.
        rounds: which make a trial's job.
        cells: checked.
        folder: of the study, with its records.
        options: how many failures, and tries, there may be.

    Attributes:
        failed: units of this session without a value, and why.
    """

    def __init__(
        self,
        study: SweepStudy,
        rounds: Rounds,
        cells: Cells,
        folder: Path,
        options: SweeperOptions,
    ) -> None:
        self.study = study
        self.rounds = rounds
        self.cells = cells
        self.folder = folder
        self.options = options
        self.failed: dict[Unit, str] = {}
        self._given_back = 0  # of these, those that may yet succeed

    def job(self, claim: Claim) -> Job:
        """A trial's training."""
        return self.rounds.job(claim, self.folder / str(claim.number))

    def end(
        self,
        claims: Sequence[Claim],
        jobs: Sequence[Job],
        errors: Sequence[BaseException | None],
    ) -> None:
        """End the trials of a batch that has been trained.

        Raises:
            TrainingError: more of them failed than the user puts up with.
        """
        before = len(self.failed)
        for claim, job, error in zip(claims, jobs, errors, strict=True):
            if not self._finish(claim, job):
                self._fail(claim, job, error)
        self._refuse_too_many(len(self.failed) - before, len(claims))

    def give_back(
        self, claims: Sequence[Claim], jobs: Sequence[Job], error: BaseException
    ) -> None:
        """Leave what a batch did not finish to the next try, unless nobody expected the error."""
        if not isinstance(error, KeyboardInterrupt | KdsweepError):
            return
        stopped = isinstance(error, KeyboardInterrupt)
        reason = reason_of(error) if isinstance(error, KeyboardInterrupt) else str(error)
        for claim, job in zip(claims, jobs, strict=True):
            if not self._finish(claim, job):
                self.study.fail(claim, reason, final=False, record=None)
                if stopped and claim.round == DRAWN:
                    self.study.enqueue([claim.point], DRAWN)

    def recover(self) -> None:
        """End what other processes left running: by its record, or for another try."""
        for trial in self.study.lost():
            claim = self.study.claim_of(trial)
            record = find_record(self.folder / str(claim.number))
            if record is not None and record.settled:
                self.study.finish(claim, record)
            elif self.study.give_up_lost(claim, max_retries=self.options.max_retries):
                if claim.round == DRAWN:
                    self.study.enqueue([claim.point], DRAWN)
                log.info("trial %d: its process has ended; trained again", trial.number)
            else:
                self._write_failed(self.job(claim), "its process died again and again")

    def refuse_failures(self) -> None:
        """A sweep with cells that failed has not done what it was asked for.

        Raises:
            TrainingError: there are such cells.
        """
        if self.failed:
            first = next(iter(self.failed.values()))
            again = (
                f"; the same command tries {self._given_back} again" if self._given_back else ""
            )
            raise TrainingError(
                f"{len(self.failed)} trials of study {self.study.name} failed; the first: "
                f"{first}{again}"
            )

    def _finish(self, claim: Claim, job: Job) -> bool:
        """End a trial by its record, where that says all; whether it does."""
        record = find_record(job.folder)
        if record is None or not record.settled:
            return False
        self.study.finish(claim, record)
        return True

    def _fail(self, claim: Claim, job: Job, error: BaseException | None) -> None:
        """End a trial that gave no value; one that would only fail again has a record of it."""
        record = find_record(job.folder)
        final = isinstance(error, TrainingError) or (record is not None and record.state == FAILED)
        reason = (record.reason if record is not None else None) or _reason(error)
        if final and record is None:
            record = self._write_failed(job, reason)
        self.study.fail(claim, reason, final=final, record=record)
        self.failed[Unit.of(claim.point, claim.round)] = reason
        self._given_back += not final
        again = "" if final else "; the same command trains its cell again"
        log.error("trial %d failed: %s%s", claim.number, reason, again)

    def _write_failed(self, job: Job, reason: str) -> Record:
        images = self.cells.plans[0].dataset.evaluation
        record = failed_record(
            job, TrainingError(reason), split=images.name, images=len(images.labels)
        )
        write_record(job.folder, record)
        return record

    def _refuse_too_many(self, failed: int, batch: int) -> None:
        limit, rate = self.options.max_failures, self.options.max_failure_rate
        if limit is not None and len(self.failed) > limit:
            raise TrainingError(
                f"{len(self.failed)} trials failed, more than hydra.sweeper.max_failures={limit}"
            )
        if failed / batch > rate:
            raise TrainingError(
                f"{failed} of {batch} trials of a batch failed, more than "
                f"hydra.sweeper.max_failure_rate={rate:g}"
            )


def unrecorded(study: SweepStudy, folder: Path) -> frozenset[int]:
    """Finished trials whose folder is here without a record: nothing can report them."""
    latest = {unit_of(trial): trial.number for trial in study.trials(*FINISHED)}
    folders = {number: folder / str(number) for number in latest.values()}
    gone = [n for n, at in folders.items() if at.is_dir() and find_record(at) is None]
    for number in gone:
        log.warning("trial %d: its record is gone; its cell is trained again", number)
    return frozenset(gone)


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "it ended without a record"
    return str(error) if isinstance(error, KdsweepError) else f"{type(error).__name__}: {error}"
