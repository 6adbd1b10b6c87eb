"""What is logged of configurations, datasets and records, under which names."""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from kdsweep.config import Config
from kdsweep.config.secrets import without_passwords
from kdsweep.data.device import DeviceDataset
from kdsweep.jobs.job import Job
from kdsweep.results.record import Record
from kdsweep.tracking import DatasetInfo

SEED = "seed/"  # begins the names of the metrics of one seed of several
DELTA = "delta"  # a cell's difference from the baseline, as its verdict calls it
GAIN = "delta_vs_baseline"  # as records call it


def as_yaml(config: Config) -> str:
    """The configuration as OmegaConf writes it, part by part: most are those of the last trial."""
    parts = without_passwords(dataclasses.asdict(config))
    return "".join(_part_as_yaml(key, json.dumps(value)) for key, value in parts.items())


@functools.lru_cache(maxsize=256)
def _part_as_yaml(key: str, value: str) -> str:
    return OmegaConf.to_yaml({key: json.loads(value)})


def logged_params(config: Config) -> dict[str, object]:
    """The configuration without what only says where things go, or is read by nothing.

    Of a network that learns from labels alone a temperature would be one more cell's in MLflow's
    comparison.
    """
    plain = without_passwords(dataclasses.asdict(config))
    for key in ("root", "study", "trial", "tracking", "engine"):
        del plain[key]
    if not config.distill.losses:
        del plain["distill"]["temperature"], plain["distill"]["alpha"]
    return plain


def of_seed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under names that no sorted table takes for those of a cell."""
    return {SEED + name: value for name, value in metrics.items()}


def as_delta(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics with the difference from the baseline under the name that its verdict has.

    It is the first: MLflow's comparison begins with that.
    """
    gain = {DELTA: metrics[GAIN]} if GAIN in metrics else {}
    return {**gain, **{name: value for name, value in metrics.items() if name != GAIN}}


def mean_history(histories: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The mean curve of several seeds, as far as all of them go."""
    return [
        {name: statistics.fmean(one[name] for one in epoch) for name in epoch[0]}
        for epoch in zip(*histories, strict=False)
    ]


def last_epoch(record: Record) -> int:
    """The step of a job's last metrics: MLflow shows the latest."""
    return max((len(one.history) for one in record.seeds.values()), default=0)


def is_one_of_several(kind: str, config: Config) -> bool:
    """Whether a network is the baseline with one of several seeds."""
    return kind == "baseline" and config.verdict.seeds_for(config.seeds) > 1


def dataset_info(config: Config, dataset: DeviceDataset) -> DatasetInfo:
    """The dataset as MLflow has it, with where its images came from."""
    data, host = config.data, dataset.host
    source, kind = f"{data.source} {data.name}", "code"
    if data.kind in ("imagefolder", "arrays"):
        source, kind = str(Path(str(data.root)).absolute()), "local"
    elif data.source == "huggingface":
        source, kind = data.name, "hugging_face"
    return DatasetInfo(
        name=host.name,
        digest=dataset.digest,
        source=source,
        source_type=kind,
        shape=(3, data.image_size, data.image_size),
        split=f"split_seed={data.split_seed}",
        n_train=len(host.train.labels),
        n_val=len(host.val.labels),
        n_test=len(host.test.labels),
    )


def mean_metrics(record: Record) -> dict[str, float]:
    """The mean of each metric over a job's seeds, the objective's spread, and their number."""
    seeds = [seed.metrics for seed in record.seeds.values()]
    means = {name: statistics.fmean(m[name] for m in seeds) for name in seeds[0]}
    spreads = {
        f"{name}_sd": statistics.stdev(m[name] for m in seeds)
        for name in record.objectives
        if name in seeds[0]
    }
    return {**means, **spreads, "n_seeds": float(len(seeds))}


def job_name(job: Job) -> str:
    """What tells it from others first: a table shows the beginning alone."""
    distill = job.config.distill
    losses = "+".join(distill.losses) or "none"
    point = f"T={distill.temperature:g} alpha={distill.alpha:g} {losses}"
    return point if job.config.trial is None else f"{point}, trial {job.config.trial}"
