from __future__ import annotations

from pathlib import Path

import pytest

from kdsweep.config import TrackingConfig
from kdsweep.errors import UserError
from kdsweep.tracking.store import resolve


def test_the_default_is_a_file_under_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = resolve(TrackingConfig(), root=Path("mlruns"))
    assert store.uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert store.database == tmp_path / "mlruns" / "mlflow.db"
    assert store.artifacts == tmp_path / "mlruns" / "artifacts"
    assert store.experiment == "kdsweep"
    assert not (tmp_path / "mlruns").exists()
    assert not store.whole
    assert resolve(TrackingConfig(), root=tmp_path / "mlruns").whole


def test_the_environment_wins_over_the_default_and_the_setting_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:1")
    store = resolve(TrackingConfig(), root=tmp_path)
    assert (store.uri, store.origin) == (
        "http://environment:1",
        "MLFLOW_TRACKING_URI=http://environment:1",
    )
    chosen = TrackingConfig(backend="server", uri="http://setting:2")
    store = resolve(chosen, root=tmp_path)
    assert (store.uri, store.origin) == ("http://setting:2", "tracking.uri=http://setting:2")


def test_the_environment_names_the_experiment_unless_the_setting_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "environment")
    assert resolve(TrackingConfig(), root=tmp_path).experiment == "environment"
    chosen = TrackingConfig(experiment="setting")
    assert resolve(chosen, root=tmp_path).experiment == "setting"


def test_a_password_that_is_hidden_is_asked_for(tmp_path: Path) -> None:
    config = TrackingConfig(backend="server", uri="http://u:***@h:1")
    with pytest.raises(
        UserError, match=r"^tracking.uri=http://u:\*\*\*@h:1: .* give that as well"
    ):
        resolve(config, root=tmp_path)


def test_another_sqlite_file_keeps_its_artefacts_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = resolve(TrackingConfig(uri="sqlite:///shared/runs.db"), root=tmp_path / "mlruns")
    assert store.uri == f"sqlite:///{tmp_path}/shared/runs.db"
    assert store.artifacts == tmp_path / "shared" / "artifacts"
    assert store.lock == tmp_path / "shared" / "runs.db.lock"


def test_a_database_server_keeps_artefacts_under_the_root_and_a_server_keeps_its_own(
    tmp_path: Path,
) -> None:
    store = resolve(TrackingConfig(uri="postgresql+psycopg2://u:secret@h/d"), root=tmp_path)
    assert (store.database, store.artifacts) == (None, tmp_path / "artifacts")
    assert "secret" not in store.origin
    store = resolve(TrackingConfig(uri="http://h:5000"), root=tmp_path)
    assert (store.database, store.artifacts, store.ui) == (None, None, "http://h:5000")


@pytest.mark.parametrize("uri", ["mlruns", "/abs/mlruns", "file:///tmp/x"])
def test_plain_folders_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match=r"tracking\.uri=.*sqlite:///FILE\.db"):
        resolve(TrackingConfig(uri=uri), root=tmp_path)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_a_database_in_memory_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="runs need a file"):
        resolve(TrackingConfig(uri=uri), root=tmp_path)


@pytest.mark.parametrize("name", ["100%", "why?"])
def test_a_root_that_mlflow_cannot_open_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"^root=.*another folder$"):
        resolve(TrackingConfig(), root=tmp_path / name)
