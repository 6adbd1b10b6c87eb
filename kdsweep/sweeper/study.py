"""The trials of a sweep's Optuna study: which are missing, claimed, finished, lost, given back.

A trial is one cell in one round. A grid's trials are not queued: whoever holds the study
(``exclusive``) reads which units have no trial yet and starts some of them, so several processes
never train the same one, whatever the storage locks by itself. A failure that would not repeat
itself leaves its unit missing, and the next claim takes it up again.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from kdsweep.config.secrets import hide_passwords
from kdsweep.results.record import COMPLETE, PRUNED, Record
from kdsweep.sweeper.dashboard import curve
from kdsweep.sweeper.lease import Lease

log = logging.getLogger(__name__)

OWNER = "kdsweep:owner"  # the process that trains, or trained, the trial
ROUND = "kdsweep:round"  # of the race
REASON = "kdsweep:reason"  # why it failed or was pruned
FINAL = "kdsweep:final"  # a failure that would only repeat itself
LOST = "kdsweep:lost"  # its process died

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}

Point = Mapping[str, Any]


class Unit(NamedTuple):
    """What a trial trains: a cell in a round. 1 and 1.0 are the same value of a cell."""

    point: frozenset[tuple[str, Any]]
    round: int

    @classmethod
    def of(cls, point: Point, round_: int) -> Unit:
        """The unit of a point."""
        return cls(frozenset(point.items()), round_)


class Claim(NamedTuple):
    """A trial that this process trains."""

    number: int
    trial_id: int  # the storage's own
    point: Point
    round: int


class SweepStudy:
    """A study as a sweep uses it.

    Args:
        study: opened.
        storage: the one it was opened with.
        distributions: of the axes.
        lease: of this process.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: RDBStorage,
        distributions: Mapping[str, BaseDistribution],
        lease: Lease,
    ) -> None:
        self.study = study
        self.storage = storage
        self.study_id = lease.study_id
        self.distributions = dict(distributions)
        self.lease = lease
        self.unrecorded: frozenset[int] = frozenset()  # trials that count as untrained

    @property
    def name(self) -> str:
        """The study's."""
        return self.study.study_name

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in some states, or all of them."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def settled(self) -> set[Unit]:
        """Units that need no training any more: finished, or failed for good."""
        return {unit_of(trial) for trial in self.trials() if self._is_settled(trial)}

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """Those that no trial has finished, has failed for good, or is training now."""
        there = {
            unit_of(trial)
            for trial in self.trials()
            if self._is_settled(trial) or trial.state == TrialState.RUNNING
        }
        return [unit for unit in units if unit not in there]

    def _is_settled(self, trial: FrozenTrial) -> bool:
        return is_settled(trial) and trial.number not in self.unrecorded

    def lost(self) -> list[FrozenTrial]:
        """Trials that ended processes left RUNNING; the study is held by this process."""
        running = self.trials(TrialState.RUNNING)
        dead = {
            owner: owner is None or self.lease.is_lost(owner)
            for owner in {trial.user_attrs.get(OWNER) for trial in running}
        }
        return [trial for trial in running if dead[trial.user_attrs.get(OWNER)]]

    def start(self, unit: Unit) -> Claim:
        """Start the trial of a unit; the study is held by this process."""
        point = dict(unit.point)
        ordered = {key: point[key] for key in self.distributions}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=ordered,
            distributions=self.distributions,
            user_attrs={OWNER: str(self.lease.owner), ROUND: unit.round},
        )
        trial_id = self.storage.create_new_trial(self.study_id, template_trial=template)
        number = self.storage.get_trial_number_from_id(trial_id)
        return Claim(number, trial_id, ordered, unit.round)

    def ask(self, sampler: Callable[[int], optuna.samplers.BaseSampler], round_: int) -> Claim:
        """Start the trial that waits, or one that the sampler of its number draws."""
        self.study.sampler = sampler(self.storage.get_n_trials(self.study_id))
        trial = self.study.ask(self.distributions)
        trial.set_user_attr(OWNER, str(self.lease.owner))
        trial.set_user_attr(ROUND, round_)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(
            self.study_id, trial.number
        )
        return Claim(trial.number, trial_id, trial.params, round_)

    def claim_of(self, trial: FrozenTrial) -> Claim:
        """A trial that another process had started."""
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(
            self.study_id, trial.number
        )
        return Claim(trial.number, trial_id, trial.params, trial.user_attrs.get(ROUND, 0))

    def finish(self, claim: Claim, record: Record) -> None:
        """End a trial with its record, which is complete or pruned."""
        if self.study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.set_metric_names(list(record.objectives))
        for key, value in attributes(record).items():
            self._set(claim, key, value)
        state = _STATES[record.state]
        if (
            state == TrialState.COMPLETE
            and not self.storage.get_trial(claim.trial_id).intermediate_values
        ):  # of a pruned trial Optuna would take the last one for its value
            for epoch, value in curve(record).items():
                self.storage.set_trial_intermediate_value(claim.trial_id, epoch, value)
        values = list(record.values) if state == TrialState.COMPLETE else None
        self.study.tell(claim.number, values, state)

    def fail(self, claim: Claim, reason: str, *, final: bool, record: Record | None) -> None:
        """End a trial that gave no value."""
        for key, value in ({} if record is None else attributes(record)).items():
            self._set(claim, key, value)
        self._set(claim, REASON, hide_passwords(reason))
        if final:
            self._set(claim, FINAL, True)
        self._tell_failed(claim)

    def give_up_lost(self, claim: Claim, *, max_retries: int) -> bool:
        """Fail a trial whose process died; whether its unit may be tried again."""
        unit = Unit.of(claim.point, claim.round)
        before = Counter(
            unit_of(trial) for trial in self.trials(TrialState.FAIL) if LOST in trial.user_attrs
        )
        times = before[unit] + 1
        self._set(claim, LOST, True)
        self._set(claim, REASON, "its process died")
        if times > max_retries:
            log.warning("trial %d: its process died, %d times by now", claim.number, times)
            self._set(claim, FINAL, True)
        self._tell_failed(claim)
        return times <= max_retries

    def enqueue(self, points: Sequence[Point], round_: int) -> None:
        """Let points wait that have no trial yet; ``ask`` takes those first."""
        there = {unit_of(trial) for trial in self.trials() if trial.state != TrialState.FAIL}
        for point in points:
            if Unit.of(point, round_) not in there:
                self.study.enqueue_trial(dict(point), user_attrs={ROUND: round_})

    def _set(self, claim: Claim, key: str, value: Any) -> None:
        self.storage.set_trial_user_attr(claim.trial_id, key, value)

    def _tell_failed(self, claim: Claim) -> None:
        self.study.tell(claim.number, state=TrialState.FAIL)


def unit_of(trial: FrozenTrial) -> Unit:
    """What a trial trains; one that waits has its point among its fixed parameters."""
    point = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    return Unit.of(point, trial.user_attrs.get(ROUND, 0))


def is_settled(trial: FrozenTrial) -> bool:
    """Whether training it again would not say more."""
    return trial.state in FINISHED or bool(trial.user_attrs.get(FINAL))


def attributes(record: Record) -> dict[str, Any]:
    """What the study keeps of a record, beside the values."""
    return {
        "seeds": {
            str(seed): {"mlflow_run_id": kept.run_id, "metrics": dict(kept.metrics)}
            for seed, kept in record.seeds.items()
        },
        "baselines": {str(one.seed): dict(one.metrics) for one in record.baselines},
        "mlflow_run_id": record.run_id,
        "seconds": record.seconds,
    }
