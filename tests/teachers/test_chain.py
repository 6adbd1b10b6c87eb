from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from kdsweep.config import (
    Config,
    DataConfig,
    ModelConfig,
    PairConfig,
    ScheduleConfig,
    TeacherConfig,
    TrainConfig,
)
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware, choose_hardware
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from kdsweep.results.record import NetworkRecord
from kdsweep.teachers import chain, keys
from kdsweep.teachers import stored as teachers

TRAIN = TrainConfig(epochs=7, batch_size=32, threads=1, device="cpu", fuse="loop")
PAIR = PairConfig(teacher=ModelConfig(name="resnet20"), student=ModelConfig(name="resnet8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


def config(place: Path, **teacher: object) -> Config:
    made = TeacherConfig(**teacher)
    data = DataConfig(train_limit=64)
    return Config(data=data, pair=PAIR, train=TRAIN, teacher=made, root=str(place))


def ready(config: Config) -> tuple[DeviceDataset, Hardware]:
    hardware = choose_hardware(config.train)
    return Datasets().load(config, hardware), hardware


def links(config: Config) -> list[chain.Link]:
    (only,) = chain.chains(config, *ready(config))
    return only


def test_without_assistants_there_is_the_plain_teacher(place: Path) -> None:
    plain = config(place, epochs=9, seed=3)
    (link,) = links(plain)
    assert (link.kind, link.seed, link.model.name) == ("teacher", 3, "resnet20")
    assert link.config.train.epochs == 9
    assert link.key == keys.teacher_key(plain, *ready(plain))
    assert plain.teaching == PAIR.teacher


def test_each_assistant_is_taught_by_the_one_before_it(place: Path) -> None:
    made = config(
        place, assistants=["resnet32", {"name": "cifar_student", "width": 0.5}], epochs=9
    )
    first, second, third = links(made)
    assert [link.kind for link in (first, second, third)] == ["teacher", "assistant", "assistant"]
    assert first.key == links(config(place, epochs=9))[0].key
    assert second.config.pair == PairConfig(teacher=PAIR.teacher, student=second.model)
    assert third.config.pair == PairConfig(teacher=second.model, student=third.model)
    assert (third.model.name, third.model.width) == ("cifar_student", 0.5)
    assert made.teaching == third.model
    assert third.config.train.epochs == 9
    distill = third.config.distill
    assert (distill.temperature, distill.alpha, set(distill.losses)) == (4.0, 0.7, {"hinton"})


def test_what_an_assistant_is_found_by_tells_who_taught_it_and_how(place: Path) -> None:
    keys = [
        links(config(place, **changes))[-1].key
        for changes in (
            {"assistants": ["resnet32"]},
            {"assistants": ["resnet32"], "seed": 1},
            {"assistants": ["resnet32"], "assistant_temperature": 2.0},
            {"assistants": ["resnet32"], "assistant_alpha": 0.5},
            {"assistants": ["resnet56", "resnet32"]},
            {"assistants": ["resnet32"], "checkpoint_epoch": 2},
            {"generations": 1},
            {"generations": 2},
            {"generations": 3},
            {"checkpoint_epoch": 2},
            {},
        )
    ]
    assert len(set(keys)) == len(keys)


def test_generations_are_the_students_architecture(place: Path) -> None:
    made = config(place, generations=3)
    assert [link.model for link in links(made)] == [PAIR.student] * 3
    assert [link.kind for link in links(made)] == ["teacher", "assistant", "assistant"]
    assert len({link.seed for link in links(made)}) == 3
    assert made.teaching == PAIR.student
    longer = config(place, generations=4)
    assert [link.key for link in links(longer)][:3] == [link.key for link in links(made)]


def test_an_ensemble_has_consecutive_seeds(place: Path) -> None:
    made = config(place, ensemble=3, seed=5)
    every = chain.chains(made, *ready(made))
    assert [link.seed for (link,) in every] == [5, 6, 7]
    assert every[0][0].key == links(config(place, seed=5))[0].key


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ensemble": 2, "generations": 1}, "ensemble=2 teacher.generations=1: allowed is one"),
        ({"ensemble": 2, "assistants": ["resnet8"]}, "allowed is one of them at a time"),
        ({"ensemble": 2, "checkpoint": "x"}, "allowed is one of them at a time"),
        ({"checkpoint": "x", "checkpoint_epoch": 1}, "allowed is null with teacher.checkpoint"),
        ({"assistants": [3]}, "teacher.assistants=3: allowed is a model's name"),
        ({"assistants": [{"nme": "resnet8"}]}, "allowed is a model's name"),
        ({"checkpoint_epoch": 8}, "teacher.checkpoint_epoch=8: allowed is 1 to 7"),
        ({"combine": "votes"}, "teacher.combine=votes: allowed is one of probabilities, losses"),
    ],
)
def test_what_does_not_go_together_is_said(
    place: Path, options: dict[str, object], line: str
) -> None:
    with pytest.raises(UserError, match=line):
        config(place, **options)


def test_an_unknown_assistant_is_found_before_training(place: Path) -> None:
    made = config(place, assistants=["resnet21"])
    with pytest.raises(UserError, match="resnet21"):
        chain.check(made, *ready(made))


@pytest.fixture
def _any_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers of three epochs on 64 images know little."""
    monkeypatch.setattr(teachers, "refuse_untrained", lambda found: None)


def teacher_of(place: Path, name: str, **teacher: object) -> NetworkRecord:
    """The teacher of a student of one epoch, taught by what ``teacher`` asks for."""
    (place / name).mkdir()
    made = config(place, epochs=3, **teacher)
    data = dataclasses.replace(made.data, train_limit=64)
    small = PairConfig(
        teacher=ModelConfig(name="resnet8"),
        student=ModelConfig(name="cifar_student", width=0.25),
    )
    distill = dataclasses.replace(made.distill, losses={"hinton": {"weight": 1.0}})
    optimizer = dataclasses.replace(TRAIN.optimizer, lr=1e-2)
    train = dataclasses.replace(TRAIN, epochs=1, batch_size=32, optimizer=optimizer)
    tracking = dataclasses.replace(made.tracking, backend="none")
    made = dataclasses.replace(
        made,
        schedule=ScheduleConfig(name="onecycle"),
        data=data,
        pair=small,
        distill=distill,
        train=train,
        tracking=tracking,
    )
    with Session(made) as session:
        outcomes = run_plans(session, plan([Job(config=made, folder=place / name)]))
    record = outcomes[place / name].record
    assert record is not None
    assert record.teacher is not None
    return record.teacher


@pytest.mark.usefixtures("_any_teacher")
def test_an_early_stopped_teacher_is_another_one_on_the_same_schedule(place: Path) -> None:
    full = teacher_of(place, "full")
    early = teacher_of(place, "early", checkpoint_epoch=2)
    store = place / "store" / "teacher"
    histories = [
        json.loads((store / one.key / "meta.json").read_text())["history"] for one in (full, early)
    ]
    assert [len(history) for history in histories] == [3, 2]
    assert histories[1] == histories[0][:2]


@pytest.mark.usefixtures("_any_teacher")
def test_an_ensembles_metrics_and_costs_are_its_own(place: Path) -> None:
    teacher = teacher_of(place, "ensemble", ensemble=2, combine="losses")
    assert teacher.name == "2 x resnet8"
    one = teacher_of(place, "first")
    assert teacher.costs["parameters"] == 2 * one.costs["parameters"]
    assert teacher.metrics["val_nll"] != one.metrics["val_nll"]
