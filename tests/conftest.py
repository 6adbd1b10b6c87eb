"""What all tests share: a quiet environment, and kdsweep as a command of its own process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from optuna.trial import FrozenTrial

REPOSITORY = Path(__file__).parent.parent

# Read when torch's OpenMP starts: threads that wait by spinning starve a machine's other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["MPLBACKEND"] = "agg"
for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "HYDRA_"))]:
    del os.environ[_name]  # a developer's own stores and switches


@pytest.fixture(scope="module", autouse=True)
def _plugins_of_a_module() -> Iterator[None]:
    """What a module's tests register is gone afterwards: a process runs other modules' too."""
    with forgetting_plugins():
        yield


@pytest.fixture(scope="module")
def composing() -> Iterator[None]:
    """What composes configurations in this process, as the command does."""
    import torch
    from hydra import initialize_config_dir

    from kdsweep.config.paths import conf_dir
    from kdsweep.sweeper.plugins import register

    register()
    threads = torch.get_num_threads()
    with initialize_config_dir(str(conf_dir())):
        yield
    torch.set_num_threads(threads)


@contextlib.contextmanager
def forgetting_plugins() -> Iterator[None]:
    """Forget what plugins add meanwhile, and that they were imported."""
    from kdsweep import registry
    from kdsweep.data.sources.registered import DATASETS
    from kdsweep.losses.registry import LOSSES
    from kdsweep.models.registry import ARCHITECTURES
    from kdsweep.plugins import imported

    registries = (LOSSES, ARCHITECTURES, DATASETS)
    tables = [registry.ORIGINS, imported._IMPORTED, *(one._entries for one in registries)]
    before, modules = [dict(table) for table in tables], set(sys.modules)
    try:
        yield
    finally:
        added = {*registry.ORIGINS.values(), *imported._IMPORTED} - {"__main__"}
        for table, kept in zip(tables, before, strict=True):
            table.clear()
            table.update(kept)
        for name in added & (set(sys.modules) - modules):
            del sys.modules[name]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended, and where it wrote."""

    folder: Path
    ended: Ended

    @cached_property
    def study(self) -> str:
        found = re.search(r"python -m kdsweep\.export study=(\S+)", self.ended.out)
        assert found is not None
        return found.group(1)

    @property
    def trials(self) -> list[FrozenTrial]:
        import optuna

        storage = f"sqlite:///{self.folder}/mlruns/optuna.db"
        return optuna.load_study(study_name=self.study, storage=storage).trials

    @property
    def mlflow(self) -> MlflowClient:
        from mlflow import MlflowClient

        uri = f"sqlite:///{self.folder}/mlruns/mlflow.db"
        return MlflowClient(uri, uri)

    @property
    def runs(self) -> dict[str, list[Run]]:
        """The study's runs by role, oldest first; the parent's is sweep."""
        experiment = self.mlflow.get_experiment_by_name("kdsweep")
        assert experiment is not None
        found: dict[str, list[Run]] = {}
        for run in self.mlflow.search_runs(
            [experiment.experiment_id],
            f"tags.`kdsweep.study` = '{self.study}'",
            order_by=["attributes.start_time ASC"],
        ):
            tags = run.data.tags
            found.setdefault(tags.get("kdsweep.role", tags["kdsweep.kind"]), []).append(run)
        found.get("student", []).sort(key=lambda run: int(run.data.tags["kdsweep.trial"]))
        return found

    def job(self, number: int) -> Path:
        return self.folder / "mlruns" / "hydra" / "studies" / self.study / str(number)

    def record(self, number: int) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.job(number) / "result.json").read_text())
        return loaded


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def command() -> Command:
    """Run ``python -m kdsweep ARGUMENTS`` in a folder, as a user does."""

    def run(
        *arguments: str,
        cwd: Path,
        module: str = "kdsweep",
        path: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(path), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(status=done.returncode, out=done.stdout, err=done.stderr)

    return run


def _needed(name: str) -> str:
    """A service that CI provides; elsewhere its tests are skipped where it is not."""
    value = os.environ.get(name)
    if value is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not set: .ci/run should provide it")
    if value is None:
        pytest.skip(f"{name} is not set; .ci/run shows how to provide it")
    return value


@pytest.fixture(scope="session")
def postgres() -> str:
    """The address of an empty PostgreSQL database."""
    return _needed("KDSWEEP_TEST_POSTGRES")


@pytest.fixture(scope="session")
def slurm() -> str:
    """The configuration of a Slurm that runs (tests/engines/slurm/start.sh)."""
    return _needed("KDSWEEP_TEST_SLURM")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser that can run without a screen."""
    return _needed("KDSWEEP_TEST_CHROMIUM")
