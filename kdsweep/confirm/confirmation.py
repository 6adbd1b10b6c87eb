"""The confirmation of a study: a frozen choice, fresh seeds, test opened once, one verdict."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdsweep.config.paths import moved
from kdsweep.config.secrets import HIDDEN
from kdsweep.config.typed import config_from_plain
from kdsweep.confirm.selection import Finalist, Selection, Side, choose
from kdsweep.data.device import require_test_images
from kdsweep.errors import TrainingError, UserError
from kdsweep.evaluate import unpack_correctness
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from kdsweep.report.files import save_report
from kdsweep.report.table import print_sweep
from kdsweep.results.cells import CellRecords, cells_of
from kdsweep.results.data import Sweep
from kdsweep.results.judgement import with_verdicts
from kdsweep.results.record import COMPLETE, Record, find_record, read_record
from kdsweep.results.summary import summarise
from kdsweep.store import writable, write_json
from kdsweep.sweeper.opening import load_study
from kdsweep.sweeper.reporting import give_up, log_report
from kdsweep.verdict import (
    Confirmation,
    baseline_seeds,
    confirm,
    images_sentence,
    outcome_lines,
)
from kdsweep.verdict.images import Bits

log = logging.getLogger(__name__)
METRIC = "test_accuracy"


def confirm_study(
    name: str,
    storage: str,
    *,
    root: Path,
    top: int,
    side: Side,
    seeds: int,
    again: bool,
    tracking_uri: str | None = None,
) -> Confirmation:
    """Confirm the chosen cells of a study and print the verdict, which is given back.

    Raises:
        UserError: no such study, it has been confirmed and ``again`` is false, or its dataset has
            no test images.
        TrainingError: a finalist could not be trained.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    folder = root / "confirmations" / name
    known = Selection.read(folder / "selection.json")
    finished = known is not None and (folder / f"verdict-{known.round}.json").is_file()
    if known is not None and finished and not again:
        raise UserError(
            f"study={name}: was confirmed on {known.chosen}, and test was opened for it; "
            "again=true does so once more, on other seeds"
        )
    if known is not None and not finished:
        log.info("continuing with the choice of %s", known.chosen)
        selection = known
    else:
        load_study(name, storage)  # names the nearest where there is none
        records = root / "hydra" / "studies" / name
        selection = choose(name, records, top=top, side=side, seeds=seeds, known=known)
    jobs = [
        _job(finalist, selection, folder, root=root, storage=storage, uri=tracking_uri)
        for finalist in selection.finalists
    ]
    if selection is not known:
        for job in jobs:
            require_test_images(job.config)
        selection.write(folder / "selection.json")
    _announce(selection)
    own = _study(selection)
    with Session(jobs[0].config) as session:
        try:
            cells = _train(session, jobs)
        except BaseException as error:
            give_up(session, own, error)
            raise
        bits = [
            _bits(job, "test-seed", cell.last.seeds) for job, cell in zip(jobs, cells, strict=True)
        ]
        confirmed = _judge(selection, cells, jobs, bits)
        sweep = _report(selection, cells, confirmed, bits[0].shape[1])
        labels = tuple(cell.label for cell in sweep.cells)
        named = dataclasses.replace(confirmed.outcome, labels=labels)
        confirmed = dataclasses.replace(confirmed, outcome=named)
        files = save_report(sweep, folder, commands={"Confirmed with": _command(selection, root)})
        on_test = [_as_test(cell) for cell in cells]
        log_report(session, dataclasses.replace(sweep, study=own), on_test, files)
    verdict = _verdict(selection, cells, confirmed, sweep)
    write_json(folder / f"verdict-{selection.round}.json", verdict)
    write_json(folder / "verdict.json", verdict)
    print(f"\nReport: {files[0]}\nVerdict: {folder / 'verdict.json'}")
    print(f"Hand its best student over:\n  python -m kdsweep.package study={name}{_where(root)}")
    return confirmed


def _announce(selection: Selection) -> None:
    """Say what is to be trained, and how much that is."""
    finalists, seeds = len(selection.finalists), selection.seeds
    each = baseline_seeds(seeds, finalists)
    names = "; ".join(
        " ".join(f"{key.removeprefix('distill.')}={value}" for key, value in one.point.items())
        for one in selection.finalists
    )
    log.info("confirms %s", names)
    log.info(
        "%d x %d seeds + %d of each baseline = %d trainings or more; test is opened once, at "
        "their end",
        finalists,
        seeds,
        each,
        finalists * seeds + each,
    )
    if all(one.difference is not None and one.difference < 0 for one in selection.finalists):
        log.warning("on validation none of them is better than the student alone")


def _job(
    finalist: Finalist,
    selection: Selection,
    folder: Path,
    *,
    root: Path,
    storage: str,
    uri: str | None,
) -> Job:
    """The finalist's training on fresh seeds; ``root`` may have been moved since the sweep."""
    config = config_from_plain(finalist.config)
    uri = uri or config.tracking.uri
    if uri is not None and HIDDEN in uri and config.tracking.backend != "none":
        raise UserError(
            f"tracking.uri={uri}: its password is not kept with the study; give "
            "tracking.uri=ADDRESS with it"
        )
    config = dataclasses.replace(
        config,
        root=str(root),
        storage=storage,
        tracking=dataclasses.replace(config.tracking, uri=uri),
        data=dataclasses.replace(
            config.data, root=moved(config.data.root, Path(config.root), root)
        ),
        seed=selection.first_seed,
        seeds=selection.seeds,
        study=_study(selection),
        trial=finalist.trial,
        round=1,
        evaluate=dataclasses.replace(config.evaluate, test=True),
        pruner=dataclasses.replace(config.pruner, name="none"),
        verdict=dataclasses.replace(
            config.verdict,
            first_baseline_seed=selection.first_baseline_seed,
            baseline_seeds=baseline_seeds(selection.seeds, len(selection.finalists)),
        ),
    )
    own = folder / f"round-{selection.round}" / f"trial-{finalist.trial}"
    return Job(config=config, folder=own, overrides=tuple(finalist.overrides))


def _study(selection: Selection) -> str:
    """What MLflow knows the confirmation by."""
    return f"{selection.study}-confirmation-{selection.round}"


def _train(session: Session, jobs: Sequence[Job]) -> list[CellRecords]:
    """The jobs' cells; those that an earlier command did not complete are trained."""
    missing = [job for job in jobs if not _is_complete(find_record(job.folder))]
    for job in missing:
        with writable(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
    if missing:
        outcomes = run_plans(session, plan(missing, session.datasets))
        for job in missing:
            error = outcomes[job.folder].error
            if error is not None and outcomes[job.folder].record is None:
                raise TrainingError(f"trial {job.config.trial}: {error}")
    records = [read_record(job.folder) for job in jobs]
    for record in records:
        if all(seed.status != "finished" for seed in record.seeds.values()):
            raise TrainingError(f"trial {record.trial}: no seed could be trained: {record.reason}")
    return cells_of(records)


def _is_complete(record: Record | None) -> bool:
    return record is not None and record.state == COMPLETE


def _judge(
    selection: Selection,
    cells: Sequence[CellRecords],
    jobs: Sequence[Job],
    bits: Sequence[Bits],
) -> Confirmation:
    """The verdicts of the finalists, each against its baseline."""
    keys = [tuple(one.key for one in cell.last.baselines) for cell in cells]
    distinct = list(dict.fromkeys(keys))
    groups = [distinct.index(key) for key in keys]
    first = [groups.index(group) for group in range(len(distinct))]
    return confirm(
        [cell.scores(METRIC) for cell in cells],
        [
            np.array([one.metrics.get(METRIC, np.nan) for one in cells[i].last.baselines])
            for i in first
        ],
        selected=[finalist.difference for finalist in selection.finalists],
        groups=groups,
        bits=bits,
        baseline_bits=[_bits(jobs[i], "test-baseline-seed", cells[i].baselines) for i in first],
        margin=float(cells[0].last.config["verdict"]["margin"]),
    )


def _bits(job: Job, name: str, seeds: Iterable[int]) -> Bits:
    """Which test images each seed has right [seeds, images]."""
    files = [job.folder / f"correct-{name}{seed}.bits" for seed in sorted(seeds)]
    return np.stack([unpack_correctness(f.read_bytes()) for f in files if f.is_file()])


def _report(
    selection: Selection, cells: Sequence[CellRecords], confirmed: Confirmation, images: int
) -> Sweep:
    """Print the table and the verdict."""
    tested = [_as_test(cell) for cell in cells]
    sweep = summarise(f"{selection.study} confirmed", tested, keys=selection.keys)
    labels = [cell.label for cell in sweep.cells]
    lines = outcome_lines(
        confirmed.outcome, labels, images=images, split="test",
        teachers=max(1, len(sweep.teachers)),
    )  # fmt: skip
    lines += [
        f"{label}: {finalist.difference:+.2f} points on validation when it was chosen, "
        f"{finalist.difference - shrunk:+.2f} on test with fresh seeds."
        for label, finalist, shrunk in zip(
            labels, selection.finalists, confirmed.shrinkage, strict=True
        )
        if shrunk is not None and finalist.difference is not None
    ]
    lines += [
        images_sentence(label, crossed)
        for label, crossed in zip(labels, confirmed.images, strict=True)
    ]
    if selection.round > 1:
        lines.append(f"Test has been opened {selection.round} times for this study.")
    sweep = with_verdicts(sweep, confirmed.outcome.cells, confirmed.outcome, lines)
    print()
    print_sweep(sweep)
    return sweep


def _as_test(cell: CellRecords) -> CellRecords:
    """The cell with test in the place of validation, whose reliability goes."""
    return dataclasses.replace(cell, rounds=tuple(_record_as_test(one) for one in cell.rounds))


def _record_as_test(record: Record) -> Record:
    return dataclasses.replace(
        record,
        split="test",
        objectives=(METRIC,),
        teacher=None,
        seeds={s: dataclasses.replace(one, reliability=()) for s, one in record.seeds.items()},
        baselines=tuple(dataclasses.replace(one, reliability=()) for one in record.baselines),
    )


def _where(root: Path) -> str:
    return "" if str(root) == "mlruns" else " " + shlex.quote(f"root={root}")


def _command(selection: Selection, root: Path) -> str:
    return (
        f"python -m kdsweep.confirm study={selection.study}{_where(root)} "
        f"top={len(selection.finalists)} side={selection.side} seeds={selection.seeds}"
    )


def _verdict(
    selection: Selection,
    cells: Sequence[CellRecords],
    confirmed: Confirmation,
    sweep: Sweep,
) -> dict[str, Any]:
    """What is kept of a confirmation."""
    return {
        "round": selection.round,
        "study": selection.study,
        "side": selection.side,
        "seeds": selection.seeds,
        "first_seed": selection.first_seed,
        "lines": list(sweep.verdict_lines),
        "cells": [
            {
                "trial": finalist.trial,
                "point": dict(finalist.point),
                "test_accuracy": cell.scores(METRIC).tolist(),
                "baseline_test_accuracy": [one.metrics.get(METRIC) for one in cell.last.baselines],
                **{k: v for k, v in dataclasses.asdict(judged).items() if v is not None},
            }
            for finalist, cell, judged in zip(
                selection.finalists, cells, confirmed.outcome.cells, strict=True
            )
        ],
    }
