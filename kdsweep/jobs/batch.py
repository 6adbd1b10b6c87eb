"""A batch of jobs, from plans to records: what is shared first, then the students together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdsweep.engines.checkpoints import discarding
from kdsweep.engines.networks import PopulationSpec, build_student
from kdsweep.errors import KdsweepError, TrainingError, UserError, reason_of
from kdsweep.evaluate import compression
from kdsweep.hardware.choose import configure
from kdsweep.jobs.coroutines import all_of
from kdsweep.jobs.coroutines import run as run_to_its_end
from kdsweep.jobs.grouping import numbers, why_apart
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.logged import of_seed
from kdsweep.jobs.logger import Pruning
from kdsweep.jobs.plan import Plan
from kdsweep.jobs.records import (
    Student,
    failed_record,
    make_record,
    missing_network,
    network_record,
    reliability,
)
from kdsweep.jobs.session import Session
from kdsweep.jobs.shared import Shared, baseline_key, prepare
from kdsweep.jobs.training import train_members
from kdsweep.results.record import FAILED, Bin, NetworkRecord, write_record
from kdsweep.teachers import stored
from kdsweep.teachers.stored import Found
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member

# Makes the pruning of some jobs of one study by the metric of this name.
CreatePruning = Callable[[Sequence[Job], str], Pruning]

log = logging.getLogger(__name__)


def run_plans(
    session: Session, plans: Sequence[Plan], *, create_pruning: CreatePruning | None = None
) -> dict[Path, Outcome]:
    """``train_plans``, to its end."""
    return run_to_its_end(train_plans(session, plans, create_pruning=create_pruning))


async def train_plans(
    session: Session, plans: Sequence[Plan], *, create_pruning: CreatePruning | None = None
) -> dict[Path, Outcome]:
    """Train the jobs of some plans; one outcome for each job, by its folder.

    Args:
        session: with the root that all jobs have.
        plans: as ``plan`` or ``select`` made them.
        create_pruning: where a study may stop its trials early.

    Raises:
        UserError: a job can't be run as it was asked for.
    """
    outcomes: dict[Path, Outcome] = {}
    if len(plans) > 1:
        apart = why_apart([plan.jobs for plan in plans])
        log.info("%d populations: the jobs differ in %s", len(plans), apart)
    batches = [_Batch(session, plan, create_pruning).run() for plan in plans]
    for some in await all_of(batches, room=lambda: session.has_room):
        outcomes.update(some)
    return outcomes


class _Batch:
    """Takes one plan through teacher, baselines, students and records."""

    def __init__(self, session: Session, plan: Plan, create_pruning: CreatePruning | None) -> None:
        self.session = session
        self.plan = plan
        self.create_pruning = create_pruning
        self.logger = session.logger(plan.config, plan.device)
        self.split = plan.dataset.evaluation.name
        self.images = len(plan.dataset.evaluation.labels)

    async def run(self) -> dict[Path, Outcome]:
        """Outcomes by job folder; whatever ends early leaves no run open."""
        configure(self.plan.host)
        self.logger.start(self.plan.config, self.plan.dataset)
        try:
            return await self._train()
        except KeyboardInterrupt as interrupt:
            self.logger.close_all("killed", reason_of(interrupt))
            raise
        except UserError as error:  # every other batch would meet it too
            self.logger.close_all("failed", str(error))
            raise
        except TrainingError as error:  # what all jobs need could not be trained
            self.logger.close_all("failed", str(error))
            return {job.folder: self._failed(job, error, []) for job in self.plan.jobs}
        except KdsweepError as error:
            self.logger.close_all("failed", str(error))
            return {job.folder: Outcome(error=error) for job in self.plan.jobs}
        except Exception as error:
            self.logger.close_all("failed", f"{type(error).__name__}: {error}")
            log.debug("training failed", exc_info=True)
            raise

    async def _train(self) -> dict[Path, Outcome]:
        with self.session.preparing():
            shared = await prepare(self.session, self.plan, self.logger)
        test = self._baselines_on_test(shared.baselines)
        found = {
            key: (one, reliability(one.logits, self.plan.dataset))
            for key, one in shared.baselines.items()
        }
        compared = {job.folder: self._baselines_of(job, found, test) for job in self.plan.jobs}
        outcomes: dict[Path, Outcome] = {}
        for job in self.plan.jobs:
            baselines = compared[job.folder]
            if baselines and not any(one.metrics for one in baselines):
                error = shared.broken[baselines[0].key]
                outcomes[job.folder] = self._failed(job, error, baselines)
        jobs = [job for job in self.plan.jobs if job.folder not in outcomes]
        if jobs:
            outcomes |= await self._students(jobs, shared, compared)
        return outcomes

    def _failed(
        self, job: Job, error: TrainingError, baselines: Sequence[NetworkRecord]
    ) -> Outcome:
        """A job that would fail again: with a record that says so, and a run that shows it."""
        for run in reversed(self.logger.open_job(job, self.plan.dataset).values()):
            self.logger.close(run, "failed", str(error))
        record = failed_record(
            job, error, split=self.split, images=self.images, baselines=baselines
        )
        write_record(job.folder, record)
        return Outcome(record=record, error=error)

    def _baselines_of(
        self,
        job: Job,
        found: Mapping[str, tuple[Found, tuple[Bin, ...]]],
        test: Mapping[str, Mapping[str, float]],
    ) -> list[NetworkRecord]:
        """A job's baselines in the order of their seeds, those included that failed."""
        records = []
        for seed in job.baseline_seeds:
            key = baseline_key(self.plan, job, seed)
            records.append(
                network_record(
                    *found[key],
                    last_epochs=job.config.evaluate.last_epochs,
                    on_test=test.get(key),
                )
                if key in found
                else missing_network(key, job.config.pair.student.name, seed)
            )
        return records

    async def _students(
        self,
        jobs: Sequence[Job],
        shared: Shared,
        compared: Mapping[Path, Sequence[NetworkRecord]],
    ) -> dict[Path, Outcome]:
        plan = self.plan
        runs = {job.folder: self.logger.open_job(job, plan.dataset) for job in jobs}
        spec = PopulationSpec(config=plan.config, teacher=shared.teacher, images=shared.images)
        members = [
            Member(name=job.member(seed), seed=seed, hyper=numbers(job.config))
            for job in jobs
            for seed in job.seeds
        ]
        if jobs[0].is_baseline:
            results = self._stored_students(jobs, shared, runs)
        else:
            logged = {
                job.member(seed): runs[job.folder][seed] for job in jobs for seed in job.seeds
            }
            results = await train_members(
                self.session,
                plan,
                spec,
                members,
                title=f"student {plan.config.pair.student.name}",
                runs=logged,
                pruning=self._pruning(jobs),
                seeds=len(jobs[0].seeds) > 1,
            )
        with discarding(self.session.store, spec, plan.dataset, plan.hardware, members):
            return {
                job.folder: self._conclude(
                    job, results, runs[job.folder], shared, compared[job.folder]
                )
                for job in jobs
            }

    def _stored_students(
        self,
        jobs: Sequence[Job],
        shared: Shared,
        runs: Mapping[Path, Mapping[int | None, str]],
    ) -> dict[str, Trained]:
        """Students without a teacher are trained, and found, as baselines are."""
        results = {}
        for job in jobs:
            for seed in job.seeds:
                key = baseline_key(self.plan, job, seed)
                if key not in shared.baselines:
                    reason = str(shared.broken[key])
                    name = job.member(seed)
                    results[name] = Trained(name=name, seed=seed, status="failed", reason=reason)
                    continue
                results[job.member(seed)] = stored.replay(shared.baselines[key])
                history = shared.baselines[key].meta.history
                shown = [of_seed(m) for m in history] if len(job.seeds) > 1 else history
                self.logger.tracker.log_history(runs[job.folder][seed], shown)
        return results

    def _pruning(self, jobs: Sequence[Job]) -> Pruning | None:
        config = self.plan.config
        wanted = config.pruner.name != "none" and config.study is not None
        if self.create_pruning is None or not wanted or config.trial is None:
            return None
        metric = f"{self.plan.dataset.evaluation.prefix}_{config.objectives[0]}"
        return self.create_pruning(jobs, metric)

    def _conclude(
        self,
        job: Job,
        results: Mapping[str, Trained],
        runs: dict[int | None, str],
        shared: Shared,
        baselines: Sequence[NetworkRecord],
    ) -> Outcome:
        """Measure a job's students, and write its record and their weights."""
        dataset, teacher, costs = self.plan.dataset, shared.teacher, shared.costs
        if teacher is not None:
            costs = {**costs, **compression(teacher.meta.costs, costs)}
        students = []
        for seed in job.seeds:
            trained = results[job.member(seed)]
            metrics = {
                **stored.student_metrics(
                    trained,
                    dataset,
                    teacher,
                    baselines,
                    last_epochs=job.config.evaluate.last_epochs,
                ),
                **trained.counts,
                **self._student_on_test(job, trained, baselines),
            }
            students.append(
                Student(
                    trained=trained,
                    metrics=stored.with_efficiency(metrics, costs, dataset.evaluation.prefix),
                    per_class=stored.per_class(trained.logits, dataset),
                    reliability=reliability(trained.logits, dataset),
                    run_id=runs[seed],
                )
            )
            stored.save_student(job.folder, trained, dataset)
        record = make_record(
            job,
            students,
            split=self.split,
            images=self.images,
            teacher=None
            if teacher is None
            else network_record(teacher, reliability(teacher.logits, dataset)),
            baselines=baselines,
            costs=costs,
            run_id=runs[None],
            environment=self.logger.environment,
        )
        write_record(job.folder, record)
        self.logger.finish_job(job, record, runs)
        if record.state == FAILED:
            return Outcome(record=record, error=TrainingError(record.reason))
        return Outcome(record=record)

    def _baselines_on_test(self, found: Mapping[str, Found]) -> dict[str, dict[str, float]]:
        """Where test is to be opened, the metrics of each baseline there, by key."""
        if not self._opens_test:
            return {}
        on_test = {}
        for key, one in found.items():
            trained = stored.replay(one)
            folders = {
                job.folder
                for job in self.plan.jobs
                for seed in job.baseline_seeds
                if baseline_key(self.plan, job, seed) == key
            }
            metrics, right = self._on_test(trained.state)
            for folder in folders:
                stored.save_correct(folder, f"test-baseline-seed{trained.seed}", right)
            on_test[key] = metrics
        return on_test

    def _student_on_test(
        self, job: Job, trained: Trained, baselines: Sequence[NetworkRecord]
    ) -> dict[str, float]:
        """Where test is to be opened: the student's metrics there, and its gain in points."""
        if not self._opens_test or not trained.state:
            return {}
        metrics, right = self._on_test(trained.state)
        stored.save_correct(job.folder, f"test-seed{trained.seed}", right)
        alone = stored.mean_metric(baselines, "test_accuracy")
        if alone is not None:
            metrics["test_delta_vs_baseline"] = metrics["test_accuracy"] - alone
        return metrics

    @property
    def _opens_test(self) -> bool:
        return self.plan.config.evaluate.test and self.split != "test"

    def _on_test(self, state: dict[str, Tensor]) -> tuple[dict[str, float], Tensor]:
        with torch.random.fork_rng(devices=[]):
            model = build_student(PopulationSpec(config=self.plan.config), self.plan.dataset)
        plan = self.plan
        return stored.open_test(model, state, plan.dataset, plan.config, plan.host)
