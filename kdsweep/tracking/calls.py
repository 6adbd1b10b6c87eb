"""What the tracker asks of MLflow's client, which splits long calls at the store's limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from kdsweep.tracking.base import DatasetInfo
from kdsweep.tracking.params import MAX_TAG, clip, key_name, spell
from kdsweep.tracking.records import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, Run

_DIGEST = 36  # characters, the store's limit
_SOURCES = {"local": "uri", "http": "url", "hugging_face": "path", "code": "mlflow.source.name"}


def create_run(
    client: MlflowClient,
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    *,
    start_ms: int | None,
) -> str:
    """Create a run and return its id."""
    run = client.create_run(experiment, start_time=start_ms, run_name=name, tags=_clipped(tags))
    return str(run.info.run_id)


def log_points(client: MlflowClient, run: str, points: Sequence[Point]) -> None:
    """Log metrics, at most 1000."""
    from mlflow.entities import Metric

    client.log_batch(run, [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points])


def set_tags(client: MlflowClient, run: str, tags: Mapping[str, object]) -> None:
    """Set any number of tags."""
    from mlflow.entities import RunTag

    client.log_batch(run, tags=[RunTag(key, value) for key, value in _clipped(tags).items()])


def log_params(client: MlflowClient, run: str, params: Mapping[str, str]) -> None:
    """Log any number of flat parameters."""
    from mlflow.entities import Param

    client.log_batch(run, params=[Param(key, value) for key, value in params.items()])


def log_dataset(client: MlflowClient, run: str, info: DatasetInfo) -> None:
    """Make a dataset's training and validation images inputs of a run.

    Test images are none: nothing is trained or chosen by them. The whole digest is in the profile.
    """
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    parts = {"training": ("train", info.n_train), "validation": ("val", info.n_val)}
    inputs = [
        DatasetInput(_part(info, part, count), [InputTag("mlflow.data.context", context)])
        for context, (part, count) in parts.items()
        if count
    ]
    try:
        client.log_inputs(run, inputs)
    except MlflowException:  # of two first runs with a new dataset, one is too late to add it
        client.log_inputs(run, inputs)


def _part(info: DatasetInfo, part: str, count: int) -> Dataset:
    """One split of a dataset, as ``mlflow.data`` describes what it has not loaded."""
    import numpy as np
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset
    from mlflow.types import Schema, TensorSpec

    source: dict[str, object] = {_SOURCES[info.source_type]: info.source}
    if info.source_type == "code":
        source = {"tags": source}
    shape = (-1, *(info.shape or (-1,)))
    describe: Callable[..., MetaDataset] = (
        MetaDataset  # it has no profile, and calls itself abstract
    )
    described = describe(
        get_dataset_source_from_json(json.dumps(source), info.source_type),
        name=f"{info.name} {part}",
        digest=f"{part}-{info.digest}"[:_DIGEST],
        schema=Schema(
            [
                TensorSpec(np.dtype(np.uint8), shape, "image"),
                TensorSpec(np.dtype(np.int64), (-1,), "label"),
            ]
        ),
    )
    profile = {
        "num_rows": count,
        "split": info.split,
        "sha256": info.digest,
        "train": info.n_train,
        "val": info.n_val,
        "test": info.n_test,
    }
    return Dataset(**described.to_dict(), profile=json.dumps(profile))


def search(client: MlflowClient, experiment: str, *conditions: str) -> list[Run]:
    """All runs that meet the conditions, oldest first."""
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment],
            filter_string=" and ".join(conditions),
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs


def last_end(client: MlflowClient, experiment: str, condition: str) -> int | None:
    """When the last run that meets the condition and has a parent ended, in ms, if one did."""
    page = client.search_runs(
        [experiment],
        filter_string=f"{condition} and tags.mlflow.parentRunId != '' "
        "and attributes.status != 'RUNNING'",
        order_by=["attributes.end_time DESC"],
        max_results=1,
    )
    return int(page[0].info.end_time) if page else None


def last_sign(client: MlflowClient, run: Run) -> int:
    """When a run last logged a metric, or started, in ms."""
    times = [run.info.start_time]
    for key in islice(run.data.metrics, 1):
        times += [metric.timestamp for metric in client.get_metric_history(run.info.run_id, key)]
    return int(max(times))


def _clipped(tags: Mapping[str, object]) -> dict[str, str]:
    return {key_name(key): clip(spell(value), MAX_TAG) for key, value in tags.items()}


def find_run(client: MlflowClient, run: str) -> str | None:
    """The id of a run, if the store has it."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run).info.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def log_model(client: MlflowClient, run: str, model: str) -> None:
    """Make a logged model an output of a run."""
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run, [LoggedModelOutput(model, step=0)])


def ensure_registered(client: MlflowClient, name: str) -> None:
    """Create a registered model unless there is one of this name."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
