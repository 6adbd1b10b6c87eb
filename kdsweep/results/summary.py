"""A study's records, read back from its folder, as the data of its report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsweep.config import OBJECTIVES
from kdsweep.evaluate.cost import TIMED_BATCHES
from kdsweep.results.data import Cell, Model, Sweep
from kdsweep.results.record import RECORD

HIDDEN = ("study", "trial", "seed", "seeds", "root", "experiment", "tracking", "search")


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Every record under a study's folder, by trial number."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"*/{RECORD}")]
    return sorted(found, key=lambda record: (record["trial"] is None, record["trial"]))


def latest(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record for each cell: the last trial of those that were trained again."""
    by_cell: dict[str, dict[str, Any]] = {}
    for record in records:
        cell = {k: v for k, v in overrides(record).items() if k not in ("study", "trial")}
        key = json.dumps(cell, sort_keys=True)
        by_cell.pop(key, None)
        by_cell[key] = record
    return sorted(by_cell.values(), key=lambda record: record["trial"] or 0)


def overrides(record: dict[str, Any]) -> dict[str, str]:
    """What was set on the command line, by key."""
    pairs = (item.partition("=") for item in record["overrides"] if "=" in item)
    return {key.lstrip("+"): value for key, _, value in pairs}


def swept_keys(records: Sequence[dict[str, Any]]) -> list[str]:
    """The keys that differ between cells, in the order of the command line."""
    keys = [key for key in overrides(records[0]) if key not in HIDDEN]
    varying = [key for key in keys if len({overrides(r).get(key) for r in records}) > 1]
    return varying or sorted(keys, key=lambda key: not key.startswith("distill"))[:1]


def summarise(study: str, records: Sequence[dict[str, Any]]) -> Sweep:
    """The data of a report on these records, without verdicts."""
    keys = swept_keys(records)
    first = records[0]
    objective = first["objectives"][0]
    teachers = _teachers(records, objective)
    return Sweep(
        study=study,
        dataset=dataset_name(first),
        split=first["split"],
        objective=objective,
        unit=unit_of(objective),
        maximize=_more_is_better(first),
        cells=tuple(_cell(record, keys, objective) for record in records),
        baseline=_baseline(records, objective),
        teacher=teachers[0] if len(teachers) == 1 else None,
        teachers=teachers,
        latency_conditions=_latency_conditions(first["costs"]),
    )


def unit_of(metric: str) -> str:
    """The unit of a metric, as a table heads it."""
    return next(unit for ending, unit in _UNITS.items() if metric.endswith(ending))


_UNITS = {
    "accuracy": "%",
    "agreement": "%",
    "delta_vs_baseline": "points",
    "nll": "nats",
    "fidelity_kl": "nats",
    "ece": "as a fraction",
    "parameters": "numbers",
    "size_mib": "MiB",
    "flops_per_image": "FLOP",
    "latency_ms_p50": "ms",
    "efficiency": "%/(MiB ms)",
}


def _more_is_better(record: dict[str, Any]) -> bool:
    given = record["config"]["objective"]
    return OBJECTIVES[given if isinstance(given, str) else given[0]]


def _latency_conditions(costs: Mapping[str, float]) -> str:
    if "latency_batch_size" not in costs:
        return ""
    return (
        f"of {costs['latency_batch_size']:.0f}, median of {TIMED_BATCHES}, "
        f"{costs['latency_threads']:.0f} threads"
    )


def _value(network: Mapping[str, Any], objective: str) -> float:
    """A network's or a seed's value of an objective, which may be one of its costs."""
    both = {**network.get("costs", {}), **network["metrics"]}
    return float(both.get(objective, math.nan))


def dataset_name(record: dict[str, Any]) -> str:
    """The dataset as the user named it."""
    data = record["config"]["data"]
    if data["name"] == "imagefolder":
        return f"imagefolder {data['root']}"
    return str(data["name"])


def _cell(record: dict[str, Any], keys: Sequence[str], objective: str) -> Cell:
    values = {key.rpartition(".")[2]: _typed(overrides(record).get(key, "")) for key in keys}
    by_seed = {
        int(seed): _value({"costs": record["costs"] if kept["metrics"] else {}, **kept}, objective)
        for seed, kept in record["seeds"].items()
    }
    own = _own_costs(record, keys)
    return Cell(
        label=" ".join(f"{key}={value}" for key, value in values.items()) or "cell",
        values=values,
        accuracy_by_seed=by_seed,
        state=record["state"],
        reason=record["reason"],
        seconds=record["seconds"],
        curve={int(seed): kept["history"] for seed, kept in record["seeds"].items()},
        parameters=None if own is None else int(own["parameters"]),
        size_mib=None if own is None else own["size_mib"],
        latency_ms=None if own is None else own.get("latency_ms_p50"),
    )


def _own_costs(record: dict[str, Any], keys: Sequence[str]) -> dict[str, float] | None:
    """The costs of a cell whose network is not the other cells', since it is swept."""
    if any(key == "pair" or key.startswith("pair.student") for key in keys):
        costs: dict[str, float] = record["costs"]
        return costs
    return None


def _typed(text: str) -> object:
    """A number where the text is one: axes of numbers make a map."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _baseline(records: Sequence[dict[str, Any]], objective: str) -> Model | None:
    """The baseline, where all cells have the same one."""
    by_seed: dict[int, float] = {}
    keys: dict[int, str] = {}
    for record in records:
        for seed, kept in record["seeds"].items():
            network = kept["baseline"]
            if network is None or keys.setdefault(int(seed), network["key"]) != network["key"]:
                return None
            by_seed[int(seed)] = _value(network, objective)
            last = network
    return _model(last, by_seed)


def _teachers(records: Sequence[dict[str, Any]], objective: str) -> tuple[Model, ...]:
    """All different teachers, in the order of their cells."""
    networks = {r["teacher"]["key"]: r["teacher"] for r in records if r["teacher"] is not None}
    return tuple(
        _model(network, {network["seed"]: _value(network, objective)})
        for network in networks.values()
    )


def _model(network: Mapping[str, Any], by_seed: Mapping[int, float]) -> Model:
    costs = network["costs"]
    return Model(
        label=network["name"],
        accuracy_by_seed=by_seed,
        parameters=int(costs["parameters"]),
        size_mib=costs["size_mib"],
        flops=costs.get("flops_per_image"),
        latency_ms=costs.get("latency_ms_p50"),
        efficiency=network["metrics"].get("efficiency"),
    )
