"""A package in MLflow's model registry, looked at, loaded and served by MLflow itself."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from kdsweep.config import TrackingConfig
from kdsweep.data.decode import square
from kdsweep.package import __main__ as command
from kdsweep.package.build import prepare
from kdsweep.package.registration import register_package, registry_of_study
from kdsweep.tracking import create_tracker
from kdsweep.tracking.connect import environment
from tests.package.made import BASELINES, MadeStudy

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Registry:
    folder: Path
    run: str  # that trained the seed
    baseline: str  # that trained the baseline
    said: str

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlruns/mlflow.db"

    @property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)


@pytest.fixture(scope="module")
def registry(study: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A student by the real command; then a baseline, and a student whose run is not there."""
    folder = tmp_path_factory.mktemp("registry")
    root = folder / "mlruns"
    shutil.copytree(study.root, root, ignore=shutil.ignore_patterns("packages"))
    tracker = create_tracker(TrackingConfig(), root=root)
    baseline = f"baseline{BASELINES[1]}"
    runs = [
        tracker.open_run(name, parent=None, params={}, tags={"kdsweep.key": key})
        for name, key in (("seed 0", ""), ("baseline", baseline))
    ]
    for run in runs:
        tracker.close(run, "finished")
    tracker.shutdown()
    path = root / "hydra" / "studies" / "s" / "1" / "result.json"
    record = json.loads(path.read_text())
    record["seeds"]["0"]["run_id"] = runs[0]
    record["config"]["tracking"]["backend"] = "local"
    path.write_text(json.dumps(record))
    said = io.StringIO()
    before = dict(os.environ)
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        command.main(["study=s", "formats=onnx", "register=digits"])
        for cell, seed in (("baseline", "best"), ("best", "1")):
            prepared = prepare("s", root=root, cell=cell, seed=seed)
            store = registry_of_study(prepared, None)
            register_package(prepared, root / "packages" / "s", "digits", store)
    assert {name: value for name, value in os.environ.items() if name.endswith("_URI")} == {
        name: value for name, value in before.items() if name.endswith("_URI")
    }
    return Registry(folder, runs[0], runs[1], said.getvalue())


@pytest.fixture(scope="module")
def model(registry: Registry) -> Any:
    ours = {"MLFLOW_TRACKING_URI": registry.uri, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    with environment(ours), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        import mlflow

        return mlflow.pyfunc.load_model("models:/digits/1")


def test_a_version_says_what_it_is(registry: Registry) -> None:
    version = registry.client.get_model_version("digits", "1")
    assert version.run_id == registry.run
    assert version.status == "READY"
    assert version.tags["kdsweep.study"] == "s"
    assert version.tags["kdsweep.seed"] == "0"
    assert version.tags["kdsweep.verdict"] in version.description
    assert version.description.startswith("# cifar_student for digits")
    run = registry.client.get_run(registry.run)
    (output,) = run.outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    assert f"Registered: models:/digits/1 (run {registry.run})" in registry.said


def test_a_baseline_is_linked_to_the_run_that_has_its_key(registry: Registry) -> None:
    version = registry.client.get_model_version("digits", "2")
    assert version.run_id == registry.baseline
    assert version.tags["kdsweep.role"] == "baseline"


def test_a_run_that_is_not_there_is_told(registry: Registry) -> None:
    assert not registry.client.get_model_version("digits", "3").run_id
    assert "Registered: models:/digits/3 (its run is not in this store)" in registry.said


def test_nothing_is_written_beside_the_root(registry: Registry) -> None:
    assert [path.name for path in registry.folder.iterdir()] == ["mlruns"]


def test_it_has_signature_example_and_the_package(registry: Registry, model: Any) -> None:
    metadata = model.metadata
    assert metadata.signature.inputs.input_names() == ["picture"]
    assert metadata.signature.outputs.input_names() == ["label", "probability"]
    assert metadata.run_id == registry.run
    (artifacts,) = (registry.folder / "mlruns").glob(
        f"artifacts/models/{metadata.model_id}/artifacts"
    )
    assert (artifacts / "input_example.json").is_file()
    assert (artifacts / "artifacts" / "s" / "README.md").is_file()
    needs = (artifacts / "requirements.txt").read_text()
    assert "onnxruntime==" in needs
    assert "torch" not in needs


def test_loaded_by_mlflow_it_has_the_accuracy_of_the_record(study: MadeStudy, model: Any) -> None:
    import pandas as pd

    validation = study.dataset.host.val
    pictures = []
    for pixels in validation.images.numpy():
        file = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
        pictures.append(file.getvalue())
    answers = model.predict(pd.DataFrame({"picture": pictures}))
    labels = [str(label) for label in validation.labels.tolist()]
    accuracy = 100 * np.mean(answers["label"].to_numpy() == np.array(labels))
    assert accuracy == pytest.approx(study.records[1].seeds[0].metrics["val_accuracy"])
    assert answers["probability"].between(0.1, 1).all()


def test_its_pictures_are_read_as_the_training_images_are(
    model: Any, pictures: list[Path]
) -> None:
    own = model.unwrap_python_model()
    for path in pictures:
        found = own._read(0, path.read_bytes())
        assert np.array_equal(found, square(path, size=8)), path.name


def test_a_bad_picture_is_the_askers_mistake(model: Any) -> None:
    import pandas as pd
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="picture 0 can't be read") as raised:
        model.predict(pd.DataFrame({"picture": [b"no picture"]}))
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.fixture
def served(registry: Registry) -> Iterator[str]:
    """The address of ``mlflow models serve``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/digits/1",
            "--env-manager", "local", "-p", str(port),
        ],
        env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": registry.uri},
        cwd=registry.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        while server.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/ping"):
                break
            time.sleep(0.2)
        assert server.poll() is None
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_served_by_mlflow_it_answers_a_picture(
    served: str, model: Any, pictures: list[Path]
) -> None:
    import pandas as pd

    data = pictures[0].read_bytes()
    body = {"dataframe_records": [{"picture": base64.b64encode(data).decode()}]}
    request = urllib.request.Request(
        f"{served}/invocations",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        answer = json.loads(response.read())
    expected = model.predict(pd.DataFrame({"picture": [data]})).to_dict(orient="records")
    assert answer["predictions"] == [pytest.approx(expected[0])]
