"""A study in MLflow, as its table, its pages and its links show it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from kdsweep.jobs.logged import of_seed
from kdsweep.results.cells import CellRecords, cells_of
from kdsweep.results.data import Sweep
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.race import Race
from kdsweep.results.summary import summarise
from kdsweep.sweeper.glance import COMPARED, log_study, open_page
from kdsweep.tracking import Tracker
from tests.results.made import record

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

ALONE = (70.0, 70.4, 70.2, 70.1)


def test_the_table_of_a_study_has_its_cells_and_the_baseline(
    tracker: Tracker, client: MlflowClient, tmp_path: Path
) -> None:
    """12 cells, the last of them in two rounds, each with a seed luckier than any cell."""
    parent = tracker.open_sweep("s", params={}, tags={})
    open_page(tracker, parent, "s", ["distill.temperature"])
    for i, score in enumerate(ALONE):
        tags = {"kdsweep.role": "baseline", "kdsweep.key": f"b{i}"}
        run = tracker.open_run(f"baseline {i}", parent=parent, params={"a": 1}, tags=tags)
        tracker.log_metrics(run, of_seed({"val_accuracy": score}))
        tracker.close(run, "finished", end_ms=5_000 + i)
    records = []
    for trial, (temperature, round_) in enumerate([*((t, 1) for t in range(12)), (11, 2)]):
        run = tracker.open_run(
            f"T={temperature}",
            parent=parent,
            params={"distill": {"temperature": temperature}},
            tags={"kdsweep.role": "student", "kdsweep.result": "cell"},
        )
        scores = dict(enumerate((70.0 + temperature, 70.3 + temperature), 2 * round_ - 2))
        seed = tracker.open_run("seed", parent=run, params={}, tags={"kdsweep.role": "seed"})
        tracker.log_metrics(seed, of_seed({"val_accuracy": 99.0, "delta_vs_baseline": 29.0}))
        made = record(
            trial, scores, ALONE, point={"distill.temperature": temperature}, round_=round_
        )
        records.append(dataclasses.replace(made, run_id=run))
    cells = cells_of(records)
    sweep = _judged(cells, tmp_path)
    first = log_study(tracker, parent, sweep, cells)
    compared = log_study(tracker, parent, sweep, cells)  # as a rerun does
    tracker.flush()
    assert compared == first
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    query = parse_qs(urlsplit(tracker.table_url("s")).fragment.partition("?")[2])
    (key,) = query["viewStateShareKey"]
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    rows = client.search_runs(
        [experiment.experiment_id],
        view["searchFilter"],
        order_by=[f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"],
    )
    shown = [
        (row.info.run_name, row.data.tags["kdsweep.verdict"], row.data.metrics["n_seeds"])
        for row in rows
    ]
    assert shown[:2] == [("T=11", "better", 4.0), ("T=10", "better", 2.0)]
    assert shown[-1][0].startswith("T=0")
    assert ("baseline s, mean of its seeds", "baseline", 4.0) in shown
    assert len(shown) == 13
    assert {"tags.`kdsweep.verdict`", "tags.`kdsweep.interval`"} < set(view["selectedColumns"])
    (top, *_), best = rows, sweep.cells[-1]
    assert best.verdict is not None
    assert top.data.metrics["delta_low"] == best.verdict.low
    assert top.data.metrics["val_accuracy"] == 81.15, "of all four seeds"
    assert "temperature=11: **better**" in top.data.tags["mlflow.note.content"]

    assert len(compared) == COMPARED + 1
    assert len(tracker.compare_url(compared)) < 600
    (mean,) = [row for row in rows if row.data.tags["kdsweep.result"] == "baseline"]
    assert compared[-1] == mean.info.run_id
    assert mean.info.end_time == 5_003, "it is no work: the study ends no later by it"
    assert mean.data.params == {"a": "1"}

    read = client.get_run(parent).data
    note = read.tags["mlflow.note.content"]
    assert note.startswith("**Distillation helps in ")
    assert f"(#{tracker.table_url('s').partition('#')[2]})" in note
    assert "13 of 13 trials are complete." in note
    assert (read.metrics["trials"], read.metrics["cells"]) == (13, 12)
    assert read.tags["kdsweep.verdict"] in note


def _judged(cells: list[CellRecords], folder: Path) -> Sweep:
    race = Race.of(cells, margin=0.5)
    assert race is not None
    race.write(folder)
    return judge_sweep(summarise("s", cells), cells, folder, adaptive=False)[0]
