"""What is proposed after a study: never a confirmation of nothing, never without its cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from kdsweep.config import Config
from kdsweep.results.cells import cells_of
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.record import Record
from kdsweep.results.summary import summarise
from kdsweep.sweeper.next_step import Step, next_step
from kdsweep.sweeper.reporting import follow_up
from tests.results.made import network, record

BASE = (70.0, 71.0, 69.5, 70.2, 70.4, 69.9)
UP, DOWN, SAME = (80.0, 80.5, 80.2), (60.0, 60.5, 60.2), (70.3, 71.2, 69.4)


def config(**changes: int) -> dict[str, object]:
    return dataclasses.asdict(dataclasses.replace(Config(), **changes))


def records(*scores: tuple[float, ...], **given: str) -> list[Record]:
    seeds, rounds = len(scores[0]), 1
    return [
        record(
            trial,
            own,
            BASE,
            point={"distill.temperature": trial + 1, **given},
            config=config(seeds=seeds, rounds=rounds),
        )
        for trial, own in enumerate(scores)
    ]


def step(folder: Path, found: list[Record], *, adaptive: bool = False) -> Step:
    cells = cells_of(found)
    sweep, _ = judge_sweep(summarise("s", cells), cells, folder, adaptive=adaptive)
    return next_step("s", sweep, cells, where=" root=r")


def test_cells_that_help_are_confirmed_and_no_others(tmp_path: Path) -> None:
    found = step(tmp_path, records(UP, DOWN, UP))
    assert found.command == "python -m kdsweep.confirm study=s root=r top=2 seeds=20"
    assert found.purpose == ("Confirm its best 2 cells, on fresh seeds and on test (69 trainings)")
    many = step(tmp_path, records(*[UP] * 5))
    assert many.command.endswith("top=3 seeds=20")


def test_where_all_harm_there_is_nothing_to_confirm(tmp_path: Path) -> None:
    found = step(tmp_path, records(DOWN, DOWN, experiment="smoke", study="mine"))
    assert "confirm" not in found.command
    assert found.purpose == "Nothing to confirm; try other losses instead (15 trainings)"
    assert found.command == (
        "python -m kdsweep -m experiment=smoke distill=dist,dkd,logit_mse seeds=3 root=r"
    )


def test_a_teacher_that_knows_less_than_the_student_is_trained_longer(tmp_path: Path) -> None:
    def taught_by(accuracy: float, **given: str) -> Step:
        teacher = network(0, accuracy, key="t", name="resnet8")
        found = records(DOWN, DOWN, **given)
        return step(tmp_path, [dataclasses.replace(one, teacher=teacher) for one in found])

    found = taught_by(66.0, experiment="quickstart", study="mine")
    assert found.purpose == (
        "The teacher (66.00 %) knows less than the student alone (70.17 %); train it longer first "
        "(11 trainings, and the teacher)"
    )
    assert found.command == (
        "python -m kdsweep -m distill.temperature=1,2 experiment=quickstart "
        "teacher.epochs=60 root=r"
    )
    assert "other losses" in taught_by(90.0).purpose
    assert "other losses" in taught_by(66.0, **{"teacher.epochs": "3"}).purpose


def test_losses_that_were_tried_are_not_proposed_again(tmp_path: Path) -> None:
    found = step(tmp_path, records(DOWN, DOWN, distill="dist"))
    assert "distill=dkd,logit_mse,nkd " in found.command


def test_one_seed_is_repeated_with_three(tmp_path: Path) -> None:
    found = step(tmp_path, records((80.0,), (60.0,), study="mine", seeds="1"))
    assert found.command == "python -m kdsweep -m distill.temperature=1,2 seeds=3 root=r"
    assert found.purpose == "Repeat it with 3 seeds, for a verdict (11 trainings)"


def test_without_intervals_only_a_gain_is_confirmed(tmp_path: Path) -> None:
    def pruned(*scores: tuple[float, ...]) -> Step:
        last, *others = records(*scores)[::-1]
        stopped = dataclasses.replace(last, state="pruned", values=())
        return step(tmp_path, [*others[::-1], stopped])

    assert "Confirm its best 3 cells" in pruned(UP, UP, UP, UP).purpose
    assert "other losses" in pruned(DOWN, DOWN, DOWN).purpose


def test_what_a_sampler_drew_with_one_seed(tmp_path: Path) -> None:
    found = step(tmp_path, records((80.0,), (60.0,), search="tpe"), adaptive=True)
    assert found.command == "python -m kdsweep -m search=tpe seeds=3 root=r"


def test_an_undecided_gain_gets_a_study_of_its_own(tmp_path: Path) -> None:
    """Seeds that nobody has seen, of the cell and of the baseline."""
    found = step(tmp_path, records((71.6, 72.0, 70.2), DOWN))
    assert found.purpose.startswith("Decide temperature=1, if its +1.10 points are real")
    words = found.command.split()
    assert words[:4] == ["python", "-m", "kdsweep", "-m"]
    assert {"distill.temperature=1", "seed=3", "verdict.first_baseline_seed=1000006"} <= {*words}


def test_an_undecided_loss_is_let_be(tmp_path: Path) -> None:
    assert "other losses" in step(tmp_path, records(tuple(x - 0.6 for x in SAME), DOWN)).purpose


def test_commands_name_what_is_not_the_default() -> None:
    cells = cells_of(records(UP))
    sweep = summarise("s", cells)
    plain = Config()
    commands = follow_up("s", sweep, cells, root=plain.root, storage=plain.storage)
    assert commands["Export the study"] == "python -m kdsweep.export study=s"
    storage = "postgresql+psycopg2://me:secret@host/db"
    for command in follow_up("s", sweep, cells, root="my runs", storage=storage).values():
        assert "study=s 'root=my runs'" in command
        assert "storage=postgresql+psycopg2://me:***@host/db" in command
    storage = "postgresql+psycopg2://me@host/db?password=secret"
    uri = "http://me:secret@host"
    shown = follow_up("s", sweep, cells, root="my runs", storage=storage, uri=uri)
    assert "secret" not in str(shown)
    confirm, export = shown.items()
    assert "with the password in the place of ***" in confirm[0]
    assert "with the password in the place of ***" in export[0]
    assert "tracking.uri=http://me:***@host" in confirm[1]
