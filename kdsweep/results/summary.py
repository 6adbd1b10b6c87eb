"""A study's cells as the data of its report, without verdicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kdsweep.config import OBJECTIVES
from kdsweep.results.cells import CellRecords, short_value
from kdsweep.results.data import Cell, Measures, Model, Summary, Sweep, best_cell
from kdsweep.results.data import summarise as summary_of
from kdsweep.results.provenance import provenance
from kdsweep.results.record import COMPLETE, Bin, Metrics, NetworkRecord, Record, SeedRecord

HIDDEN = ("root", "experiment", "tracking", "engine", "search", "storage")


def swept_keys(cells: Sequence[CellRecords]) -> list[str]:
    """The keys that differ between cells, in the order of the command line."""
    keys = [key for key in cells[0].point if key not in HIDDEN]
    return [key for key in keys if len({cell.point.get(key) for cell in cells}) > 1]


def summarise(
    study: str, cells: Sequence[CellRecords], *, keys: Sequence[str] | None = None
) -> Sweep:
    """The data of a report on these cells.

    Args:
        study: its name.
        cells: of the study, or some of them.
        keys: by which they are called; None: those that differ between them.
    """
    keys = swept_keys(cells) if keys is None else keys
    first = cells[0].last
    objective = first.objectives[0]
    teachers = _teachers(cells, objective)
    sweep = Sweep(
        study=study,
        dataset=dataset_name(first),
        split=first.split,
        objective=objective,
        unit=unit_of(objective),
        maximize=more_is_better(first),
        cells=tuple(_cell(cell, keys, objective) for cell in cells),
        baseline=_baseline(cells, objective),
        teacher=teachers[0] if len(teachers) == 1 else None,
        teachers=teachers,
        latency_conditions=_latency_conditions(first.costs),
        caveat=_caveat(cells[0]),
    )
    best = best_cell(sweep)
    chosen = None if best is None else cells[sweep.cells.index(best)]
    return dataclasses.replace(sweep, provenance=provenance(cells, chosen))


def _caveat(cell: CellRecords) -> str:
    """What makes the numbers of a short run say little; empty where nothing does."""
    config = cell.last.config
    limit, epochs = config["data"]["train_limit"], config["train"]["epochs"]
    images = "" if limit is None else f"at most {limit:,} training images"
    if cell.point.get("experiment") == "smoke":
        short = ", ".join(filter(None, [images, f"{epochs} epoch{'' if epochs == 1 else 's'}"]))
        return (
            f"experiment=smoke shows that everything goes through ({short}): its numbers mean "
            "nothing."
        )
    if limit is None:
        return ""
    return f"Trained on {images} (data.train_limit): more may come out otherwise."


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


def more_is_better(record: Record) -> bool:
    """Whether more of the first objective is better."""
    given = record.config["objective"]
    return OBJECTIVES[given if isinstance(given, str) else given[0]]


def _latency_conditions(costs: Metrics) -> str:
    if "latency_batch_size" not in costs:
        return ""
    from kdsweep.evaluate.cost import TIMED_BATCHES

    return (
        f"of {costs['latency_batch_size']:.0f}, median of {TIMED_BATCHES}, "
        f"{costs['latency_threads']:.0f} threads"
    )


def _value(costs: Metrics, metrics: Metrics, objective: str) -> float:
    """A network's or a seed's value of an objective, which may be one of its costs."""
    return float({**costs, **metrics}.get(objective, math.nan))


def dataset_name(record: Record) -> str:
    """The dataset as the user named it."""
    data = record.config["data"]
    if data["name"] in ("imagefolder", "arrays"):
        return f"{data['name']} {Path(data['root']).name}"  # the same on every machine
    source = data.get("source", "kdsweep")
    return str(data["name"]) if source == "kdsweep" else f"{source} {data['name']}"


def _cell(cell: CellRecords, keys: Sequence[str], objective: str) -> Cell:
    values = {key.rpartition(".")[2]: _typed(cell.point.get(key, "")) for key in keys}
    by_seed, curves, seeds = {}, {}, {}
    for record in cell.rounds:
        for seed, kept in record.seeds.items():
            costs = record.costs if kept.metrics else {}
            by_seed[seed] = _value(costs, kept.metrics, objective)
            curves[seed] = kept.history
            seeds[seed] = kept
    broken = cell.unfinished
    own = _own_costs(cell.last, keys)
    return Cell(
        label=" ".join(f"{key}={short_value(value)}" for key, value in values.items())
        or label_of(cell.last),
        values=values,
        accuracy_by_seed=by_seed,
        state=COMPLETE if broken is None else broken.state,
        reason=None if broken is None else broken.reason,
        seconds=cell.seconds,
        curve=curves,
        parameters=None if own is None else int(own["parameters"]),
        size_mib=None if own is None else own["size_mib"],
        latency_ms=None if own is None else own.get("latency_ms_p50"),
        measures=_measures(seeds, cell.last.prefix),
    )


def _measures(by_seed: Mapping[int, SeedRecord | NetworkRecord], prefix: str) -> Measures:
    """What was measured beside the objective, over the seeds."""

    def over_seeds(name: str) -> Summary | None:
        key = f"{prefix}_{name}"
        values = {s: float(one.metrics[key]) for s, one in by_seed.items() if key in one.metrics}
        return summary_of(values) if values else None

    return Measures(
        nll=over_seeds("nll"),
        ece=over_seeds("ece"),
        agreement=over_seeds("agreement"),
        fidelity_kl=over_seeds("fidelity_kl"),
        reliability=_together([one.reliability for one in by_seed.values()]),
    )


def _together(seeds: Sequence[Sequence[Bin]]) -> tuple[Bin, ...]:
    """The bins of several seeds as if all their answers were one network's."""
    by_bin: dict[int, list[Bin]] = {}
    for one in (one for bins in seeds for one in bins):
        by_bin.setdefault(one.number, []).append(one)
    return tuple(_pooled(by_bin[number]) for number in sorted(by_bin))


def _pooled(bins: Sequence[Bin]) -> Bin:
    images = sum(one.images for one in bins)
    return Bin(
        number=bins[0].number,
        images=images,
        confidence=sum(one.images * one.confidence for one in bins) / images,
        right=sum(one.images * one.right for one in bins) / images,
    )


def label_of(record: Record) -> str:
    """What a cell is that nothing was swept for."""
    distill = record.config["distill"]
    if not distill["losses"]:
        return "no distillation"
    return f"T={distill['temperature']:g} alpha={distill['alpha']:g}"


def _own_costs(record: Record, keys: Sequence[str]) -> Metrics | None:
    """The costs of a cell whose network is not the other cells', since it is swept."""
    if any(key == "pair" or key.startswith("pair.student") for key in keys) and record.costs:
        return record.costs
    return None


def _typed(text: str) -> object:
    """A number where the text is one: axes of numbers make a map."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _baseline(cells: Sequence[CellRecords], objective: str) -> Model | None:
    """The baseline, where all cells have the same one."""
    by_seed: dict[int, NetworkRecord] = {}
    for cell in cells:
        for seed, one in cell.baselines.items():
            if by_seed.setdefault(seed, one).key != one.key:
                return None
    finished = [one for one in by_seed.values() if one.metrics]
    prefix = cells[0].last.prefix
    return _model(finished[0], by_seed.values(), objective, prefix) if finished else None


def _teachers(cells: Sequence[CellRecords], objective: str) -> tuple[Model, ...]:
    """All different teachers, in the order of their cells."""
    records = [record.teacher for cell in cells for record in cell.rounds]
    networks = {one.key: one for one in records if one is not None}
    prefix = cells[0].last.prefix
    return tuple(_model(one, [one], objective, prefix) for one in networks.values())


def _model(
    network: NetworkRecord, seeds: Collection[NetworkRecord], objective: str, prefix: str
) -> Model:
    costs = network.costs
    return Model(
        label=network.name,
        accuracy_by_seed={one.seed: _value(one.costs, one.metrics, objective) for one in seeds},
        parameters=int(costs["parameters"]),
        size_mib=costs["size_mib"],
        flops=costs.get("flops_per_image"),
        latency_ms=costs.get("latency_ms_p50"),
        efficiency=network.metrics.get("efficiency"),
        curve={one.seed: one.history for one in seeds if one.history},
        measures=_measures({one.seed: one for one in seeds}, prefix),
    )
