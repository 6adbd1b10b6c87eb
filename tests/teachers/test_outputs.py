from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.config import DataConfig, ViewsConfig
from kdsweep.data import Views
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.teachers import outputs as teacher_outputs
from kdsweep.teachers.outputs import LiveTeacher, LogitBank

IMAGES, SIZE, CLASSES = 30, 8, 5
CONFIG = DataConfig(image_size=SIZE, views=ViewsConfig(padding=1, flip=True))
HARDWARE = Hardware(
    device=torch.device("cpu"),
    dtype=torch.float32,
    bf16=False,
    channels_last=False,
    grouped=False,
    workers=1,
)
SEEDS = torch.tensor([3, 8])


class Teacher(nn.Module):
    """A linear teacher that remembers what it was asked; after so many, it calls ``then``."""

    def __init__(self, after: int | None = None, then: Callable[[], object] = bool) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(3 * SIZE * SIZE, CLASSES, generator=draw) / 3)
        self.body = nn.Flatten()
        self.seen: list[Tensor] = []
        self.after, self.then = after, then

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.seen.extend(images)
        if self.after is not None and len(self.seen) > self.after:
            self.then()
        return self.body(images) @ self.weight


def make_views() -> Views:
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), generator=draw).to(torch.uint8)
    return Views(images, CONFIG, device="cpu")


def make_bank(folder: Path, teacher: Teacher | None = None, **options: Any) -> LogitBank:
    return LogitBank(
        teacher or Teacher(),
        folder=folder,
        views=make_views(),
        images=IMAGES,
        classes=CLASSES,
        hardware=HARDWARE,
        **options,
    )


def epoch_of(number: int, seeds: Tensor = SEEDS) -> tuple[Tensor, Tensor]:
    """What a population of these seeds asks for in one epoch."""
    order = streams.permutation(IMAGES, seeds, number)
    return order, make_views().sample(seeds, number, order)


def every_pair() -> tuple[Tensor, Tensor]:
    count = make_views().count
    index = torch.arange(IMAGES).repeat_interleave(count)[None]
    return index, torch.arange(count).repeat(IMAGES)[None]


def live(index: Tensor, view: Tensor) -> Tensor:
    images = make_views().render(index, view)
    return LiveTeacher(Teacher(), HARDWARE).outputs(index, view, images).logits


def assert_right(bank: LogitBank, index: Tensor, view: Tensor) -> None:
    """Banked logits are the live ones, rounded to fp16: to 1 part in 2048, or the last bit."""
    banked = bank.outputs(index, view, torch.empty(0)).logits
    expected = live(index, view)
    assert banked.dtype == torch.float32
    assert banked.shape == (*index.shape, CLASSES)
    torch.testing.assert_close(banked, expected, rtol=2**-11 * 1.01, atol=2**-24)
    assert float(expected.std()) > 0.5  # they say something


def test_banked_logits_are_the_live_ones(tmp_path: Path) -> None:
    bank = make_bank(tmp_path)
    for number in range(3):
        index, view = epoch_of(number)
        bank.prepare(index, view)
        batch = slice(4, 13)
        assert_right(bank, index[:, batch], view[:, batch])


def test_the_teacher_sees_each_image_and_view_once(tmp_path: Path) -> None:
    teacher, told = Teacher(), []
    bank = make_bank(tmp_path, teacher, on_fill=told.append)
    asked: set[tuple[int, int]] = set()
    for number in (0, 1, 2, 1, 0):
        index, view = epoch_of(number)
        before = len(asked)
        asked.update(zip(index.flatten().tolist(), view.flatten().tolist(), strict=True))
        bank.prepare(index, view)
        assert len(teacher.seen) == len(asked)
        if len(asked) > before:
            assert told[-1] == len(asked) - before
    assert len(told) == 3
    assert len(asked) < 6 * IMAGES  # some pairs came twice, and the seeds shared some


def test_a_second_process_finds_what_the_first_computed(tmp_path: Path) -> None:
    make_bank(tmp_path).prepare(*epoch_of(0))
    teacher = Teacher()
    bank = make_bank(tmp_path, teacher)
    bank.prepare(*epoch_of(0))
    assert not teacher.seen
    assert_right(bank, *epoch_of(0))


def test_the_last_batch_of_an_epoch_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_outputs, "FILL_BATCH_ON_CPU", 7)
    for pid in range(4):  # where a process starts depends on its number
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        bank = make_bank(tmp_path / str(pid))
        bank.prepare(*epoch_of(0))
        assert_right(bank, *epoch_of(0))


def test_what_others_fill_meanwhile_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Teacher):
        def forward(self, images: Tensor) -> Tensor:
            if not self.seen:
                make_bank(tmp_path).prepare(*epoch_of(0))
            return super().forward(images)

    monkeypatch.setattr(teacher_outputs, "FILL_BATCH_ON_CPU", 7)
    teacher = Interrupted()
    bank = make_bank(tmp_path, teacher)
    bank.prepare(*epoch_of(0))
    assert len(teacher.seen) <= 7
    assert_right(bank, *epoch_of(0))


class Filler:
    """A process of its own that fills the whole bank once it is told to."""

    def __init__(self, folder: Path, after: int, then: Callable[[], object]) -> None:
        context = multiprocessing.get_context("fork")  # starts in no time
        self.go, self.ready = context.Event(), context.Event()
        self.answer, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=self.run, args=(folder, Teacher(after, then), theirs)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking while there are threads
            self.process.start()

    def run(self, folder: Path, teacher: Teacher, answer: Connection) -> None:
        torch.set_num_threads(1)
        teacher_outputs.FILL_BATCH_ON_CPU = 20  # of 540 pairs
        bank = make_bank(folder, teacher)
        self.ready.set()
        self.go.wait(60)
        bank.prepare(*every_pair())
        answer.send(len(teacher.seen))

    def exit_code(self) -> int | None:
        self.process.join(60)
        return self.process.exitcode


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_two_processes_fill_at_once_and_a_third_is_killed(tmp_path: Path) -> None:
    dead = multiprocessing.get_context("fork").Event()
    living = [Filler(tmp_path, after=40, then=dead.wait) for _ in range(2)]
    killed = Filler(tmp_path, after=40, then=die)
    for filler in (*living, killed):
        assert filler.ready.wait(60)
    for filler in (*living, killed):
        filler.go.set()
    assert killed.exit_code() == -signal.SIGKILL
    dead.set()
    assert [filler.exit_code() for filler in living] == [0, 0]
    pairs = every_pair()[0].numel()
    seen = [filler.answer.recv() for filler in living]
    assert pairs - 60 <= sum(seen) <= 2 * pairs
    teacher = Teacher()
    bank = make_bank(tmp_path, teacher)
    bank.prepare(*every_pair())
    assert not teacher.seen  # it was full
    assert_right(bank, *every_pair())


def test_a_killed_process_leaves_what_it_had(tmp_path: Path) -> None:
    filler = Filler(tmp_path, after=100, then=die)
    filler.go.set()
    assert filler.exit_code() == -signal.SIGKILL
    teacher = Teacher()
    bank = make_bank(tmp_path, teacher)
    bank.prepare(*every_pair())
    kept = every_pair()[0].numel() - len(teacher.seen)
    assert kept == 100  # five batches; the sixth was under way
    assert_right(bank, *every_pair())


@pytest.mark.parametrize("broken", ["filled.u8", "logits.f16"])
@pytest.mark.parametrize("how", ["cut", "longer", "missing"])
def test_a_bank_of_another_size_is_made_anew(tmp_path: Path, broken: str, how: str) -> None:
    make_bank(tmp_path).prepare(*epoch_of(0))
    path = tmp_path / broken
    if how == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2 if how == "cut" else 10_000)
    teacher = Teacher()
    bank = make_bank(tmp_path, teacher)
    bank.prepare(*epoch_of(0))
    assert teacher.seen
    assert_right(bank, *epoch_of(0))


def test_who_has_a_bank_open_keeps_it_when_another_is_made(tmp_path: Path) -> None:
    first = make_bank(tmp_path)
    first.prepare(*epoch_of(0))
    (tmp_path / "filled.u8").unlink()
    make_bank(tmp_path)
    assert_right(first, *epoch_of(0))


def test_size_on_disk(tmp_path: Path) -> None:
    make_bank(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size == LogitBank.size_bytes(IMAGES, make_views().count, CLASSES) == IMAGES * 18 * 11


def test_a_place_that_cannot_be_written_is_the_users_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't write in .*file/bank: Not a directory; .*root="):
        make_bank(tmp_path / "file" / "bank")


def test_a_full_disk_shows_when_the_bank_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="No space left on device; free some space"):
        make_bank(tmp_path)
    monkeypatch.undo()
    make_bank(tmp_path).prepare(*epoch_of(0))
    assert_right(make_bank(tmp_path), *epoch_of(0))


def test_a_live_teacher_answers_for_all_seeds_at_once() -> None:
    index, view = epoch_of(0)
    images = make_views().render(index, view)
    teacher = Teacher()
    said = LiveTeacher(teacher, HARDWARE, ("body", "body:input")).outputs(index, view, images)
    assert said.logits.shape == (2, IMAGES, CLASSES)
    assert torch.equal(said.features["body:input"], images)
    assert said.features["body"].shape == (2, IMAGES, 3 * SIZE * SIZE)
    assert not said.logits.requires_grad
    torch.testing.assert_close(said.logits[1], images[1].flatten(1) @ teacher.weight.detach())
    assert len(teacher.seen) == 2 * IMAGES
