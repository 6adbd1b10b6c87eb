"""A packaged model in MLflow's model registry, where it can be loaded and served."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.config import TrackingConfig
from kdsweep.config.secrets import hide_passwords
from kdsweep.errors import UserError
from kdsweep.tracking import calls
from kdsweep.tracking.connect import connect, environment, refused
from kdsweep.tracking.params import MAX_TAG, clip
from kdsweep.tracking.store import Store, resolve

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

SERVING = Path(__file__).with_name("serving.py")
PICTURE = "picture"  # the only column of the input
NEEDS = ("mlflow", "numpy", "onnxruntime", "pandas", "pillow")  # of whoever serves it


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of a registered model."""

    uri: str  # models:/NAME/VERSION
    store: str  # MLflow's address
    run: str | None  # that it is linked to


def check_name(name: str) -> None:
    """See that MLflow takes a name.

    Raises:
        UserError: it does not.
    """
    if not name.strip() or any(sign in name for sign in "/:"):
        raise UserError(f"register={name}: allowed is a name without / and :")


def registry_of(config: TrackingConfig, *, root: Path) -> Store:
    """The store whose registry a study's models belong to; nothing is opened yet.

    Raises:
        UserError: the study was tracked nowhere.
    """
    if config.backend == "none":
        raise UserError(
            "register=: the study was swept with tracking=none; name a store with "
            "tracking.uri=URL, such as sqlite:///mlruns/mlflow.db"
        )
    return resolve(config, root=root)


def register(
    package: Path,
    name: str,
    store: Store,
    *,
    run: str | None,
    key: tuple[str, str],
    image_size: int,
    tags: Mapping[str, str],
    description: str,
) -> Registered:
    """Log a package as a model that MLflow can load and serve, and register a version of it.

    Args:
        package: the folder, with its ``model.onnx``.
        name: of the registered model, which is made where there is none.
        store: where.
        run: the run that trained it, as far as it is known by its id.
        key: else a tag with its value that only such runs have.
        image_size: pixels, of the example.
        tags: of the version.
        description: of the version, in Markdown.

    Raises:
        UserError: the store can't be reached or written.
    """
    client, experiment = connect(store)
    # The registry of a database asks for the model at MLflow's default address.
    ours = {
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_REGISTRY_URI": store.uri,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    with (
        refused(store),
        environment(ours),
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("ignore")  # MLflow's, of its own parts
        found = _run(client, experiment, run, key)
        model = client.create_logged_model(experiment, name, source_run_id=found)
        try:
            _save(Path(folder) / "model", package, image_size, model_id=model.model_id, run=found)
            client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        except BaseException:
            client.finalize_logged_model(model.model_id, "FAILED")
            raise
        client.finalize_logged_model(model.model_id, "READY")
        if found is not None:
            calls.log_model(client, found, model.model_id)
        calls.ensure_registered(client, name)
        made = client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run_id=found,
            tags={tag: clip(value, MAX_TAG) for tag, value in tags.items()},
            description=description,
            model_id=model.model_id,
        )
    return Registered(
        uri=f"models:/{name}/{made.version}", store=hide_passwords(store.uri), run=found
    )


def _run(
    client: MlflowClient, experiment: str, run: str | None, key: tuple[str, str]
) -> str | None:
    """The run that trained the model, if the store has it."""
    known = None if run is None else calls.find_run(client, run)
    if known is not None:
        return known
    tag, value = key
    found = calls.search(client, experiment, f"tags.`{tag}` = '{value}'") if value else []
    return str(found[-1].info.run_id) if found else None


def _save(folder: Path, package: Path, image_size: int, *, model_id: str, run: str | None) -> None:
    """Write the model's files: the package, the code that runs it, its signature, an example."""
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema

    save_model(
        folder,
        python_model=str(SERVING),
        artifacts={"package": str(package)},
        signature=ModelSignature(
            Schema([ColSpec(DataType.binary, PICTURE)]),
            Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]),
        ),
        input_example=_example(image_size),
        pip_requirements=[f"{name}=={version(name)}" for name in NEEDS],
        mlflow_model=Model(model_id=model_id, run_id=run),
    )


def _example(size: int) -> pd.DataFrame:
    """A grey picture: none of the user's own leaves the store."""
    import pandas as pd
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (size, size), "grey").save(file, "PNG")
    return pd.DataFrame({PICTURE: [file.getvalue()]})
