"""What of a study can be shipped: its cells with their weights, and what was found out of each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.errors import UserError
from kdsweep.evaluate import unpack_correctness
from kdsweep.package.confirmed import Finalist, find_confirmation
from kdsweep.package.manifest import Judgement, Scores
from kdsweep.results.cells import CellRecords, cells_of, read_records
from kdsweep.results.data import Cell
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.race import Race
from kdsweep.results.record import Metrics, NetworkRecord, Record, SeedRecord
from kdsweep.results.summary import more_is_better, summarise
from kdsweep.store import Store
from kdsweep.teachers.stored import LOGITS, WEIGHTS
from kdsweep.verdict.design import LEVEL

STUDENT, BASELINE = "student", "baseline"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Trained parameters, and what was measured of them on the evaluation images."""

    file: Path  # safetensors
    trial: int  # of the study: the cell's, in the round that trained these
    right: Path | None  # which images they have right, bit by bit
    logits: Path | None  # or what they answer: safetensors [n, K]
    metrics: Metrics
    classes: tuple[str, ...]
    run: str | None  # MLflow's id
    key: str | None  # of a network in the store

    def right_of(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which evaluation images, with these labels, the trained network had right.

        Raises:
            UserError: the file that says so is gone.
        """
        from safetensors.numpy import load_file

        file = self.right or self.logits
        assert file is not None
        if not file.is_file():
            raise UserError(f"{file}: is gone; it says how the network answered after training")
        if self.right is not None:
            return unpack_correctness(file.read_bytes())
        right: NDArray[np.bool_] = load_file(file)["logits"].argmax(1) == labels
        return right

    def accuracy(self, metric: str) -> float:
        """Percent that these very weights have right; the metric may be a mean over epochs."""
        if self.right is None or not self.right.is_file():
            return self.metrics[metric]
        return 100 * float(unpack_correctness(self.right.read_bytes()).mean())


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A cell of the study, or the baseline."""

    role: str  # student or baseline
    label: str
    trials: tuple[int, ...]  # of its rounds in the study
    record: Record  # of its last round, or of its confirmation
    weights: Mapping[int, Weights]  # by seed
    value: float  # the first objective's mean over seeds, on the evaluation images
    expected: Scores
    baselines: Mapping[int, NetworkRecord]  # that it was compared with
    judgement: Judgement | None  # the confirmation's where there is one, else the sweep's
    swept: Judgement | None  # the sweep's, of a cell that was confirmed
    sentence: str  # of the verdict
    confirmed: bool  # on fresh seeds and on test

    @property
    def metric(self) -> str:
        """Which accuracy is to be expected: on validation, or on test once it was confirmed."""
        return "test_accuracy" if self.confirmed else f"{self.record.prefix}_accuracy"

    @property
    def found_worse(self) -> Judgement | None:
        """What found the cell worse than the baseline, unless the confirmation says otherwise."""
        word = None if self.judgement is None else self.judgement.word
        if word == "worse":
            return self.judgement
        if word in (None, "open") and self.swept is not None and self.swept.word == "worse":
            return self.swept
        return None

    @property
    def alone(self) -> Scores | None:
        """The baseline's scores."""
        by_seed = {s: one.metrics.get(self.metric, math.nan) for s, one in self.baselines.items()}
        if not any(map(math.isfinite, by_seed.values())):
            return None
        return Scores.of(by_seed, split=self.expected.split, images=self.expected.images)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as its folder has it, with its confirmation where there is one."""

    name: str
    root: Path
    cells: tuple[Candidate, ...]  # those that are complete
    finalists: tuple[Candidate, ...]  # of the last confirmation
    worst_confirmed: bool  # the confirmation was of the worst cells alone
    maximize: bool  # whether more of the first objective is better
    read_on_test: bool  # its values are of test images, by which nothing may be chosen

    def baseline_of(self, cell: Candidate) -> Candidate:
        """The baseline that a cell was compared with.

        Raises:
            UserError: there is none.
        """
        scores = cell.alone
        if scores is None:
            raise UserError(f"cell=baseline: study {self.name} has none with an accuracy")
        store = Store(self.root)
        return Candidate(
            role=BASELINE,
            label="no distillation",
            trials=cell.trials,
            record=cell.record,
            weights={
                seed: _stored(store, one, cell.trials[-1]) for seed, one in cell.baselines.items()
            },
            value=math.nan,
            expected=scores,
            baselines={},
            judgement=None,
            swept=None,
            sentence="The baseline itself: trained on labels alone, without a teacher.",
            confirmed=cell.confirmed,
        )


def read_study(name: str, root: Path) -> Study:
    """Read the records of a study and of its confirmation.

    Raises:
        UserError: there is no such study, nothing of it is complete, or a file is damaged.
    """
    folder = root / "hydra" / "studies" / name
    records = read_records(folder) if folder.is_dir() else []
    if not records:
        raise UserError(_no_such_study(name, folder))
    race = Race.find(folder)
    cells = cells_of(records, None if race is None else race.keys)
    adaptive = race is None and any(len(cell.last.seeds) > 1 for cell in cells)
    sweep, outcome = judge_sweep(summarise(name, cells), cells, folder, adaptive=adaptive)
    level = LEVEL if outcome is None else outcome.design.level
    together = 1 if outcome is None else outcome.design.cells
    silent = next(iter(sweep.verdict_lines), "No verdict: nothing was judged.")
    complete = tuple(
        _from_sweep(cell, shown, folder, level=level, together=together, otherwise=silent)
        for cell, shown in zip(cells, sweep.cells, strict=True)
        if cell.unfinished is None and cell.last.trial is not None
    )
    if not complete:
        raise UserError(f"study={name}: has no complete cell in {folder}; finish its sweep")
    confirmation = find_confirmation(root, name)
    return Study(
        name=name,
        root=root,
        cells=complete,
        finalists=tuple(_from_confirmation(one, complete) for one in confirmation.finalists)
        if confirmation
        else (),
        worst_confirmed=confirmation is not None and confirmation.side == "worst",
        maximize=more_is_better(cells[0].last),
        read_on_test=cells[0].last.split == "test",
    )


def _no_such_study(name: str, folder: Path) -> str:
    there = sorted(path.name for path in folder.parent.glob("*/") if path.name != name)
    close = difflib.get_close_matches(name, there, n=1, cutoff=0.3)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"study={name}: no records in {folder}{hint}; root= names the folder that holds them"


def _from_sweep(
    cell: CellRecords, shown: Cell, folder: Path, *, level: float, together: int, otherwise: str
) -> Candidate:
    last, verdict = cell.last, shown.verdict
    judgement = None
    if verdict is not None:
        judgement = Judgement(
            word=verdict.word,
            difference=verdict.difference,
            low=verdict.low,
            high=verdict.high,
            level=level,
            n=len(shown.accuracy_by_seed),
            cells=together,
            split=last.split,
            images=last.images,
            confirmed=False,
        )
    metric = f"{last.prefix}_accuracy"
    return Candidate(
        role=STUDENT,
        label=shown.label,
        trials=tuple(record.trial for record in cell.rounds if record.trial is not None),
        record=last,
        weights={
            seed: one
            for record in cell.rounds
            for seed, one in _trained(
                record, folder / str(record.trial), record.trial or 0
            ).items()
        },
        value=cell.value,
        expected=Scores.of(
            {s: kept.metrics[metric] for r in cell.rounds for s, kept in r.seeds.items()},
            split=last.split,
            images=last.images,
        ),
        baselines=cell.baselines,
        judgement=judgement,
        swept=None,
        sentence=otherwise if judgement is None else judgement.sentence,
        confirmed=False,
    )


def _from_confirmation(finalist: Finalist, cells: tuple[Candidate, ...]) -> Candidate:
    record, judgement = finalist.record, finalist.judgement
    swept = next((cell for cell in cells if finalist.trial in cell.trials), None)
    point = " ".join(f"{key}={value}" for key, value in finalist.point.items())
    objective = record.objectives[0]
    values = [{**record.costs, **kept.metrics}[objective] for kept in _finished(record).values()]
    tested = {s: kept.metrics.get("test_accuracy", math.nan) for s, kept in record.seeds.items()}
    sentence = f"No verdict: {finalist.reason or 'the confirmation gave no interval'}."
    if judgement is not None:
        sentence = f"Confirmed on fresh seeds and on test: {_continued(judgement)}"
    before = None if swept is None else swept.judgement
    if before is not None:
        sentence += f" The sweep before it: {_continued(before)}"
    return Candidate(
        role=STUDENT,
        label=point if swept is None else swept.label,
        trials=(finalist.trial,) if swept is None else swept.trials,
        record=record,
        weights=_trained(record, finalist.folder, finalist.trial),
        value=sum(values) / len(values),
        expected=Scores.of(tested, split="test", images=finalist.images),
        baselines={one.seed: one for one in record.baselines},
        judgement=judgement,
        swept=before,
        sentence=sentence,
        confirmed=True,
    )


def _continued(judgement: Judgement) -> str:
    sentence = judgement.sentence
    return f"{sentence[0].lower()}{sentence[1:]}"


def _finished(record: Record) -> dict[int, SeedRecord]:
    return {seed: kept for seed, kept in record.seeds.items() if kept.status == "finished"}


def _trained(record: Record, folder: Path, trial: int) -> dict[int, Weights]:
    """The students of a job by seed, those that finished."""
    return {
        seed: Weights(
            file=folder / f"student-seed{seed}.safetensors",
            trial=trial,
            right=folder / f"correct-seed{seed}.bits",
            logits=None,
            metrics=kept.metrics,
            classes=tuple(kept.per_class),
            run=kept.run_id or None,
            key=None,
        )
        for seed, kept in _finished(record).items()
    }


def _stored(store: Store, network: NetworkRecord, trial: int) -> Weights:
    folder = store.folder(BASELINE, network.key)
    return Weights(
        file=folder / WEIGHTS,
        trial=trial,
        right=None,
        logits=folder / LOGITS,
        metrics=network.metrics,
        classes=tuple(network.per_class),
        run=None,
        key=network.key,
    )
