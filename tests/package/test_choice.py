"""Which cell and which seed are shipped, by records alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from kdsweep.config.typed import config_from_plain
from kdsweep.errors import UserError
from kdsweep.package.candidates import Candidate, Study, read_study
from kdsweep.package.choice import choose
from kdsweep.package.describe import describe
from tests.package.made import BASELINES, FRESH, RUN, MadeStudy, rewrite


@pytest.fixture
def root(study: MadeStudy, tmp_path: Path) -> Path:
    """A copy of the study, which a test may change."""
    shutil.copytree(study.root / "hydra", tmp_path / "hydra")
    shutil.copytree(study.root / "store" / "baseline", tmp_path / "store" / "baseline")
    return tmp_path


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> MadeStudy:
    """Trial 0 was confirmed to be better, trial 1, whose mean is better, was not."""
    made = MadeStudy(tmp_path_factory.mktemp("confirmed") / "mlruns")
    made.confirm()
    return made


def trial_of(study: Study, cell: str = "best", seed: str = "best") -> tuple[int, int]:
    choice = choose(study, cell=cell, seed=seed)
    return choice.weights.trial, choice.seed


@pytest.mark.parametrize(
    ("cell", "seed", "expected"),
    [
        ("best", "best", (1, 0)),
        ("best", "median", (1, 2)),
        ("best", "1", (1, 1)),
        ("0", "best", (0, 0)),
        ("0", "median", (0, 2)),
        ("baseline", "best", (1, BASELINES[1])),
    ],
)
def test_by_validation(study: MadeStudy, cell: str, seed: str, expected: tuple[int, int]) -> None:
    assert trial_of(read_study("s", study.root), cell, seed) == expected


def test_less_is_better_where_the_objective_says_so(study: MadeStudy, root: Path) -> None:
    for trial, nll in ((0, 1.0), (1, 2.0)):
        record = study.records[trial]
        seeds = {
            str(seed): {
                **dataclasses.asdict(kept),
                "metrics": {**kept.metrics, "val_nll": nll + seed * (-1) ** trial},
            }
            for seed, kept in record.seeds.items()
        }
        config = {**record.config, "objective": "nll"}
        folder = root / "hydra" / "studies" / "s" / str(trial)
        rewrite(folder, objectives=["val_nll"], values=[nll], seeds=seeds, config=config)
    found = read_study("s", root)
    assert trial_of(found) == (0, 0)
    assert trial_of(found, "1") == (1, 2)


def test_a_cost_chooses_the_cell_and_accuracy_the_seed(root: Path) -> None:
    for trial in (0, 1):
        folder = root / "hydra" / "studies" / "s" / str(trial)
        config = {
            **json.loads((folder / "result.json").read_text())["config"],
            "objective": "parameters",
        }
        rewrite(folder, objectives=["parameters"], values=[float(trial)], config=config)
    assert trial_of(read_study("s", root)) == (0, 0)


def test_the_verdict_chooses_among_the_confirmed_and_test_only_reports(
    confirmed: MadeStudy,
) -> None:
    found = read_study("s", confirmed.root)
    choice = choose(found, cell="best", seed="best")
    assert choice.weights.trial == 0
    assert choice.seed in FRESH
    own = {seed: kept.metrics for seed, kept in choice.candidate.record.seeds.items()}
    assert choice.seed == max(own, key=lambda seed: own[seed]["val_accuracy"])
    assert choice.weights.file.parent == confirmed.root / "confirmations/s/round-1/trial-0"
    config = config_from_plain(choice.candidate.record.config)
    manifest = describe(choice, config, study="s")
    assert (manifest.expected.split, manifest.expected.images, manifest.expected.n) == (
        "test",
        359,
        3,
    )
    assert manifest.expected.mean == pytest.approx(100 * (350 - 4) / 359)
    assert manifest.accuracy_split == "validation"
    assert manifest.verdict is not None
    assert manifest.verdict.confirmed
    before = choose_swept(found).sentence
    assert manifest.verdict_sentence == (
        "Confirmed on fresh seeds and on test: better than the same student trained without a "
        "teacher: +1.00 points, 95 % interval [+0.25, +1.75] (n = 3 seeds, 359 test images, "
        "simultaneous over 2 cells). The sweep before it: " + before[0].lower() + before[1:]
    )
    assert manifest.sweep_verdict == choose_swept(found).judgement
    assert manifest.warning is None


def choose_swept(study: Study) -> Candidate:
    """The cell of trial 0 as the sweep found it."""
    return next(cell for cell in study.cells if cell.trials == (0,))


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> MadeStudy:
    """The sweep found trial 0 far worse than the baseline, and left trial 1 open."""
    made = MadeStudy(tmp_path_factory.mktemp("harmful") / "mlruns", cells={0: 1e5, 1: 0.6})
    made.confirm(words=("open", "open"))
    return made


def confirmed_as(made: MadeStudy, folder: Path, *words: str, side: str = "best") -> Study:
    """A copy of the study whose confirmation came to these verdicts."""
    shutil.copytree(made.root, folder / "copy")
    path = folder / "copy" / "confirmations" / "s" / "verdict.json"
    content = {**json.loads(path.read_text()), "side": side}
    for cell, word in zip(content["cells"], words, strict=True):
        cell["verdict"] = word
    path.write_text(json.dumps(content))
    return read_study("s", folder / "copy")


@pytest.mark.parametrize(
    ("words", "trial", "found"),
    [
        (("open", "open"), 1, None),
        (("open", "worse"), 0, "sweep"),
        (("worse", "worse"), 1, "confirmation"),
        (("better", "open"), 0, None),
        (("equivalent", "worse"), 0, None),
    ],
)
def test_what_the_sweep_found_worse_is_shipped_last_and_never_silently(
    harmful: MadeStudy, tmp_path: Path, words: tuple[str, str], trial: int, found: str | None
) -> None:
    study = confirmed_as(harmful, tmp_path, *words)
    choice = choose(study, cell="best", seed="best")
    assert choice.weights.trial == trial
    manifest = describe(choice, harmful.config, study="s")
    if found is None:
        assert manifest.warning is None
        return
    assert manifest.warning is not None
    assert manifest.warning.startswith("this student was found WORSE than the same student")
    assert f"by the {found}, on " in manifest.warning
    assert "cell=baseline packages it" in manifest.warning
    asked = choose(study, cell="0", seed="best")
    assert (describe(asked, harmful.config, study="s").warning is None) == (words[0] == "better")


def test_without_a_confirmation_a_cell_that_was_found_worse_comes_last(
    harmful: MadeStudy, tmp_path: Path
) -> None:
    study = confirmed_as(harmful, tmp_path, "worse", "open", side="worst")
    cells = {
        cell.trials[0]: dataclasses.replace(cell, value=9 - cell.trials[0]) for cell in study.cells
    }
    finalists = tuple(
        dataclasses.replace(one, judgement=None, value=9 - one.trials[0])
        for one in study.finalists
    )
    unsure = dataclasses.replace(study, finalists=finalists, worst_confirmed=False)
    assert choose(unsure, cell="best", seed="best").weights.trial == 1
    luckier = dataclasses.replace(study, cells=tuple(cells.values()), finalists=())
    choice = choose(luckier, cell="best", seed="best")
    assert choice.weights.trial == 1
    assert choice.cell_reason.startswith("the best mean of the 1 of 2 cells that were not found w")
    alone = dataclasses.replace(luckier, cells=(cells[0],))
    manifest = describe(choose(alone, cell="best", seed="best"), harmful.config, study="s")
    assert manifest.warning is not None
    assert "by the sweep, on validation)" in manifest.warning


def test_what_was_confirmed_to_be_worse_is_so_for_a_sweep_that_left_it_open(
    harmful: MadeStudy, tmp_path: Path
) -> None:
    study = confirmed_as(harmful, tmp_path, "worse", "worse", side="worst")
    choice = choose(study, cell="best", seed="best")
    assert choice.candidate.confirmed
    assert describe(choice, harmful.config, study="s").warning is not None


def test_a_cell_that_was_confirmed_has_its_fresh_seeds(confirmed: MadeStudy) -> None:
    choice = choose(read_study("s", confirmed.root), cell="1", seed="best")
    assert choice.seed in FRESH


def test_among_equal_verdicts_validation_chooses(confirmed: MadeStudy, tmp_path: Path) -> None:
    shutil.copytree(confirmed.root, tmp_path / "copy")
    path = tmp_path / "copy" / "confirmations" / "s" / "verdict.json"
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        cell["verdict"] = "open"
    path.write_text(json.dumps(content))
    found = read_study("s", tmp_path / "copy")
    assert choose(found, cell="best", seed="best").weights.trial == 1
    content["side"] = "worst"  # what was confirmed is the harm of the worst cells
    path.write_text(json.dumps(content))
    choice = choose(read_study("s", tmp_path / "copy"), cell="best", seed="best")
    assert not choice.candidate.confirmed
    assert choice.weights.trial == 1
    path.write_text("{")
    with pytest.raises(UserError, match=r"verdict\.json: is damaged"):
        read_study("s", tmp_path / "copy")


def test_test_never_chooses(root: Path) -> None:
    for trial in (0, 1):
        rewrite(root / "hydra" / "studies" / "s" / str(trial), split="test")
        path = root / "hydra" / "studies" / "s" / str(trial) / "result.json"
        path.write_text(path.read_text().replace("val_", "test_"))
    found = read_study("s", root)
    with pytest.raises(UserError, match=r"read on test .*; name one: cell=TRIAL"):
        choose(found, cell="best", seed="0")
    for seed in ("best", "median"):
        with pytest.raises(UserError, match=rf"^seed={seed}: .*read on test.*one of 0, 1, 2"):
            choose(found, cell="1", seed=seed)
    assert trial_of(found, "1", "2") == (1, 2)


def test_the_run_of_the_seed_goes_with_it(study: MadeStudy) -> None:
    found = read_study("s", study.root)
    assert choose(found, cell="best", seed="best").weights.run == RUN
    baseline = choose(found, cell="baseline", seed="best").weights
    assert (baseline.run, baseline.key) == (None, f"baseline{BASELINES[1]}")


def test_a_baseline_is_what_it_is(study: MadeStudy) -> None:
    choice = choose(read_study("s", study.root), cell="baseline", seed="best")
    candidate: Candidate = choice.candidate
    assert candidate.judgement is None
    assert candidate.sentence.startswith("The baseline itself")
    manifest = describe(choice, study.config, study="s")
    assert manifest.training["distillation"] == "none: labels alone"
    assert manifest.name == "cifar_student for digits (without a teacher)"


@pytest.mark.parametrize(
    ("cell", "seed", "line"),
    [
        ("7", "best", r"^cell=7: no such cell; allowed is best, baseline, .*: 0, 1$"),
        ("worst", "best", r"^cell=worst: allowed is best, baseline, .*: 0, 1$"),
        ("best", "7", r"^seed=7: is none of this cell's; allowed is .*one of 0, 1, 2$"),
        ("best", "last", r"^seed=last: allowed is best, median, or one of 0, 1, 2$"),
        ("best", "²", r"^seed=²: allowed is"),
    ],
)
def test_what_is_not_there_is_refused(study: MadeStudy, cell: str, seed: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        choose(read_study("s", study.root), cell=cell, seed=seed)


def test_weights_that_were_deleted_are_named_with_those_that_are_left(root: Path) -> None:
    folder = root / "hydra" / "studies" / "s" / "1"
    (folder / "student-seed0.safetensors").unlink()
    found = read_study("s", root)
    with pytest.raises(UserError, match=r"seed 0 are gone; .*those of seed 1, 2: give seed=1"):
        choose(found, cell="best", seed="best")
    assert trial_of(found, "best", "2") == (1, 2)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match=r"those of no seed: give another cell="):
        choose(found, cell="best", seed="best")


def test_no_such_study_names_the_nearest(root: Path) -> None:
    with pytest.raises(UserError, match=r"^study=ss: no records in .*; did you mean s\?; root="):
        read_study("ss", root)
    for trial in (0, 1):
        rewrite(root / "hydra" / "studies" / "s" / str(trial), state="failed")
    with pytest.raises(UserError, match=r"^study=s: has no complete cell"):
        read_study("s", root)
