"""A batch of jobs, from checks to records: what is shared first, then the students together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdsweep.errors import KdsweepError, TrainingError, UserError
from kdsweep.evaluate import compression
from kdsweep.hardware.choose import configure
from kdsweep.results.record import RECORD
from kdsweep.run.job import Job, Outcome, numbers, why_apart
from kdsweep.run.logger import Pruning, RunLogger, tracker_of
from kdsweep.run.plan import Plan, plan
from kdsweep.run.population import Group, build_student
from kdsweep.run.records import Student, make_record
from kdsweep.run.shared import Networks
from kdsweep.run.workers import stop_workers
from kdsweep.store import Store, write_json
from kdsweep.teachers import stored as teachers
from kdsweep.teachers.stored import Found
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member

# Makes the pruning of some jobs of one study by the metric of this name.
CreatePruning = Callable[[Sequence[Job], str], Pruning]

log = logging.getLogger(__name__)


def run_jobs(jobs: Sequence[Job], *, create_pruning: CreatePruning | None = None) -> list[Outcome]:
    """Run a batch of jobs of one root and study; one outcome for each, in order.

    Args:
        jobs: of one root and study.
        create_pruning: where a study may stop its trials early.

    Raises:
        UserError: a job can't be run as it was asked for; nothing was trained.
    """
    plans = plan(jobs)
    config = jobs[0].config
    tracker = tracker_of(config)
    outcomes: dict[Path, Outcome] = {}
    if len(plans) > 1:
        apart = why_apart([each.jobs for each in plans])
        log.info("%d populations, one after another: the jobs differ in %s", len(plans), apart)
    for each in plans:
        configure(each.hardware)
        logger = RunLogger(tracker, config, each.hardware.describe())
        runner = Runner(each, Store(Path(config.root)), logger, create_pruning)
        outcomes.update(runner.run())
    return [outcomes[job.folder] for job in jobs]


class Runner:
    """Takes one plan through teacher, baselines, students and records."""

    def __init__(
        self, plan: Plan, store: Store, logger: RunLogger, create_pruning: CreatePruning | None
    ) -> None:
        self.plan = plan
        self.create_pruning = create_pruning
        self.logger = logger
        self.networks = Networks(plan, store, logger)

    def run(self) -> dict[Path, Outcome]:
        """Outcomes by job folder; whatever ends early leaves no run open."""
        self.logger.start(self.plan.config)
        try:
            teacher = self.networks.teacher() if self.plan.needs_teacher else None
            baselines = self.networks.baselines()
            outcomes = self._without_baseline()
            if len(outcomes) < len(self.plan.jobs):
                jobs = [job for job in self.plan.jobs if job.folder not in outcomes]
                self.plan = dataclasses.replace(self.plan, jobs=jobs)
                outcomes |= self._students(teacher, baselines)
            return outcomes
        except KeyboardInterrupt:
            stop_workers()
            self.logger.close_all("killed", "interrupted")
            raise
        except UserError as error:  # every other batch would meet it too
            self.logger.close_all("failed", str(error))
            raise
        except KdsweepError as error:
            self.logger.close_all("failed", str(error))
            return {job.folder: Outcome(error=error) for job in self.plan.jobs}
        except Exception as error:
            self.logger.close_all("failed", f"{type(error).__name__}: {error}")
            log.debug("training failed", exc_info=True)
            raise

    def _without_baseline(self) -> dict[Path, Outcome]:
        """The jobs whose baseline could not be trained: there is nothing to compare with."""
        outcomes: dict[Path, Outcome] = {}
        for job in self.plan.jobs:
            keys = [self.networks.baseline_key(job, seed) for seed in job.seeds]
            errors = [e for key, e in self.networks.broken.items() if key in keys]
            if errors:
                outcomes[job.folder] = Outcome(error=errors[0])
                for run in reversed(self.logger.open_job(job, self.plan.dataset).values()):
                    self.logger.close(run, "failed", str(errors[0]))
        return outcomes

    def _students(self, teacher: Found | None, baselines: dict[str, Found]) -> dict[Path, Outcome]:
        plan = self.plan
        runs = {job.folder: self.logger.open_job(job, plan.dataset) for job in plan.jobs}
        if plan.jobs[0].is_baseline:
            results = {}
        else:
            members = [
                Member(name=job.member(seed), seed=seed, hyper=numbers(job.config))
                for job in plan.jobs
                for seed in job.seeds
            ]
            logged = {
                job.member(seed): runs[job.folder][seed] for job in plan.jobs for seed in job.seeds
            }
            title = f"student {plan.config.pair.student.name}"
            images = self.networks.dreamt(teacher)
            group = Group(config=plan.config, teacher=teacher, images=images)
            results = self.networks.train(title, group, members, logged, self._pruning())
        costs = next(iter(baselines.values())).meta["costs"]  # the same network's
        return {
            job.folder: self._conclude(job, results, runs[job.folder], teacher, baselines, costs)
            for job in plan.jobs
        }

    def _pruning(self) -> Pruning | None:
        config = self.plan.config
        wanted = config.pruner.name != "none" and config.study is not None
        if self.create_pruning is None or not wanted or config.trial is None:
            return None
        metric = f"{self.plan.dataset.evaluation.prefix}_{config.objectives[0]}"
        return self.create_pruning(self.plan.jobs, metric)

    def _conclude(
        self,
        job: Job,
        results: dict[str, Trained],
        runs: dict[int | None, str],
        teacher: Found | None,
        baselines: dict[str, Found],
        costs: dict[str, float],
    ) -> Outcome:
        students = []
        prefix = self.plan.dataset.evaluation.prefix
        for seed in job.seeds:
            baseline = baselines.get(self.networks.baseline_key(job, seed))
            if job.is_baseline:
                assert baseline is not None
                trained, metrics = teachers.replay(baseline), baseline.metrics
                self.logger.tracker.log_history(runs[seed], trained.history)
            else:
                trained = results[job.member(seed)]
                metrics = teachers.student_metrics(trained, self.plan.dataset, teacher, baseline)
            metrics = {**metrics, **trained.counts, **self._test_metrics(trained, baseline)}
            students.append(
                Student(
                    trained=trained,
                    metrics=teachers.with_efficiency(metrics, costs, prefix),
                    per_class=teachers.per_class(trained.logits, self.plan.dataset),
                    run_id=runs[seed],
                    baseline=baseline,
                )
            )
            teachers.save_student(job.folder, trained, self.plan.dataset)
        record = make_record(
            job,
            students,
            split=self.plan.dataset.evaluation.name,
            teacher=teacher,
            costs=costs if teacher is None else costs | compression(teacher.meta["costs"], costs),
            run_id=runs[None],
        )
        write_json(job.folder / RECORD, record)
        self.logger.finish_job(job, record, runs)
        if record["state"] == "failed":
            return Outcome(record=record, error=TrainingError(record["reason"]))
        return Outcome(record=record)

    def _test_metrics(self, trained: Trained, baseline: Found | None) -> dict[str, float]:
        """Where test is to be opened: the student's metrics there, and its gain in points."""
        config, dataset = self.plan.config, self.plan.dataset
        if not config.evaluate.test or dataset.evaluation.name == "test" or not trained.state:
            return {}

        def measure(state: dict[str, Tensor]) -> dict[str, float]:
            with torch.random.fork_rng(devices=[]):
                model = build_student(Group(config=config), dataset)
            return teachers.open_test(model, state, dataset, config, self.plan.hardware)

        metrics = measure(trained.state)
        if baseline is not None:
            theirs = measure(teachers.replay(baseline).state)
            metrics["test_baseline_accuracy"] = theirs["test_accuracy"]
            metrics["test_delta_vs_baseline"] = metrics["test_accuracy"] - theirs["test_accuracy"]
        return metrics
