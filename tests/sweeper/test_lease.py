"""Whose trials are lost: a process that is seen is looked up; of others their signs tell."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage

from kdsweep.sweeper import study as studies
from kdsweep.sweeper.lease import EXPIRED, LEASE, RENEWED, Lease
from kdsweep.sweeper.opening import open_storage
from kdsweep.sweeper.study import SweepStudy
from kdsweep.tracking.owner import Owner, this_process
from tests.sweeper.survival import REPOSITORY

NOW = 1_000_000.0
DEAD = str(dataclasses.replace(this_process(), start="0"))
CONTAINER = str(dataclasses.replace(this_process(), space="pid:[1]"))
HOST = str(dataclasses.replace(this_process(), host="elsewhere", boot="another"))
NAMESAKE = str(dataclasses.replace(this_process(), boot="another"))  # a host of the same name
SPACE = {"a": FloatDistribution(0, 1)}


class Clock:
    """Stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(tmp_path: Path) -> RDBStorage:
    made = open_storage(f"sqlite:///{tmp_path}/s.db")
    optuna.create_study(study_name="s", storage=made)
    return made


@pytest.fixture
def lease(storage: RDBStorage, clock: Clock) -> Lease:
    return Lease(storage, storage.get_study_id_from_name("s"), clock=clock)


def sign(lease: Lease, owner: str, when: float) -> None:
    """The sign of life that another process gives."""
    lease.storage.set_study_user_attr(lease.study_id, LEASE + owner, when)


def test_a_dead_process_of_this_machine_is_lost_at_once(lease: Lease) -> None:
    sign(lease, DEAD, NOW)
    assert lease.is_lost(DEAD)


def test_a_living_process_of_this_machine_is_not_lost_however_silent(
    lease: Lease, clock: Clock
) -> None:
    """One that is stopped, or whose database was away, trains on."""
    sign(lease, str(lease.owner), NOW)
    clock.now += 100 * EXPIRED
    assert not lease.is_lost(str(lease.owner))


@pytest.mark.parametrize(
    "owner", [CONTAINER, HOST, NAMESAKE], ids=["container", "host", "namesake"]
)
def test_a_process_that_is_not_seen_is_lost_after_a_minute_of_silence(
    lease: Lease, clock: Clock, owner: str
) -> None:
    sign(lease, owner, NOW)
    assert not lease.is_lost(owner)
    clock.now = NOW + EXPIRED
    assert not lease.is_lost(owner)
    clock.now = NOW + EXPIRED + 1
    assert lease.is_lost(owner)


def test_signs_of_life_keep_a_process_its_trials(lease: Lease, clock: Clock) -> None:
    for _ in range(10):
        sign(lease, HOST, clock.now)
        clock.now += EXPIRED - 1
        assert not lease.is_lost(HOST)
    assert lease.silent_for(HOST) == EXPIRED - 1


def test_signs_of_another_process_do_not_count(lease: Lease, clock: Clock) -> None:
    sign(lease, HOST, NOW)
    clock.now += EXPIRED + 1
    sign(lease, CONTAINER, clock.now)
    lease.renew()
    assert lease.is_lost(HOST)
    assert not lease.is_lost(CONTAINER)


def test_a_process_that_never_gave_a_sign_is_lost(lease: Lease) -> None:
    assert lease.is_lost(HOST)
    assert lease.silent_for(HOST) == float("inf")


@pytest.mark.parametrize("owner", ["", "pid=3", "pid=x host=a boot=b space=c start=0", "{}"])
def test_an_owner_that_cannot_be_read_is_lost(lease: Lease, owner: str) -> None:
    sign(lease, owner, NOW)
    assert lease.is_lost(owner)


def test_what_lives_for_certain(lease: Lease) -> None:
    assert lease.lives(str(lease.owner))  # it is seen
    sign(lease, HOST, NOW - 1)
    assert not lease.lives(HOST)  # it may have been killed since
    assert not lease.lives(HOST)
    sign(lease, HOST, NOW)
    assert lease.lives(HOST)


def test_the_trials_of_lost_processes_alone_are_lost(
    storage: RDBStorage, lease: Lease, clock: Clock
) -> None:
    study = SweepStudy(optuna.load_study(study_name="s", storage=storage), storage, SPACE, lease)
    for owner in (DEAD, HOST, CONTAINER, str(lease.owner), "nobody"):
        trial = study.study.ask(SPACE)
        trial.set_user_attr(studies.OWNER, owner)
    sign(lease, HOST, NOW - EXPIRED - 1)
    sign(lease, CONTAINER, NOW)
    assert [trial.number for trial in study.lost()] == [0, 1, 4]


def test_a_session_gives_signs_of_life_until_it_ends(storage: RDBStorage, clock: Clock) -> None:
    given, several = list[float](), threading.Event()

    class Watched(Lease):
        def renew(self) -> None:
            super().renew()
            given.append(self.silent_for(str(self.owner)))
            if len(given) >= 3:
                several.set()

    study_id = storage.get_study_id_from_name("s")
    with Watched(storage, study_id, renewed=0.001, clock=clock):
        assert given  # the first one before anything else
        assert several.wait(60)
    assert set(given) == {0.0}
    assert not [thread for thread in threading.enumerate() if thread.name == "kdsweep-lease"]


def test_a_database_that_is_away_for_a_while_ends_no_session(storage: RDBStorage) -> None:
    tried = threading.Event()
    calls = list[int]()

    class Away(Lease):
        def renew(self) -> None:
            calls.append(1)
            if 1 < len(calls) < 4:
                raise OSError("the network is down")
            if len(calls) >= 5:
                tried.set()

    with Away(storage, storage.get_study_id_from_name("s"), renewed=0.001):
        assert tried.wait(60)


def test_a_minute_is_several_signs_of_life() -> None:
    assert EXPIRED >= 5 * RENEWED


SWEEP = (
    sys.executable, "-m", "tests.sweeper.quick_lease", "-m", "experiment=smoke", "tracking=none",
    "data.train_limit=256", "train.threads=1", "study=s", "hydra.sweeper.n_jobs=1",
    "distill.temperature=1,2,3",
)  # fmt: skip
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


def namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


def ended(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder}/mlruns/optuna.db"
    return optuna.load_study(study_name="s", storage=storage).trials


def test_what_a_killed_process_leaves_is_trained_in_another_namespace(tmp_path: Path) -> None:
    if not namespaces():
        pytest.skip("no namespace of process ids can be made here (unshare --pid)")
    assert ended(tmp_path, *SWEEP, DIES="1").returncode == -signal.SIGKILL
    (left,) = trials(tmp_path)
    assert left.state.name == "RUNNING"
    again = ended(tmp_path, *NAMESPACE, *SWEEP)
    assert again.returncode == 0, again.stderr
    found = trials(tmp_path)
    assert [trial.state.name for trial in found] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert found[0].user_attrs[studies.REASON] == "its process died"
    assert sorted(trial.params["distill.temperature"] for trial in found[1:]) == [1, 2, 3]
    spaces = [Owner.parse(trial.user_attrs[studies.OWNER]).space for trial in found]
    assert len(set(spaces[1:])) == 1
    assert spaces[0] not in spaces[1:]
