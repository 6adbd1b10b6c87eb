"""A package in MLflow's model registry: what is told of it there, and how it is served."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from kdsweep.config.secrets import HIDDEN
from kdsweep.errors import UserError
from kdsweep.jobs.logger import KEY
from kdsweep.package.build import CARD, Prepared
from kdsweep.package.manifest import Manifest
from kdsweep.tracking import registry
from kdsweep.tracking.store import Store

PORT = 5001  # `mlflow ui` listens on 5000


def registry_of_study(prepared: Prepared, uri: str | None) -> Store:
    """The store whose registry the model goes to: the study's own, or the one that is named.

    Raises:
        UserError: the study has none, or its address has a password, which is not kept.
    """
    tracking = prepared.config.tracking
    if uri is not None:
        tracking = dataclasses.replace(tracking, backend="server", uri=uri)
    if tracking.uri is not None and HIDDEN in tracking.uri:
        raise UserError(
            f"tracking.uri={tracking.uri}: its password is not kept with the study; give "
            "tracking.uri=URL"
        )
    return registry.registry_of(tracking, root=prepared.study.root)


def register_package(prepared: Prepared, package: Path, name: str, store: Store) -> None:
    """Register a written package, and print how it is loaded and served.

    Raises:
        UserError: the store can't be reached or written.
    """
    manifest, weights = prepared.manifest, prepared.choice.weights
    made = registry.register(
        package,
        name,
        store,
        run=weights.run,
        key=(KEY, weights.key or ""),
        image_size=manifest.image_size,
        tags=_tags(manifest),
        description=(package / CARD).read_text().partition("\n---\n")[2].strip(),
    )
    linked = "its run is not in this store" if made.run is None else f"run {made.run}"
    print(
        f"Registered: {made.uri} ({linked})\n"
        "Serve it:\n"
        f"  MLFLOW_TRACKING_URI={made.store} mlflow models serve -m {made.uri} "
        f"--env-manager local -p {PORT}\n"
        "and ask it:\n"
        f'  echo \'{{"dataframe_records": [{{"picture": "\'$(base64 -w0 PICTURE)\'"}}]}}\' | '
        f"curl -H 'Content-Type: application/json' -d @- http://127.0.0.1:{PORT}/invocations"
    )


def _tags(manifest: Manifest) -> dict[str, str]:
    """What MLflow's table of versions can be read by."""
    told = {
        "study": manifest.study,
        "role": manifest.role,
        "cell": manifest.cell,
        "trial": manifest.trial,
        "seed": manifest.seed,
        "architecture": manifest.architecture,
        "dataset": manifest.dataset,
        "accuracy": f"{manifest.accuracy:.2f} % of {manifest.accuracy_split} images",
        "expected": manifest.expected,
        "verdict": manifest.verdict_sentence,
    }
    if manifest.warning is not None:
        told["warning"] = manifest.warning
    return {f"kdsweep.{key}": str(value) for key, value in told.items()}
