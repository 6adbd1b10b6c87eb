"""What a job and the head of the sweep tell each other through files, either of them mortal."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kdsweep.config import Config
from kdsweep.engines import PopulationSpec, folder
from kdsweep.engines.folder import JobTask, PartFolder, _Filed
from kdsweep.train.interfaces import Observer, Trained
from kdsweep.train.population import Member

MEMBERS = [Member(name="a", seed=1), Member(name="b", seed=2)]
RECORDS = {"a": {"val_loss": 0.1}, "b": {"val_loss": float("nan")}}


def created(path: Path, *, waits: bool = False) -> PartFolder:
    made = PartFolder(path / "part")
    spec = PopulationSpec(config=Config())
    made.create(JobTask(spec=spec, members=MEMBERS, waits=waits, directory=str(Path.cwd())))
    return made


def test_what_is_reported_is_read_once_and_torn_lines_never(tmp_path: Path) -> None:
    part = created(tmp_path)
    reports = part.reports()
    assert next(reports) == []
    part.report("step", (1, 4))
    part.report("epoch", (0, RECORDS))
    (step, epoch) = next(reports)
    assert (step[0], *step[1]) == ("step", 1, 4)
    assert epoch[1][1]["a"] == {"val_loss": 0.1}
    assert next(reports) == []
    file = part.path / "reports.jsonl"
    with file.open("a") as torn:
        torn.write('["step", [2')
    assert next(reports) == []
    with file.open("a") as torn:  # the job was killed there, and another has begun
        torn.write('\n["step", [3, 4]]\n')
    assert next(reports) == [("step", [3, 4])]


def test_a_job_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def train(
        spec: PopulationSpec, members: Sequence[Member], observer: Observer
    ) -> tuple[str, object]:
        trained.extend(member.name for member in members)
        observer.step(4, 4)
        return "done", {m.name: Trained(name=m.name, seed=m.seed, status="f") for m in members}

    monkeypatch.setattr(folder, "train_outcome", train)
    part = created(tmp_path)
    assert not part.ended
    assert part.outcome is None
    part.run()
    part.run()  # as a job does that is queued again although it is done
    assert trained == ["a", "b"]
    assert part.outcome is not None
    assert part.outcome[0] == "done"
    assert part.members() == ["a", "b"]
    assert PartFolder(tmp_path / "nothing").members() is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(part: PartFolder, clock: Clock, *, waits: bool = True) -> _Filed:
    return _Filed(part, waits=waits, clock=clock)


def test_a_job_waits_for_an_answer_where_members_may_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, looked = created(tmp_path), threading.Event()
    monkeypatch.setattr("kdsweep.engines.folder.time.sleep", lambda _: looked.set())
    heard: list[Mapping[str, str]] = []
    job = asked(part, Clock())
    waiting = threading.Thread(target=lambda: heard.append(job.epoch(0, RECORDS)))
    waiting.start()
    assert looked.wait(30)
    assert heard == []
    part.answer(0, {"b": "pruned"})
    waiting.join(30)
    assert heard == [{"b": "pruned"}]
    assert asked(part, Clock()).epoch(0, RECORDS) == {"b": "pruned"}  # as after a requeue


def test_a_job_waits_for_nobody_where_none_may_leave(tmp_path: Path) -> None:
    assert asked(created(tmp_path), Clock(), waits=False).epoch(0, RECORDS) == {}


def test_a_job_goes_on_without_its_head_and_hears_it_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, clock = created(tmp_path), Clock()
    looks: list[float] = []

    def later(_: float) -> None:
        looks.append(clock.now)
        clock.now += 10

    monkeypatch.setattr("kdsweep.engines.folder.time.sleep", later)
    part.beat(1)
    job = asked(part, clock)
    assert job.epoch(0, RECORDS) == {}
    assert looks == [0, 10, 20, 30]  # it was silent for more than 30 s
    assert job.epoch(1, RECORDS) == {}  # and is not waited for again
    assert len(looks) == 4
    part.beat(2)
    part.answer(2, {"a": "pruned"})
    assert job.epoch(2, RECORDS) == {"a": "pruned"}
