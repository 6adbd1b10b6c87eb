"""A batch of jobs, from checks to records: find or train what is shared, then train together.

Everything that the user got wrong is found in ``plan``, before anything is trained or logged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kdsweep import store
from kdsweep.config import Config, DistillConfig
from kdsweep.errors import KdsweepError, TrainingError, UserError
from kdsweep.evaluate import compression
from kdsweep.jobs import RECORD, Job, Outcome, group_jobs, numbers, why_apart
from kdsweep.logbook import Logbook, RunObserver, tracker_of
from kdsweep.models.weights import load_weights
from kdsweep.progress import Progress
from kdsweep.records import Student, make_record
from kdsweep.train import chain, dreams, teachers
from kdsweep.train.group import (
    Group,
    build_student,
    idle_numbers,
    load_teacher,
    losses_of,
    train_group,
)
from kdsweep.train.hardware import Hardware, choose_hardware
from kdsweep.train.loop import Trained
from kdsweep.train.materials import Materials, prepare_materials
from kdsweep.train.population import Member
from kdsweep.train.teachers import Found
from kdsweep.train.workers import stop_workers, workers

if TYPE_CHECKING:
    from kdsweep.sweep.pruning import Pruning

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Jobs that train as one population, checked and ready."""

    jobs: list[Job]
    hardware: Hardware
    materials: Materials
    needs_teacher: bool
    idle: frozenset[str]  # of temperature and alpha, those that none of the losses reads

    @property
    def config(self) -> Config:
        """Any job's configuration, for what the jobs share."""
        return self.jobs[0].config


def plan(jobs: Sequence[Job]) -> list[Plan]:
    """Check every job, and group those that can train together.

    Raises:
        UserError: the first thing that can't be had as it was asked for.
    """
    plans = []
    for group in group_jobs(jobs):
        config = group[0].config
        hardware = choose_hardware(config.train)
        materials = prepare_materials(config, hardware)
        with torch.random.fork_rng(devices=[]):
            student = build_student(Group(config=config), materials)
            teacher = build_student(Group(config=config, student="teacher"), materials)
        needs_teacher, idle = False, frozenset[str]()
        without = config.distill.without_images
        for job in group:
            losses = losses_of(Group(config=job.config), student, teacher)
            unmixable = [loss.name for loss in losses.values() if loss.uses_index]
            if unmixable and job.config.data.views.mixup > 0:
                raise UserError(
                    f"data.views.mixup={job.config.data.views.mixup}: allowed is 0 with "
                    f"distill.losses.{unmixable[0]}, which remembers images one by one"
                )
            if unmixable and without == "generator":
                raise UserError(
                    f"distill.losses.{unmixable[0]}: allowed is a loss that does not remember "
                    "images one by one with distill.generator, whose images are never seen "
                    "again; choose infonce, or distill=deep_inversion"
                )
            needs_teacher = without is not None or any(
                loss.needs_teacher for loss in losses.values()
            )
            idle = idle_numbers(losses)
        dreams.check(config, teacher)
        if needs_teacher:
            chain.check(config, materials, hardware)
            if config.teacher.checkpoint is not None:
                load_weights(teacher, config.teacher.checkpoint, option="teacher.checkpoint")
        plans.append(
            Plan(
                jobs=group,
                hardware=hardware,
                materials=materials,
                needs_teacher=needs_teacher,
                idle=idle,
            )
        )
    return plans


def refuse_idle_axes(plans: Sequence[Plan]) -> None:
    """Let no sweep range over a number that changes nothing.

    Raises:
        UserError: temperature or alpha differs between cells of which none has a loss that
            reads it.
    """
    for key in ("temperature", "alpha"):
        ranging = [p for p in plans if len({getattr(j.config.distill, key) for j in p.jobs}) > 1]
        if ranging and all(key in p.idle for p in ranging):
            values = {getattr(job.config.distill, key) for job in ranging[0].jobs}
            losses = ", ".join(ranging[0].config.distill.losses) or "no distillation"
            raise UserError(
                f"distill.{key}={','.join(f'{v:g}' for v in sorted(values))}: changes nothing "
                f"with {losses}, so these cells would be equal; sweep something else"
            )


def run_jobs(jobs: Sequence[Job]) -> list[Outcome]:
    """Run a batch of jobs of one root and study; one outcome for each, in order.

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
        book = Logbook(tracker, config, each.hardware.describe())
        outcomes.update(Runner(each, store.Store(Path(config.root)), book).run())
    return [outcomes[job.folder] for job in jobs]


class Runner:
    """Takes one plan through teacher, baselines, students and records."""

    def __init__(self, plan: Plan, shelf: store.Store, book: Logbook) -> None:
        self.plan = plan
        self.shelf = shelf
        self.book = book

    def run(self) -> dict[Path, Outcome]:
        """Outcomes by job folder; whatever ends early leaves no run open."""
        self.book.start(self.plan.config)
        try:
            teacher = self._teacher() if self.plan.needs_teacher else None
            baselines = self._baselines()
            return self._students(teacher, baselines)
        except KeyboardInterrupt:
            stop_workers()
            self.book.close_all("killed", "interrupted")
            raise
        except UserError as error:  # every other batch would meet it too
            self.book.close_all("failed", str(error))
            raise
        except KdsweepError as error:
            self.book.close_all("failed", str(error))
            return {job.folder: Outcome(error=error) for job in self.plan.jobs}
        except Exception as error:
            self.book.close_all("failed", f"{type(error).__name__}: {error}")
            log.debug("training failed", exc_info=True)
            raise

    def _teacher(self) -> Found:
        """The network that teaches, or an ensemble; all that taught it, trained or found."""
        plan = self.plan
        teaching = []
        for links in chain.chains(plan.config, plan.materials, plan.hardware):
            last: Found | None = None
            for link in links:
                last = self._link(link, last)
            assert last is not None
            teaching.append(last)
        if len(teaching) == 1:
            return teaching[0]
        ensemble = chain.as_ensemble(self.shelf, teaching, plan.materials)
        log.info("ensemble: %s", _describe(ensemble))
        return ensemble

    def _link(self, link: chain.Link, teacher: Found | None) -> Found:
        """One network of a chain, taught by the one before it."""
        plan = self.plan
        with self.shelf.lock(link.kind, link.key):
            found = teachers.find(self.shelf, link.kind, link.key)
            given = link.kind == chain.TEACHER and link.config.teacher.checkpoint is not None
            if found is None and given:
                found = teachers.install_checkpoint(
                    self.shelf, link.key, link.config, plan.materials, plan.hardware
                )
            if found is None:
                found = self._train_link(link, teacher)
            else:
                found = self._timed(found, link.config)
                self.book.mention(found, link.config, plan.materials)
                log.info("%s: %s", link.kind, _describe(found))
        teachers.refuse_untrained(found)
        return found

    def _baselines(self) -> dict[str, Found]:
        plan = self.plan
        wanted = {self._baseline_key(job, s): (job, s) for job in plan.jobs for s in job.seeds}
        found: dict[str, Found] = {}
        with contextlib.ExitStack() as locks:
            for key in sorted(wanted):  # one order for all processes: no deadlock
                locks.enter_context(self.shelf.lock("baseline", key))
            missing = {}
            for key, (job, seed) in wanted.items():
                there = teachers.find(self.shelf, "baseline", key)
                if there is None:
                    missing[key] = (job, seed)
                else:
                    found[key] = self._timed(there, _baseline_config(job.config))
                    self.book.mention(found[key], _baseline_config(job.config), plan.materials)
            if found:
                log.info("baselines: %d found", len(found))
            if missing:
                found.update(self._train_baselines(missing))
        return found

    def _baseline_key(self, job: Job, seed: int) -> str:
        return teachers.baseline_key(job.config, self.plan.materials, self.plan.hardware, seed)

    def _train_baselines(self, missing: dict[str, tuple[Job, int]]) -> dict[str, Found]:
        plan = self.plan
        config = _baseline_config(plan.config)
        members = [
            Member(name=key, seed=seed, hyper=numbers(_baseline_config(job.config)))
            for key, (job, seed) in missing.items()
        ]
        runs = {
            key: self.book.open_network(
                "baseline", key, _baseline_config(job.config), plan.materials, seed
            )
            for key, (job, seed) in missing.items()
        }
        title = f"baseline {config.pair.student.name}"
        results = self._train(title, Group(config=config), members, runs)
        return {
            key: self._keep("baseline", key, results[key], runs[key], config) for key in missing
        }

    def _train_link(self, link: chain.Link, teacher: Found | None) -> Found:
        kind, key, config = link.kind, link.key, link.config
        run = self.book.open_network(kind, key, config, self.plan.materials, link.seed)
        role = "teacher" if kind == chain.TEACHER else "student"
        group = Group(config=config, student=role, teacher=teacher)
        member = Member(name=key, seed=link.seed, hyper=numbers(config))
        results = self._train(f"{kind} {link.model.name}", group, [member], {key: run})
        return self._keep(kind, key, results[key], run, config)

    def _keep(self, kind: str, key: str, trained: Trained, run: str, config: Config) -> Found:
        if trained.status != "finished":
            raise TrainingError(
                f"the {kind} could not be trained: {trained.reason}; "
                "lower train.optimizer.lr or check the data"
            )
        model = config.pair.teacher if kind == "teacher" else config.pair.student
        found = teachers.keep(
            self.shelf,
            kind,
            key,
            trained,
            self.plan.materials,
            model.name,
            self._costs(kind, config),
        )
        self.book.finish_network(run, found)
        return found

    def _train(
        self,
        title: str,
        group: Group,
        members: list[Member],
        runs: dict[str, str],
        pruning: Pruning | None = None,
    ) -> dict[str, Trained]:
        metric = f"{self.plan.materials.judged.prefix}_accuracy"
        many = f" x {len(members)}" if len(members) > 1 else ""
        with Progress(
            title + many,
            epochs=group.config.train.epochs,
            metric=metric,
            members=len(members),
        ) as progress:
            observer = RunObserver(self.book.tracker, runs, progress, pruning)
            processes = min(self.plan.hardware.workers, len(members))
            if processes > 1:
                return workers(self.plan.hardware.workers).train(group, members, observer)
            return train_group(
                group,
                members,
                observer,
                on_fill=lambda n: progress.note(f"teacher reads {n} views"),
            )

    def _students(self, teacher: Found | None, baselines: dict[str, Found]) -> dict[Path, Outcome]:
        plan = self.plan
        runs = {job.folder: self.book.open_job(job, plan.materials) for job in plan.jobs}
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
            images = self._dreamt(teacher)
            group = Group(config=plan.config, teacher=teacher, images=images)
            results = self._train(title, group, members, logged, self._pruning())
        return {
            job.folder: self._conclude(job, results, runs[job.folder], teacher, baselines)
            for job in plan.jobs
        }

    def _dreamt(self, teacher: Found | None) -> Path | None:
        """The images that replace the real ones, found or made once."""
        plan = self.plan
        if plan.config.distill.inversion is None:
            return None
        assert teacher is not None
        group = Group(config=plan.config, teacher=teacher)
        with Progress("inversion", epochs=1, metric="") as progress:
            return dreams.find_or_make(
                self.shelf,
                teacher,
                lambda: load_teacher(group, plan.materials, plan.hardware),
                plan.config,
                plan.materials,
                plan.hardware,
                progress.step,
            )

    def _pruning(self) -> Pruning | None:
        config = self.plan.config
        if config.pruner.name == "none" or config.study is None or config.trial is None:
            return None
        from kdsweep.sweep.pruning import Pruning

        metric = f"{self.plan.materials.judged.prefix}_{config.objectives[0]}"
        return Pruning(self.plan.jobs, metric)

    def _conclude(
        self,
        job: Job,
        results: dict[str, Trained],
        runs: dict[int | None, str],
        teacher: Found | None,
        baselines: dict[str, Found],
    ) -> Outcome:
        students = []
        costs = self._costs("student", self.plan.config)
        prefix = self.plan.materials.judged.prefix
        for seed in job.seeds:
            baseline = baselines.get(self._baseline_key(job, seed))
            if job.is_baseline:
                assert baseline is not None
                trained, metrics = teachers.replay(baseline), baseline.metrics
                self.book.tracker.log_history(runs[seed], trained.history)
            else:
                trained = results[job.member(seed)]
                metrics = teachers.student_metrics(trained, self.plan.materials, teacher, baseline)
            metrics = {**metrics, **trained.counts, **self._test_metrics(trained, baseline)}
            students.append(
                Student(
                    trained=trained,
                    metrics=teachers.with_efficiency(metrics, costs, prefix),
                    per_class=teachers.per_class(trained.logits, self.plan.materials),
                    run_id=runs[seed],
                    baseline=baseline,
                )
            )
            teachers.save_student(job.folder, trained, self.plan.materials)
        record = make_record(
            job,
            students,
            judged=self.plan.materials.judged.name,
            teacher=teacher,
            costs=costs if teacher is None else costs | compression(teacher.meta["costs"], costs),
            run_id=runs[None],
        )
        store.write_json(job.folder / RECORD, record)
        self.book.finish_job(job, record, runs)
        if record["state"] == "failed":
            return Outcome(record=record, error=TrainingError(record["reason"]))
        return Outcome(record=record)

    def _test_metrics(self, trained: Trained, baseline: Found | None) -> dict[str, float]:
        """Where test is to be opened: the student's metrics there, and its gain in points."""
        config, materials = self.plan.config, self.plan.materials
        if not config.evaluate.test or materials.judged.name == "test" or not trained.state:
            return {}

        def measure(state: dict[str, Tensor]) -> dict[str, float]:
            with torch.random.fork_rng(devices=[]):
                model = build_student(Group(config=config), materials)
            return teachers.open_test(model, state, materials, config, self.plan.hardware)

        metrics = measure(trained.state)
        if baseline is not None:
            theirs = measure(teachers.replay(baseline).state)
            metrics["test_baseline_accuracy"] = theirs["test_accuracy"]
            metrics["test_delta_vs_baseline"] = metrics["test_accuracy"] - theirs["test_accuracy"]
        return metrics

    def _timed(self, found: Found, config: Config) -> Found:
        """A stored network with its latency, where that is asked for and was not before."""
        if not config.times_networks or "latency_ms_p50" in found.meta["costs"]:
            return found
        return dataclasses.replace(
            found, meta={**found.meta, "costs": self._costs(found.kind, config)}
        )

    def _costs(self, kind: str, config: Config) -> dict[str, float]:
        plan = self.plan
        role = "teacher" if kind == chain.TEACHER else "student"
        with torch.random.fork_rng(devices=[]):
            model = build_student(Group(config=config, student=role), plan.materials)
        return teachers.costs_of(model, plan.materials, config, plan.hardware)


def _baseline_config(config: Config) -> Config:
    """The same training without a teacher."""
    return dataclasses.replace(config, distill=DistillConfig(temperature=1.0, alpha=0.0))


def _describe(found: Found) -> str:
    prefix = "val" if found.meta["judged"] == "validation" else found.meta["judged"]
    accuracy = found.metrics[f"{prefix}_accuracy"]
    return f"{found.meta['name']} found ({prefix}_accuracy {accuracy:.2f} %)"
