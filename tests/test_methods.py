"""Every way to distil trains on real images, and none is silently another or the baseline."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import typed
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from kdsweep.results.record import Record
from kdsweep.sweeper.plugins import register

METHODS = sorted(path.stem for path in (conf_dir() / "distill").glob("*.yaml"))
QUICK = (
    *("experiment=smoke", "tracking=none", "data.train_limit=256"),
    *("train.epochs=1", "train.fuse=loop", "train.threads=1", "train.precision=float32"),
    "teacher.epochs=8",
)
SMALLER = {
    "crd": ("distill.losses.crd.negatives=64",),
    "data_free": ("distill.generator.latent=16", "distill.generator.steps=3"),
    "data_free_adversarial": ("distill.generator.latent=16", "distill.generator.steps=6"),
    "deep_inversion": (
        *("distill.inversion.images=64", "distill.inversion.batch_size=32"),
        "distill.inversion.iterations=3",
    ),
    "ensemble": ("teacher.ensemble=2",),
    "progressive": ("teacher.assistants=[{name: cifar_student, width: 0.5}]",),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """What one epoch with each method gave, from one root, so that teachers are shared."""
    root: Path = tmp_path_factory.mktemp("methods")
    register()
    jobs = []
    with initialize_config_dir(str(conf_dir())):
        for method in METHODS:
            more = SMALLER.get(method, ())
            config = compose("config", [*QUICK, f"root={root}", f"distill={method}", *more])
            (root / method).mkdir()
            jobs.append(Job(config=typed(config), folder=root / method))
    with Session(jobs[0].config) as session:
        outcomes = run_plans(session, plan(jobs))
    trained = {}
    for folder, outcome in outcomes.items():
        assert outcome.error is None, outcome.error
        assert outcome.record is not None
        trained[folder.name] = outcome.record
    return trained


@pytest.mark.parametrize("method", METHODS)
def test_it_trains(records: dict[str, Record], method: str) -> None:
    record = records[method]
    assert record.state == "complete", record.reason
    assert len(record.seeds[0].history) == 1


def test_no_two_methods_are_the_same(records: dict[str, Record]) -> None:
    ends = {method: record.seeds[0].history[0] for method, record in records.items()}
    for one, other in itertools.combinations(ends, 2):
        apart = [abs(ends[one][key] - ends[other][key]) for key in ("val_nll", "val_ece")]
        assert max(apart) > 1e-6, (one, other, ends[one])
