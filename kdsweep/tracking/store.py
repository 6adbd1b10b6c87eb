"""Which store the runs go to.

The address is ``tracking.uri``; without it MLflow's own variable ``MLFLOW_TRACKING_URI``; without
that the SQLite file ``mlflow.db`` under kdsweep's root. The experiment is ``tracking.experiment``
unless that is left at its default and ``MLFLOW_EXPERIMENT_NAME`` names another. No other MLflow
variable chooses runs or experiments (``MLFLOW_RUN_ID`` and ``MLFLOW_EXPERIMENT_ID`` do not).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kdsweep.config import TrackingConfig
from kdsweep.config.secrets import HIDDEN, hide_passwords
from kdsweep.errors import UserError
from kdsweep.tracking.links import LOCAL_UI, page

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"


@dataclass(frozen=True, kw_only=True)
class Store:
    """An address, and what is known of it before MLflow is imported."""

    uri: str
    origin: str  # the setting that chose it, as the user writes it, for messages
    experiment: str
    lock: Path  # held by one process of this root at a time, for what must not race
    database: Path | None = None  # the file, where the store is SQLite; absolute
    whole: bool = False  # root was given as a whole path, so that is how paths are shown
    artifacts: Path | None = None  # where a new experiment keeps its files; None: a server chooses

    @property
    def ui(self) -> str:
        """The address of the UI: the server itself, or where ``mlflow ui`` listens."""
        return page(self.uri) if self.uri.startswith("http") else LOCAL_UI


def resolve(config: TrackingConfig, *, root: Path) -> Store:
    """Choose the store.

    Raises:
        UserError: The address is one that MLflow can't keep runs at.
    """
    whole, root = root.is_absolute(), root.absolute()
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    experiment = config.experiment
    if experiment == TrackingConfig.experiment:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
    if config.uri:
        uri, origin = config.uri, f"tracking.uri={hide_passwords(config.uri)}"
    elif environment:
        uri, origin = environment, f"MLFLOW_TRACKING_URI={hide_passwords(environment)}"
    else:
        uri, origin = f"sqlite:///{(root / DATABASE).as_posix()}", f"root={root}"

    if HIDDEN in uri:
        raise UserError(f"{origin}: {HIDDEN} stands for its password; give that as well")
    scheme = uri.partition(":")[0] if ":" in uri else ""
    dialect = scheme.partition("+")[0]
    if dialect == "sqlite":
        database = _sqlite_file(uri, origin)
        return Store(
            uri=f"sqlite:///{database.as_posix()}",
            origin=origin,
            experiment=experiment,
            lock=database.with_name(database.name + ".lock"),
            database=database,
            whole=whole,
            artifacts=database.parent / ARTIFACTS,
        )
    if scheme in ("", "file"):
        raise UserError(
            f"{origin}: MLflow no longer keeps runs in plain folders; allowed is "
            "sqlite:///FILE.db, postgresql://... or a server's http://HOST:PORT"
        )
    return Store(
        uri=uri,
        origin=origin,
        experiment=experiment,
        lock=root / "tracking.lock",
        artifacts=root / ARTIFACTS if dialect in ("postgresql", "mysql", "mssql") else None,
    )


def _sqlite_file(uri: str, origin: str) -> Path:
    path = uri.partition(":///")[2]
    if not path or path == ":memory:":
        raise UserError(f"{origin}: runs need a file; allowed is sqlite:///FILE.db")
    if "?" in path or "%" in path:
        raise UserError(
            f"{origin}: MLflow can't open a SQLite file whose path holds '?' or '%'; "
            "choose another folder"
        )
    return Path(path).absolute()
