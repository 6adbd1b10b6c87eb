"""What jobs share, each found or made once: their teacher, their baselines, dreamt images."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from kdsweep.config import Config, DistillConfig
from kdsweep.datafree import dreams
from kdsweep.engines.checkpoints import discarding
from kdsweep.engines.networks import PopulationSpec, build_student, load_teacher
from kdsweep.errors import TrainingError
from kdsweep.jobs.coroutines import holding
from kdsweep.jobs.grouping import numbers
from kdsweep.jobs.job import Job
from kdsweep.jobs.logged import is_one_of_several
from kdsweep.jobs.logger import RunLogger
from kdsweep.jobs.plan import Plan
from kdsweep.jobs.session import Session
from kdsweep.jobs.training import train_members
from kdsweep.teachers import chain, keys
from kdsweep.teachers import stored as teachers
from kdsweep.teachers.stored import Found
from kdsweep.terminal.progress import Progress
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member

log = logging.getLogger(__name__)
BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the students of a plan learn from and are compared with."""

    teacher: Found | None  # None where no loss has one
    baselines: Mapping[str, Found]  # by key
    broken: Mapping[str, TrainingError]  # why baselines could not be trained, by key
    images: Path | None  # dreamt ones, that replace the real ones
    costs: Mapping[str, float]  # of a student: parameters, size, FLOPs and, if asked for, latency


async def prepare(session: Session, plan: Plan, logger: RunLogger) -> Shared:
    """Find what the jobs of a plan share, or train it.

    Raises:
        UserError: the teacher knows no more than chance.
        TrainingError: the teacher could not be trained.
    """
    networks = Networks(session, plan, logger)
    teacher = await networks.teacher() if plan.needs_teacher else None
    baselines = await networks.baselines()
    every = {baseline_key(plan, job, seed) for job in plan.jobs for seed in _alone(job)}
    trains = not every or bool(baselines)  # students with nothing to compare with are not trained
    return Shared(
        teacher=teacher,
        baselines=baselines,
        broken=networks.broken,
        images=networks.dreamt(teacher) if trains else None,
        costs=networks.student_costs(baselines) if trains else {},
    )


def baseline_key(plan: Plan, job: Job, seed: int) -> str:
    """Names the baseline of one seed of a job."""
    return keys.baseline_key(job.config, plan.dataset, plan.hardware, seed)


class Networks:
    """Finds what a plan's jobs share in the store, trains what is missing, and keeps it there."""

    def __init__(self, session: Session, plan: Plan, logger: RunLogger) -> None:
        self.session = session
        self.plan = plan
        self.store = session.store
        self.logger = logger
        self.broken: dict[str, TrainingError] = {}  # baselines that could not be trained, by key

    async def teacher(self) -> Found:
        """The network that teaches, or an ensemble; all that taught it, trained or found."""
        plan = self.plan
        teaching = []
        for links in chain.chains(plan.config, plan.dataset, plan.hardware):
            last: Found | None = None
            for link in links:
                last = await self._link(link, last)
            assert last is not None
            teaching.append(last)
        if len(teaching) == 1:
            return teaching[0]
        ensemble = chain.as_ensemble(self.store, teaching, plan.dataset)
        log.info("ensemble: %s", _describe(ensemble))
        return ensemble

    async def _link(self, link: chain.Link, teacher: Found | None) -> Found:
        """One network of a chain, taught by the one before it."""
        plan = self.plan
        async with holding([self.store.lock(link.kind, link.key)]):
            found = teachers.find(self.store, link.kind, link.key)
            given = link.kind == chain.TEACHER and link.config.teacher.checkpoint is not None
            if found is None and given:
                found = teachers.install_checkpoint(
                    self.store, link.key, link.config, plan.dataset, plan.host
                )
            if found is None:
                found = await self._train_link(link, teacher)
            else:
                found = self._timed(found, link.config)
                self.logger.mention(found, link.config, plan.dataset)
                log.info("%s: %s", link.kind, _describe(found))
        teachers.refuse_untrained(found)
        return found

    async def _train_link(self, link: chain.Link, teacher: Found | None) -> Found:
        kind, key, config = link.kind, link.key, link.config
        run = self.logger.open_network(kind, key, config, self.plan.dataset, link.seed)
        role = "teacher" if kind == chain.TEACHER else "student"
        spec = PopulationSpec(config=config, role=role, teacher=teacher)
        member = Member(name=key, seed=link.seed, hyper=numbers(config))
        title = f"{kind} {link.model.name}"
        results = await self.train(title, spec, [member], {key: run}, counts=False)
        costs = self._costs(kind, config)
        with discarding(self.store, spec, self.plan.dataset, self.plan.hardware, [member]):
            return self._keep(kind, key, results[key], run, config, costs)

    async def baselines(self) -> dict[str, Found]:
        """The students trained alone that the jobs are compared with, by key."""
        plan = self.plan
        wanted = {baseline_key(plan, job, s): (job, s) for job in plan.jobs for s in _alone(job)}
        found = self._stored_baselines(wanted)
        missing = {key: wanted[key] for key in wanted if key not in found}
        if not missing:
            return found
        async with holding(self.store.group_locks(BASELINE, missing)):
            found |= self._stored_baselines(missing)  # others may have trained them meanwhile
            missing = {key: wanted[key] for key in missing if key not in found}
            return found | (await self._train_baselines(missing) if missing else {})

    def _stored_baselines(self, wanted: Mapping[str, tuple[Job, int]]) -> dict[str, Found]:
        """Those that are in the store."""
        found = {}
        for key, (job, _) in wanted.items():
            there = teachers.find(self.store, BASELINE, key)
            if there is not None:
                config = _baseline_config(job.config)
                found[key] = self._timed(there, config)
                self.logger.mention(found[key], config, self.plan.dataset)
        if found:
            log.info("baselines: %d found", len(found))
        return found

    async def _train_baselines(self, missing: dict[str, tuple[Job, int]]) -> dict[str, Found]:
        plan = self.plan
        config = _baseline_config(plan.config)
        members = [
            Member(name=key, seed=seed, hyper=numbers(_baseline_config(job.config)))
            for key, (job, seed) in missing.items()
        ]
        runs = {
            key: self.logger.open_network(
                BASELINE, key, _baseline_config(job.config), plan.dataset, seed
            )
            for key, (job, seed) in missing.items()
        }
        title = f"baseline {config.pair.student.name}"
        several = is_one_of_several(BASELINE, config)
        spec = PopulationSpec(config=config)
        results = await self.train(title, spec, members, runs, seeds=several)
        costs = self._costs(BASELINE, config)
        kept = {}
        with discarding(self.store, spec, plan.dataset, plan.hardware, members):
            for key in missing:
                try:
                    kept[key] = self._keep(BASELINE, key, results[key], runs[key], config, costs)
                except TrainingError as error:  # the others' jobs go on
                    self.broken[key] = error
                    self.logger.close(runs[key], "failed", str(error))
        return kept

    def _keep(
        self,
        kind: str,
        key: str,
        trained: Trained,
        run: str,
        config: Config,
        costs: dict[str, float],
    ) -> Found:
        if trained.status != "finished":
            raise TrainingError(
                f"the {kind} could not be trained: {trained.reason}; "
                "lower train.optimizer.lr or check the data"
            )
        model = config.pair.teacher if kind == "teacher" else config.pair.student
        found = teachers.keep(self.store, kind, key, trained, self.plan.dataset, model.name, costs)
        self.logger.finish_network(run, found, config)
        return found

    def dreamt(self, teacher: Found | None) -> Path | None:
        """The images that replace the real ones, found or made once."""
        plan = self.plan
        if plan.config.distill.inversion is None:
            return None
        assert teacher is not None
        spec = PopulationSpec(config=plan.config, teacher=teacher)
        with Progress("inversion", self.session.display, epochs=1, metric="") as progress:
            return dreams.find_or_make(
                self.store,
                teacher,
                lambda: load_teacher(spec, plan.dataset, plan.host),
                plan.config,
                plan.dataset,
                plan.host,
                progress.step,
            )

    async def train(
        self,
        title: str,
        spec: PopulationSpec,
        members: list[Member],
        runs: dict[str, str],
        *,
        seeds: bool = False,
        counts: bool = True,
    ) -> dict[str, Trained]:
        """``train_members`` for this plan."""
        return await train_members(
            self.session,
            self.plan,
            spec,
            members,
            title=title,
            runs=runs,
            seeds=seeds,
            counts=counts,
        )

    def _timed(self, found: Found, config: Config) -> Found:
        """A stored network with its latency, where that is asked for and was not before."""
        if not config.times_networks or "latency_ms_p50" in found.meta.costs:
            return found
        meta = dataclasses.replace(found.meta, costs=self._costs(found.kind, config))
        return dataclasses.replace(found, meta=meta)

    def student_costs(self, baselines: Mapping[str, Found]) -> dict[str, float]:
        """Costs of the students, which are those of their baselines where there is one."""
        for found in baselines.values():
            costs: dict[str, float] = found.meta.costs
            return costs
        return self._costs("baseline", self.plan.config)

    def _costs(self, kind: str, config: Config) -> dict[str, float]:
        """Parameters, size, FLOPs and, where asked for, latency of a network of this kind."""
        plan = self.plan
        role = "teacher" if kind == chain.TEACHER else "student"
        with torch.random.fork_rng(devices=[]):
            model = build_student(PopulationSpec(config=config, role=role), plan.dataset)
        return teachers.costs_of(model, plan.dataset, config, plan.host)


def _alone(job: Job) -> list[int]:
    """The seeds with which a job's student is trained without a teacher."""
    return [*job.baseline_seeds, *(job.seeds if job.is_baseline else ())]


def _baseline_config(config: Config) -> Config:
    """The same training without a teacher."""
    return dataclasses.replace(config, distill=DistillConfig(temperature=1.0, alpha=0.0))


def _describe(found: Found) -> str:
    meta = found.meta
    return f"{meta.name} found ({meta.prefix}_accuracy {meta.accuracy:.2f} %)"
