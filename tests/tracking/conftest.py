from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdsweep.config import TrackingConfig
from kdsweep.tracking import Tracker, create_tracker, database
from kdsweep.tracking.store import Store, resolve

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store of the user's is touched, whatever the environment says."""
    for name in ("TRACKING_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID", "RUN_ID"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables with nothing in them: seconds of migrations, paid once."""
    folder = tmp_path_factory.mktemp("empty")
    tracker = create_tracker(TrackingConfig(), root=folder)
    tracker.prepare()
    tracker.shutdown()
    from mlflow import MlflowClient

    client = MlflowClient(tracker.uri, tracker.uri)
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    assert experiment.artifact_location == str(folder / "artifacts")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    client.rename_experiment(experiment.experiment_id, "of the template")
    return folder / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    """A root whose store has been created before."""
    root = tmp_path / "mlruns"
    root.mkdir()
    shutil.copy(empty_database, root / "mlflow.db")
    return root


@pytest.fixture
def store(root: Path) -> Store:
    return resolve(TrackingConfig(), root=root)


@pytest.fixture
def tracker(root: Path) -> Iterator[Tracker]:
    tracker = create_tracker(TrackingConfig(), root=root)
    yield tracker
    tracker.shutdown()


@pytest.fixture
def client(tracker: Tracker) -> MlflowClient:
    """MLflow's own client on the tracker's store."""
    tracker.prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracker.uri, tracker.uri)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is given up at once."""
    monkeypatch.setattr(database, "LOCKED_S", 0.2)
