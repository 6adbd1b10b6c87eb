from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from kdsweep.config import OptimizerConfig, ViewsConfig
from kdsweep.hardware.choose import Hardware
from kdsweep.store import Store
from kdsweep.train.checkpoint import FIRST, KIND, SHARE, TENSORS, Checkpoints, discard
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member
from tests.datafree.test_generators import CONFIGS, generators
from tests.train.setting import CONFIG, GROUPED, ONE_BY_ONE, Quiet, Setting, a_population

EPOCHS = 4
each_execution = pytest.mark.parametrize(
    "hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"]
)


class Stopped(Exception):
    pass


class LeavingLate(Quiet):
    """Sends a member home after an epoch (from 0)."""

    def __init__(self, leaves: Mapping[int, str]) -> None:
        super().__init__()
        self.leaves = leaves

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        super().epoch(epoch, records)
        name = self.leaves.get(epoch)
        return {name: f"after {epoch}"} if name in records else {}


class Stopping(LeavingLate):
    """In its time training is stopped, in the midst of an epoch."""

    def __init__(self, after: int, leaves: Mapping[int, str] | None = None) -> None:
        super().__init__(leaves or {})
        self.after = after  # epochs

    def step(self, done: int, total: int) -> None:
        if done * EPOCHS > self.after * total:
            raise Stopped


def checkpoints(folder: Path, members: list[Member], every: int | None = 1) -> Checkpoints:
    return Checkpoints(Store(folder), "setting", members, every=every)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "store" / KIND).rglob(TENSORS))


def assert_equal(one: Mapping[str, Trained], other: Mapping[str, Trained]) -> None:
    """Equal to the last bit."""
    assert one.keys() == other.keys()
    for name, first in one.items():
        second = other[name]
        assert (first.status, first.reason) == (second.status, second.reason)
        assert str(first.history) == str(second.history)  # nan is nan
        assert first.state.keys() == second.state.keys()
        assert all(torch.equal(v, second.state[k]) for k, v in first.state.items())
        assert (first.logits is None) == (second.logits is None)
        if first.logits is not None and second.logits is not None:
            assert torch.equal(first.logits, second.logits)


def stop_and_go_on(
    folder: Path,
    members: list[Member],
    train: Callable[..., dict[str, Trained]],
    *,
    after: int = 2,
) -> tuple[Quiet, dict[str, Trained]]:
    """A training that is stopped, and the same one again; what the second one reported."""
    with pytest.raises(Stopped), checkpoints(folder, members) as kept:
        train(observer=Stopping(after), checkpoints=kept, epochs=EPOCHS)
    assert len(files(folder)) == 1
    observer = Quiet()
    with checkpoints(folder, members) as kept:
        return observer, train(observer=observer, checkpoints=kept, epochs=EPOCHS)


CASES: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": OptimizerConfig(name="adam", lr=0.01)},
    "adamw": {"optimizer": OptimizerConfig(name="adamw", lr=0.01)},
    "sgd": {"optimizer": OptimizerConfig(name="sgd", lr=0.05), "clip_norm": None},
    "nesterov": {"optimizer": OptimizerConfig(name="sgd", lr=0.05, nesterov=True)},
    "erase and mixup": {
        "data": dataclasses.replace(CONFIG, views=ViewsConfig(padding=1, erase=0.5, mixup=1.0))
    },
    "crd": {"loss": "crd", "options": {"dimensions": 4, "negatives": 5}},
    "adversarial": {"loss": "adversarial"},
    "fitnet": {"loss": "fitnet"},
}


@each_execution
@pytest.mark.parametrize("case", CASES)
def test_a_stopped_training_goes_on_to_the_same_bits(
    tmp_path: Path, case: str, hardware: Hardware
) -> None:
    members = a_population(3)
    alone = case in ("crd", "adversarial")
    setting = Setting(**CASES[case])

    def train(**given: Any) -> dict[str, Trained]:
        return setting.train(members, hardware, together=1 if alone else None, **given)

    observer, trained = stop_and_go_on(tmp_path, members, train)
    whole = Quiet()
    assert_equal(trained, train(epochs=EPOCHS, observer=whole))
    assert observer.epochs == whole.epochs  # every epoch is reported once
    steps = whole.steps[-1][1] // EPOCHS
    assert observer.steps[0][0] == 2 * steps + 1  # what was done is not done again


@pytest.mark.parametrize("schedule", ["constant", "step", "multistep", "cosine", "onecycle"])
@pytest.mark.parametrize("after", [1, 3])
def test_every_schedule_goes_on_where_it_was(tmp_path: Path, schedule: str, after: int) -> None:
    members, setting = a_population(2), Setting()

    def train(**given: Any) -> dict[str, Trained]:
        return setting.train(members, GROUPED, schedule=schedule, ema=0.9, **given)

    _, trained = stop_and_go_on(tmp_path, members, train, after=after)
    assert_equal(trained, train(epochs=EPOCHS))


@each_execution
@pytest.mark.parametrize("objective", CONFIGS)
def test_generators_go_on_with_their_students(
    tmp_path: Path, objective: str, hardware: Hardware
) -> None:
    members = a_population(3)
    loss = "hinton" if objective == "dafl" else "logit_mae"
    setting = Setting(loss=loss, clip_norm=None)

    def train(**given: Any) -> dict[str, Trained]:
        made = generators(CONFIGS[objective])
        trained = setting.train(members, hardware, source=made, **given)
        learned = [made.learned(member).state_dict() for member in members]
        return {
            name: dataclasses.replace(one, beside={"generator": state})
            for (name, one), state in zip(trained.items(), learned, strict=True)
        }

    _, trained = stop_and_go_on(tmp_path, members, train)
    whole = train(epochs=EPOCHS)
    assert_equal(trained, whole)
    for name, one in trained.items():
        other = whole[name].beside["generator"]
        assert all(torch.equal(v, other[k]) for k, v in one.beside["generator"].items())


@each_execution
def test_who_has_left_stays_away(tmp_path: Path, hardware: Hardware) -> None:
    """One that diverges at once, one that is dropped before the stop, one after it."""
    members = a_population(5)
    members[1] = dataclasses.replace(members[1], hyper={**members[1].hyper, "lr": 1e300})
    setting, leaves = Setting(clip_norm=None), {1: "m2", 2: "m4"}
    stopping = Stopping(2, leaves)
    with pytest.raises(Stopped), checkpoints(tmp_path, members) as kept:
        setting.train(members, hardware, observer=stopping, checkpoints=kept, epochs=EPOCHS)
    again = LeavingLate(leaves)
    with checkpoints(tmp_path, members) as kept:
        trained = setting.train(members, hardware, observer=again, checkpoints=kept, epochs=EPOCHS)
    whole = LeavingLate(leaves)
    expected = setting.train(members, hardware, observer=whole, epochs=EPOCHS)
    assert_equal(trained, expected)
    assert [one.status for _, one in sorted(trained.items())] == [
        "finished", "diverged", "dropped", "finished", "dropped",
    ]  # fmt: skip
    assert again.epochs == whole.epochs


def test_who_the_observer_now_sends_home_earlier_leaves_earlier(tmp_path: Path) -> None:
    members, setting = a_population(3), Setting()

    def train(**given: Any) -> dict[str, Trained]:
        return setting.train(members, GROUPED, **given)

    with pytest.raises(Stopped), checkpoints(tmp_path, members) as kept:
        train(observer=Stopping(2, {1: "m2"}), checkpoints=kept, epochs=EPOCHS)
    observer = LeavingLate({0: "m1"})  # and not m2, which is gone nevertheless
    with checkpoints(tmp_path, members) as kept:
        trained = train(observer=observer, checkpoints=kept, epochs=EPOCHS)
    assert (trained["m1"].reason, len(trained["m1"].history)) == ("after 0", 1)
    assert (trained["m2"].reason, len(trained["m2"].history)) == ("after 1", 2)
    assert_equal({"m0": trained["m0"]}, {"m0": train(epochs=EPOCHS)["m0"]})


def test_a_training_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    members, setting = a_population(2), Setting()
    with checkpoints(tmp_path, members) as kept:
        whole = setting.train(members, GROUPED, checkpoints=kept)
    observer = Quiet()
    with checkpoints(tmp_path, members) as kept:
        again = setting.train(members, GROUPED, checkpoints=kept, observer=observer)
    assert_equal(again, whole)
    assert observer.steps == []


def test_some_of_the_members_go_on_in_any_order_and_others_start_anew(tmp_path: Path) -> None:
    members, setting = a_population(5), Setting()
    with pytest.raises(Stopped), checkpoints(tmp_path, members) as kept:
        setting.train(members, observer=Stopping(2), checkpoints=kept, epochs=EPOCHS)

    def started(chosen: list[Member]) -> int:
        observer = Quiet()
        with checkpoints(tmp_path, chosen) as kept:
            trained = setting.train(chosen, observer=observer, checkpoints=kept, epochs=EPOCHS)
        assert_equal(trained, setting.train(chosen, epochs=EPOCHS))
        return observer.steps[0][0]

    renamed = [dataclasses.replace(m, name=f"other {m.name}") for m in (members[4], members[1])]
    assert started(renamed) == 2 * 2 + 1
    stranger = dataclasses.replace(members[0], name="x", seed=9)
    assert started([members[0], stranger]) == 1


@pytest.mark.parametrize("harm", ["cut", "changed", "meta"])
def test_a_damaged_checkpoint_is_told_and_left_out(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    members, setting = a_population(2), Setting()
    with pytest.raises(Stopped), checkpoints(tmp_path, members) as kept:
        setting.train(members, observer=Stopping(2), checkpoints=kept, epochs=EPOCHS)
    (file,) = files(tmp_path)
    content = file.read_bytes()
    if harm == "cut":
        file.write_bytes(content[:-1])
    elif harm == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        meta = file.with_name("meta.json")
        meta.write_text(meta.read_text().replace('"epoch": 2', '"epoch": 3'))
    observer = Quiet()
    with caplog.at_level(logging.WARNING), checkpoints(tmp_path, members) as kept:
        trained = setting.train(members, observer=observer, checkpoints=kept, epochs=EPOCHS)
    assert "damaged" in caplog.text
    assert observer.steps[0][0] == 1
    assert_equal(trained, setting.train(members, epochs=EPOCHS))


def test_the_one_before_is_there_while_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, setting = a_population(2), Setting()
    import safetensors.torch

    plain, written = safetensors.torch.save_file, []

    def killed(tensors: dict[str, torch.Tensor], path: Path) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        plain(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", killed)
    with pytest.raises(KeyboardInterrupt), checkpoints(tmp_path, members) as kept:
        setting.train(members, checkpoints=kept, epochs=EPOCHS)
    assert len(files(tmp_path)) == 1
    found = checkpoints(tmp_path, members).load()
    assert found is not None
    assert found.epoch == 2


def test_a_disk_that_takes_none_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members, setting = a_population(2), Setting()
    (tmp_path / "store").write_text("no folder")
    with caplog.at_level(logging.WARNING), checkpoints(tmp_path, members) as kept:
        trained = setting.train(members, checkpoints=kept, epochs=EPOCHS)
    assert_equal(trained, setting.train(members, epochs=EPOCHS))
    (line,) = caplog.messages  # once
    assert line.startswith("no checkpoint: can't write in ")


def test_two_who_train_the_same_members_keep_out_of_each_others_way(tmp_path: Path) -> None:
    members, setting = a_population(2), Setting()
    first, second = checkpoints(tmp_path, members), checkpoints(tmp_path, members)
    with first, second:
        setting.train(members, checkpoints=first, epochs=2)
        (path,) = files(tmp_path)
        stamp = path.stat().st_mtime_ns
        setting.train(members, checkpoints=second, epochs=EPOCHS)
        assert [one.stat().st_mtime_ns for one in files(tmp_path)] == [stamp]


def test_checkpoints_of_members_that_are_done_go(tmp_path: Path) -> None:
    members, setting = a_population(4), Setting()
    for part in (members[:2], members[2:]):
        with checkpoints(tmp_path, part) as kept:
            setting.train(part, checkpoints=kept)
    discard(Store(tmp_path), "setting", members[1:])
    assert len(files(tmp_path)) == 1  # of m0 and m1
    discard(Store(tmp_path), "setting", members)
    assert list((tmp_path / "store" / KIND).iterdir()) == []


def test_unless_told_how_often_they_take_a_share_of_the_time(tmp_path: Path) -> None:
    now = [0.0]
    made = Checkpoints(
        Store(tmp_path), "setting", a_population(1), every=None, clock=lambda: now[0]
    )
    now[0] = FIRST - 0.1
    assert not made.is_due(1)
    now[0] = FIRST
    assert made.is_due(2)
    made.cost, made.since = 3.0, FIRST
    now[0] = FIRST + 3.0 / SHARE - 0.1
    assert not made.is_due(3)
    now[0] = FIRST + 3.0 / SHARE
    assert made.is_due(4)


def test_every_so_many_epochs_or_never(tmp_path: Path) -> None:
    made = {n: checkpoints(tmp_path, a_population(1), every=n) for n in (0, 3)}
    assert [made[3].is_due(epoch) for epoch in range(1, 7)] == [False, False, True] * 2
    assert not any(made[0].is_due(epoch) for epoch in range(1, 7))
