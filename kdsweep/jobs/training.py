"""The members of a population trained for one plan, logged and with a bar of progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdsweep.engines import PopulationSpec, Task
from kdsweep.engines.checkpoints import setting_key
from kdsweep.jobs.coroutines import result_of
from kdsweep.jobs.logger import Pruning, RunObserver
from kdsweep.jobs.plan import Plan
from kdsweep.jobs.session import Session
from kdsweep.terminal.progress import Progress
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member


async def train_members(
    session: Session,
    plan: Plan,
    spec: PopulationSpec,
    members: Sequence[Member],
    *,
    title: str,
    runs: Mapping[str, str],
    pruning: Pruning | None = None,
    seeds: bool = False,
    counts: bool = True,
) -> dict[str, Trained]:
    """Train the members as one population, wherever the session's engine does.

    Args:
        session: with its engine, and where metrics go.
        plan: of the jobs that they are of.
        spec: what they have in common.
        members: different ones, by name.
        title: what the progress calls them.
        runs: the run of each, by name.
        pruning: may send members home.
        seeds: whether each is one seed of several.
        counts: whether they are among the sweep's trainings.
    """
    many = f" x {len(members)}" if len(members) > 1 else ""
    with Progress(
        title + many,
        session.display,
        epochs=spec.config.train.epochs,
        metric=f"{plan.dataset.evaluation.prefix}_accuracy",
        members=len(members),
        images=len(plan.dataset.labels),
        counts=counts,
    ) as progress:
        observer = RunObserver(session.tracker, runs, progress, pruning, seeds=seeds)
        setting = setting_key(spec, plan.dataset, plan.hardware)
        task = Task(spec=spec, members=tuple(members), setting=setting)
        return await result_of(session.engine.submit(task, observer))
