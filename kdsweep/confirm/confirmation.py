"""The confirmation of a study: a frozen choice, fresh seeds, test opened once, one verdict."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import sys
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.trial import TrialState

from kdsweep.config import Config
from kdsweep.config.typed import typed
from kdsweep.errors import TrainingError, UserError
from kdsweep.results.judgement import paired_scores, with_verdicts
from kdsweep.results.record import RECORD
from kdsweep.results.summary import summarise
from kdsweep.run.job import Job
from kdsweep.store import writable, write_json
from kdsweep.sweep.opening import load_study

log = logging.getLogger(__name__)


def confirm_study(
    name: str, storage: str, *, root: Path, top: int, seeds: int, again: bool
) -> None:
    """Confirm the best cells of a study and print the verdict.

    Raises:
        UserError: no such study, or it has been confirmed and ``again`` is false.
        TrainingError: a finalist could not be trained with every seed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    folder = root / "confirmations" / name
    selection = _selection(name, storage, folder, root=root, top=top, seeds=seeds, again=again)
    jobs = [
        _job(finalist, selection, folder, root=root, storage=storage)
        for finalist in selection["finalists"]
    ]
    records = _train(jobs)
    verdict = _judge(selection, records)
    write_json(folder / f"verdict-{selection['round']}.json", verdict)
    write_json(folder / "verdict.json", verdict)
    print(f"\nVerdict: {folder / 'verdict.json'}")


def _selection(
    name: str, storage: str, folder: Path, *, root: Path, top: int, seeds: int, again: bool
) -> dict[str, Any]:
    """The choice: the frozen one if it is still to be confirmed, else a new one."""
    known = _read(folder / "selection.json")
    verdict = _read(folder / "verdict.json")
    finished = known is not None and verdict is not None and verdict["round"] == known["round"]
    if known is not None and not finished:
        log.info("continuing with the choice of %s", known["chosen"])
        return known
    if finished and not again:
        assert known is not None
        raise UserError(
            f"study={name}: was confirmed on {known['chosen']}, and test was opened for it; "
            "again=true does so once more, on other seeds"
        )
    study = load_study(name, storage)
    selection = {
        "study": name,
        "storage": storage,
        "round": 1 if known is None else known["round"] + 1,
        "chosen": datetime.datetime.now().isoformat(timespec="seconds"),
        "first_seed": _first_fresh_seed(study, known),
        "seeds": seeds,
        "finalists": _best(study, root, top),
    }
    write_json(folder / "selection.json", selection)
    return selection


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _first_fresh_seed(study: optuna.Study, known: dict[str, Any] | None) -> int:
    used = [
        int(seed)
        for trial in study.get_trials(deepcopy=False)
        for seed in trial.user_attrs.get("seeds", {})
    ]
    if known is not None:
        used.append(known["first_seed"] + known["seeds"] - 1)
    return max(used, default=-1) + 1


def _best(study: optuna.Study, root: Path, top: int) -> list[dict[str, Any]]:
    """The finalists: complete cells with the best first objective, on validation."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    maximize = study.directions[0] == optuna.study.StudyDirection.MAXIMIZE
    complete.sort(key=lambda t: (-1 if maximize else 1) * t.values[0])
    finalists: list[dict[str, Any]] = []
    for trial in complete:
        path = root / "hydra" / "studies" / study.study_name / str(trial.number) / RECORD
        record = _read(path)
        if record is None:
            raise UserError(
                f"study={study.study_name}: {path} is gone; root= names the folder that holds it"
            )
        if record["split"] != "validation":
            raise UserError(
                f"study={study.study_name}: its cells were read on test "
                "(evaluate.protocol=published), so there is nothing left to confirm on"
            )
        if any(f["params"] == trial.params for f in finalists):
            continue
        gains = [s["metrics"].get("delta_vs_baseline") for s in record["seeds"].values()]
        known = [gain for gain in gains if gain is not None]
        finalists.append(
            {
                "trial": trial.number,
                "params": trial.params,
                "value": trial.values[0],
                "difference": sum(known) / len(known) if known else None,
                "overrides": record["overrides"],
                "config": record["config"],
            }
        )
        if len(finalists) == top:
            break
    if not finalists:
        raise UserError(f"study={study.study_name}: has no complete trial to confirm")
    return finalists


def _job(
    finalist: dict[str, Any], selection: dict[str, Any], folder: Path, *, root: Path, storage: str
) -> Job:
    """The finalist's training on fresh seeds; ``root`` may have been moved since the sweep."""
    kept = OmegaConf.structured(Config)
    kept.merge_with(finalist["config"])
    config = typed(kept)
    config = dataclasses.replace(
        config,
        root=str(root),
        storage=storage,
        data=dataclasses.replace(
            config.data, root=_moved(config.data.root, Path(config.root), root)
        ),
        seed=selection["first_seed"],
        seeds=selection["seeds"],
        study=f"{selection['study']}-confirmation-{selection['round']}",
        trial=finalist["trial"],
        evaluate=dataclasses.replace(config.evaluate, test=True),
        pruner=dataclasses.replace(config.pruner, name="none"),
    )
    place = folder / f"round-{selection['round']}" / f"trial-{finalist['trial']}"
    return Job(config=config, folder=place, overrides=tuple(finalist["overrides"]))


def _moved(path: str | None, old: Path, new: Path) -> str | None:
    """The same place below ``new`` where ``path`` was below ``old``."""
    if path is None or not Path(path).is_relative_to(old):
        return path
    return str(new / Path(path).relative_to(old))


def _train(jobs: list[Job]) -> list[dict[str, Any]]:
    """The jobs' records; those that an earlier command did not complete are trained."""
    from kdsweep.run.batch import run_jobs
    from kdsweep.run.logger import opened, tracker_of
    from kdsweep.run.records import COMPLETE

    done = [_read(job.folder / RECORD) for job in jobs]
    missing = [
        job
        for job, record in zip(jobs, done, strict=True)
        if record is None or record["state"] != COMPLETE
    ]
    for job in missing:
        with writable(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
    for job, outcome in zip(missing, run_jobs(missing) if missing else [], strict=True):
        if outcome.error is not None:
            raise TrainingError(f"trial {job.config.trial}: {outcome.error}")
    study = jobs[0].config.study
    if study in opened:
        tracker_of(jobs[0].config).close(opened[study], "finished")
    records = [_read(job.folder / RECORD) for job in jobs]
    return [record for record in records if record is not None]


def _judge(selection: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Print the table and the verdict; what is kept of it."""
    from kdsweep.report.table import print_sweep
    from kdsweep.verdict import confirm

    scores, baseline = paired_scores(records, "test_accuracy", "test_baseline_accuracy")
    selected = [finalist["difference"] for finalist in selection["finalists"]]
    confirmed = confirm(scores, baseline, paired=True, selected=selected)
    on_test = [_as_test(record) for record in records]
    sweep = with_verdicts(summarise(f"{selection['study']} confirmed", on_test), confirmed.outcome)
    shrunk = [
        f"Trial {f['trial']}: {f['difference']:+.2f} points on validation when it was chosen, "
        f"{f['difference'] - s:+.2f} on test with fresh seeds."
        for f, s in zip(selection["finalists"], confirmed.shrinkage, strict=True)
        if s is not None
    ]
    if selection["round"] > 1:
        shrunk.append(f"Test has been opened {selection['round']} times for this study.")
    print()
    print_sweep(dataclasses.replace(sweep, verdict_lines=(*shrunk, *sweep.verdict_lines)))
    baselines = [_by_seed(record, "test_baseline_accuracy") for record in records]
    shared = all(each == baselines[0] for each in baselines)
    return {
        "round": selection["round"],
        "study": selection["study"],
        "seeds": selection["seeds"],
        "first_seed": selection["first_seed"],
        "lines": [*shrunk, *sweep.verdict_lines],
        **({"baseline_test_accuracy": baselines[0]} if shared else {}),
        "cells": [
            {
                "trial": finalist["trial"],
                "params": finalist["params"],
                "test_accuracy": _by_seed(record, "test_accuracy"),
                **({} if shared else {"baseline_test_accuracy": own}),
                **{k: v for k, v in dataclasses.asdict(cell).items() if v is not None},
            }
            for finalist, record, own, cell in zip(
                selection["finalists"], records, baselines, confirmed.outcome.cells, strict=True
            )
        ],
    }


def _by_seed(record: dict[str, Any], metric: str) -> list[float]:
    """A metric of each of a record's students, in the order of their seeds."""
    return [kept["metrics"][metric] for kept in record["seeds"].values()]


def _as_test(record: dict[str, Any]) -> dict[str, Any]:
    """The record with test in the place of validation."""
    seeds = {}
    for seed, kept in record["seeds"].items():
        metrics = kept["metrics"]
        baseline = kept["baseline"]
        if baseline is not None:
            theirs = {"test_accuracy": metrics["test_baseline_accuracy"]}
            baseline = {**baseline, "metrics": theirs}
        seeds[seed] = {**kept, "baseline": baseline}
    return {**record, "split": "test", "objectives": ["test_accuracy"], "seeds": seeds,
            "teacher": None}  # fmt: skip
