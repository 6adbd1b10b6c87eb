"""The sweep: which trials are missing, in which batches they are trained, when it ends."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.trial import TrialState

from kdsweep.data.device import Datasets
from kdsweep.errors import UserError
from kdsweep.hardware.choose import batch_of_cells
from kdsweep.hardware.energy import EnergyMeter
from kdsweep.jobs.coroutines import Running, go_on
from kdsweep.jobs.plan import select
from kdsweep.jobs.session import Session
from kdsweep.results.cells import DRAWN
from kdsweep.results.energy import add_energy
from kdsweep.results.record import RECORD
from kdsweep.sweeper.address import StudyAddress
from kdsweep.sweeper.axes import check_axes, distinct, refuse_categories
from kdsweep.sweeper.batch import launch
from kdsweep.sweeper.binding import adopt, adopt_axes, adopt_sampler
from kdsweep.sweeper.cells import Cells
from kdsweep.sweeper.concluding import conclude
from kdsweep.sweeper.ending import Ending, unrecorded
from kdsweep.sweeper.explain import naming
from kdsweep.sweeper.folder import folder_of_study
from kdsweep.sweeper.glance import open_page
from kdsweep.sweeper.launcher import refuse_chdir, refuse_handlers
from kdsweep.sweeper.lease import Lease
from kdsweep.sweeper.opening import exclusive, open_storage, open_study, study_name
from kdsweep.sweeper.options import SweeperOptions
from kdsweep.sweeper.pruning import create_pruner, create_pruning
from kdsweep.sweeper.reporting import give_up, report_study
from kdsweep.sweeper.rounds import Rounds
from kdsweep.sweeper.sampling import NOT_ADAPTIVE, create_sampler, is_grid, sampler_of
from kdsweep.sweeper.space import Space
from kdsweep.sweeper.study import OWNER, Claim, SweepStudy

if TYPE_CHECKING:
    from kdsweep.jobs.job import Job
    from kdsweep.sweeper.sweeper import KdsweepSweeper

LOOK_SECONDS = 2.0  # between looks at whether slots have come
SUBDIR = "${kdsweep.first:${trial},${hydra:job.num}}"  # as conf/config.yaml has it

log = logging.getLogger(__name__)


class SweepLoop:
    """One session of a study: it ends when the study has all its trials.

    Args:
        sweeper: Hydra's object, with launcher and configuration.
        arguments: the task overrides of the command line.
    """

    def __init__(self, sweeper: KdsweepSweeper, arguments: list[str]) -> None:
        assert sweeper.launcher is not None
        assert sweeper.hydra_context is not None
        assert sweeper.config is not None
        self.launcher = sweeper.launcher
        self.config = sweeper.config
        self.options = SweeperOptions.from_given(sweeper.options)
        params, sampler = dict(self.options.params or {}), self.options.sampler
        check_axes(params, arguments, grid=sampler["_target_"].endswith("GridSampler"))
        self.space = Space(params, arguments)
        self.space.distributions = distinct(self.space.distributions)
        refuse_categories(sampler["_target_"], self.space.distributions)
        self.sampler = create_sampler(self.config.hydra.sweeper.sampler)
        self.grid = is_grid(self.sampler)
        _refuse_subdir(self.config)
        refuse_chdir(self.config.hydra)
        refuse_handlers(self.config)
        self.datasets = Datasets()
        self.cells = Cells(sweeper.hydra_context, self.config, self.space, self.datasets)
        self.trained = False  # anything, in this session
        self.waited = False

    def run(self) -> StudyAddress:
        """Train what the study still lacks, and report; where the study is.

        Raises:
            UserError: before any training, for a request that can't be met.
            TrainingError: some trials failed.
        """
        points = self.space.cells(enqueued=self.options.enqueue) if self.grid else []
        self.cells.check(points or self.space.corners())
        self.typed = self.cells.config
        content = self.space.content(
            self.cells.first, self.config.hydra.sweeper.sampler, self.cells.plugins
        )
        name = study_name(
            self.config.study or self.options.study_name, list(self.space.distributions), content
        )
        with read_write(self.config), open_dict(self.config):
            self.config.study = name
        self.folder = Path(self.config.hydra.sweep.dir)
        directions = self._directions()
        pruner = create_pruner(self.typed.pruner, self.typed.train.epochs)
        if not self.grid:
            self.space.checked(self.options.enqueue)
        with (
            naming(self.options.storage),
            folder_of_study(self.folder, name) as keep,
            Session(self.typed, self.datasets) as session,
        ):
            self.session = session
            storage = self._open_storage()
            opened = open_study(
                name=name,
                storage=storage,
                directions=directions,
                sampler=optuna.samplers.RandomSampler(),  # never draws: see SweepStudy.ask
                pruner=pruner,
            )
            lease = Lease(storage, storage.get_study_id_from_name(name))
            self.study = SweepStudy(opened, storage, self.space.distributions, lease)
            with exclusive(storage, name):
                adopt(opened, content)
                adopt_axes(opened, self.space.distributions)
                adopt_sampler(opened, adaptive=self.adaptive)
                keep()
                self.study.unrecorded = unrecorded(self.study, self.folder)
                self.rounds = Rounds(
                    self.study, self.cells, points, self.folder, self.options.n_trials
                )
            self.ending = Ending(self.study, self.rounds, self.cells, self.folder, self.options)
            with lease, EnergyMeter() as meter:
                try:
                    try:
                        self._train_all(content)
                    finally:
                        if self.trained:
                            add_energy(self.folder, meter.read())
                    self.session.display.show(self.rounds.standing())
                    conclude(self.study, self.folder)
                except BaseException as error:
                    give_up(session, name, error)
                    raise
                report_study(
                    session,
                    self.typed,
                    self.folder,
                    name,
                    adaptive=self.adaptive,
                    optuna_study=opened,
                )
        self.ending.refuse_failures()
        return StudyAddress(
            name=name,
            storage=self.typed.storage,
            root=Path(self.typed.root),
            folder=self.folder,
            adaptive=self.adaptive,
        )

    def _open_storage(self) -> optuna.storages.RDBStorage:
        """The study's database, after whatever may be refused without making one."""
        url = self.typed.storage
        there = not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()
        storage = open_storage(url) if there else None
        self.session.tracker.prepare()
        return storage or open_storage(url)

    def _directions(self) -> Sequence[str]:
        """One for each objective: what it asks for, or what the user set."""
        given = self.options.direction
        if given is not None and len(given) != len(self.typed.objectives):
            raise UserError(
                f"hydra.sweeper.direction={','.join(given)}: allowed is minimize or maximize, one "
                f"for each objective ({', '.join(self.typed.objectives)})"
            )
        return given or self.typed.directions

    @property
    def adaptive(self) -> bool:
        """Whether cells were chosen by what earlier ones scored."""
        return not self.grid and not isinstance(self.sampler, NOT_ADAPTIVE)

    def _train_all(self, content: dict[str, object]) -> None:
        with exclusive(self.study.storage, self.study.name):
            self.ending.recover()
            if not self.grid:
                self.study.enqueue(self.space.checked(self.options.enqueue), DRAWN)
        if self.study.trials():
            lease = self.study.lease
            self.session.tracker.close_dangling(
                self.study.name, lambda owner: lease.is_lost(str(owner))
            )
        self.rounds.announce()
        fixed = content["fixed"]
        assert isinstance(fixed, dict)
        params = {**fixed, "search": self.space.describe()}
        parent = self.session.tracking.open_parent(self.study.name, params=params)
        axes = [key.lstrip("+") for key in self.space.distributions]
        open_page(self.session.tracker, parent, self.study.name, axes)
        timeout, started = self.options.timeout, time.monotonic()
        deadline = math.inf if timeout is None else started + timeout
        batches: list[_Batch] = []
        try:
            while True:
                while self._has_room(batches, deadline):
                    claims = self._next_claims(busy=bool(batches))
                    if not claims:
                        break
                    self.session.display.show(self.rounds.standing())
                    batches.append(self._start(claims))
                if not batches:
                    break
                look = LOOK_SECONDS if self.session.engine.grows else None
                go_on([one.training for one in batches], timeout=look)
                for batch in [one for one in batches if one.training.done]:
                    batches.remove(batch)
                    self._end(batch)
                    done = len(self.study.trials(TrialState.COMPLETE))
                    metrics = {"trials_complete": float(done)}
                    self.session.tracker.log_metrics(parent, metrics, step=done)
                if not batches and time.monotonic() > deadline:
                    log.info("timeout: %g s are over; the same command goes on", timeout)
                    break
        except BaseException as error:
            for batch in batches:
                batch.training.stop(error)
                self.ending.give_back(batch.claims, batch.jobs, error)
            raise

    def _has_room(self, batches: Sequence[_Batch], deadline: float) -> bool:
        """Whether another batch may begin: where cells are drawn by scores, one at a time."""
        if any(batch.training.done for batch in batches):
            return False
        return not batches or (
            time.monotonic() <= deadline and self.session.has_room and not self.adaptive
        )

    def _next_claims(self, *, busy: bool) -> list[Claim]:
        """Trials to train now; none where nothing is left, or living processes train the rest.

        Args:
            busy: this process trains others meanwhile, so there is no need to wait.
        """
        while True:
            with exclusive(self.study.storage, self.study.name):
                self.ending.recover()
                if batch := self._claim():
                    return batch
                if self.rounds.advance():
                    continue
                running = self.study.trials(TrialState.RUNNING)
            if busy or not running or not self._wait_for(running):
                return []

    def _claim(self) -> list[Claim]:
        """Start trials, while this process holds the study."""
        size = self.options.n_jobs or self._batch_size()
        missing = [u for u in self.study.missing(self.rounds.units) if u not in self.ending.failed]
        claims = [self.study.start(unit) for unit in missing[:size]]
        while len(claims) < size and self.rounds.wants_draws(len(self.ending.failed)):
            config = self.config.hydra.sweeper.sampler
            claims.append(
                self.study.ask(functools.partial(sampler_of, config, self.sampler), DRAWN)
            )
        for claim in claims:  # what a folder of this number holds is of a study that is no more
            (self.folder / str(claim.number) / RECORD).unlink(missing_ok=True)
        return claims

    def _batch_size(self) -> int:
        """Cells that are trained together: a kill loses no more of them."""
        on_gpu = self.cells.plans[0].hardware.device.type == "cuda"
        return batch_of_cells(self.session.engine.width, self.typed.seeds, on_gpu=on_gpu)

    def _wait_for(self, running: Sequence[optuna.trial.FrozenTrial]) -> bool:
        """Wait for trials of other processes; whether to look again.

        A process that lives reports what it trains; but the next round of a race can't begin
        without it.
        """
        lease = self.study.lease
        owners = {str(trial.user_attrs.get(OWNER)) for trial in running}
        living = {owner for owner in owners if lease.lives(owner)}
        if living == owners and not self.rounds.has_more:
            return False
        if not self.waited:
            log.info(
                "%d trials run in other processes, silent for %.0f s; waiting for them, or until "
                "they have been silent for %.0f s",
                len(running),
                max(lease.silent_for(owner) for owner in owners),
                lease.expired,
            )
            self.waited = True
        time.sleep(lease.renewed / 5)
        return True

    def _start(self, claims: Sequence[Claim]) -> _Batch:
        """Begin to train some trials."""
        jobs = [self.ending.job(claim) for claim in claims]
        self.trained = True
        try:
            training = Running(
                launch(
                    self.launcher,
                    self.session,
                    self.cells.composer,
                    jobs,
                    select(self.cells.plans, jobs),
                    create_pruning(self.study.storage),
                )
            )
        except BaseException as error:
            self.ending.give_back(claims, jobs, error)
            raise
        return _Batch(claims=claims, jobs=jobs, training=training)

    def _end(self, batch: _Batch) -> None:
        """End the trials of a batch that has been trained."""
        try:
            errors = batch.training.result()
        except BaseException as error:
            self.ending.give_back(batch.claims, batch.jobs, error)
            raise
        self.ending.end(batch.claims, batch.jobs, errors)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Trials that train together."""

    claims: Sequence[Claim]
    jobs: Sequence[Job]
    training: Running[list[BaseException | None]]


def _refuse_subdir(config: DictConfig) -> None:
    """A trial's folder is named by its number: that is where its record is looked for."""
    plain: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    given = plain["subdir"]
    if given not in (SUBDIR, "${trial}"):
        raise UserError(
            f"hydra.sweep.subdir={given}: allowed is to leave it out, since every trial's folder "
            "is named by its number; hydra.sweep.dir=FOLDER moves them all"
        )
