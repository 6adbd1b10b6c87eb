from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import shutil
import signal
import warnings
import weakref
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.config import DataConfig, ViewsConfig
from kdsweep.data import Views
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.teachers import banked
from kdsweep.teachers.bank import Banks, LogitBank
from kdsweep.teachers.banked import BankedTeacher
from kdsweep.teachers.live import LiveTeacher
from kdsweep.teachers.outputs import bank_dtype

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


HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)
SHAPE = (IMAGES, make_views().count, CLASSES)


def open_bank(folder: Path, dtype: np.dtype[Any] = HALF) -> LogitBank:
    return LogitBank(folder, SHAPE, dtype=dtype, device=HARDWARE.device)


def make_bank(
    folder: Path,
    teacher: Teacher | None = None,
    *,
    bank: LogitBank | None = None,
    hardware: Hardware = HARDWARE,
    **options: Any,
) -> BankedTeacher:
    return BankedTeacher(
        teacher or Teacher(),
        bank or open_bank(folder),
        views=make_views(),
        hardware=hardware,
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


def assert_right(bank: BankedTeacher, index: Tensor, view: Tensor) -> None:
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
    monkeypatch.setattr(banked, "FILL_BATCH_ON_CPU", 7)
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

    monkeypatch.setattr(banked, "FILL_BATCH_ON_CPU", 7)
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
        banked.FILL_BATCH_ON_CPU = 20  # of 540 pairs
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


@pytest.mark.parametrize("broken", ["checksums.u32", "logits.f16"])
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
    (tmp_path / "checksums.u32").unlink()
    make_bank(tmp_path)
    assert_right(first, *epoch_of(0))


def test_size_on_disk(tmp_path: Path) -> None:
    make_bank(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size == LogitBank.size_bytes(SHAPE, HALF) == IMAGES * 18 * (2 * CLASSES + 4)


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


def zero_logits(folder: Path) -> None:
    """A power cut: the checksums have reached the disk, the logits have not."""
    path = folder / "logits.f16"
    path.write_bytes(bytes(path.stat().st_size))


def zero_a_page(folder: Path) -> None:
    with (folder / "logits.f16").open("r+b") as file:
        file.seek(1024)
        file.write(bytes(512))


def fill_with_noise(folder: Path) -> None:
    path = folder / "logits.f16"
    noise = np.random.default_rng(0).normal(size=path.stat().st_size // 2).astype(np.float16)
    path.write_bytes(noise.tobytes())


def shift(folder: Path) -> None:
    """Every pair has another's logits and checksum: what a misdirected write leaves."""
    for name, width in (("logits.f16", 2 * CLASSES), ("checksums.u32", 4)):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[width:] + content[:width])


def flip_a_bit(folder: Path) -> None:
    path = folder / "logits.f16"
    content = bytearray(path.read_bytes())
    content[777] ^= 4
    path.write_bytes(content)


def zero_checksums(folder: Path) -> None:
    path = folder / "checksums.u32"
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "again", "logged"),
    [
        (zero_logits, SHAPE[0] * SHAPE[1], 1),
        (zero_a_page, 52, 1),  # of 10 bytes a pair: bytes 1024 to 1535
        (fill_with_noise, SHAPE[0] * SHAPE[1], 1),
        (shift, SHAPE[0] * SHAPE[1], 1),
        (flip_a_bit, 1, 1),
        (zero_checksums, SHAPE[0] * SHAPE[1], 0),  # as if nothing had been computed
    ],
)
def test_damaged_logits_are_computed_again(
    tmp_path: Path,
    damage: Callable[[Path], None],
    again: int,
    logged: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_bank(tmp_path).prepare(*every_pair())
    damage(tmp_path)
    teacher = Teacher()
    bank = make_bank(tmp_path, teacher)
    for _ in range(3):
        bank.prepare(*every_pair())
    assert len(teacher.seen) == again
    assert caplog.messages == logged * [
        f"{tmp_path}: damaged, the teacher reads those views again"
    ]
    assert_right(bank, *every_pair())
    unused = Teacher()
    make_bank(tmp_path, unused).prepare(*every_pair())
    assert not unused.seen


def test_a_pair_is_verified_once_by_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bank(tmp_path).prepare(*every_pair())
    count, crc32 = 0, zlib.crc32

    def counted(*given: Any) -> int:
        nonlocal count
        count += 1
        return crc32(*given)

    monkeypatch.setattr(zlib, "crc32", counted)
    bank = open_bank(tmp_path)
    for number in (0, 0, 1, 0):
        make_bank(tmp_path, bank=bank).prepare(*epoch_of(number))
    pairs = {
        pair
        for number in (0, 1)
        for pair in zip(*(t.flatten().tolist() for t in epoch_of(number)), strict=True)
    }
    assert count == len(pairs)
    make_bank(tmp_path, bank=bank).outputs(*epoch_of(0), torch.empty(0))
    assert count == len(pairs)


def test_who_comes_second_keeps_what_the_first_has_written(tmp_path: Path) -> None:
    """Two that compute one pair in other batches round in other ways: a pair is one's, whole."""
    first, second = open_bank(tmp_path), open_bank(tmp_path)
    i, v = np.array([3, 4]), np.array([5, 6])
    one, other = torch.ones(2, CLASSES), torch.full((2, CLASSES), 2.0)
    first.write(i[:1], v[:1], one[:1])
    second.write(i, v, other)
    read = open_bank(tmp_path)
    assert [len(m) for m in read.missing(i, v)] == [0, 0]
    assert read.logits[i, v].tolist() == [[1.0] * CLASSES, [2.0] * CLASSES]


@pytest.mark.parametrize("value", [7e4, -7e4, float("inf"), float("nan")])
def test_logits_beyond_the_range_are_refused(tmp_path: Path, value: float) -> None:
    bank, logits = open_bank(tmp_path), torch.zeros(1, CLASSES)
    pair = np.array([0]), np.array([0])
    logits[0, 1] = value
    with pytest.raises(UserError, match=r"^train.bank=true: the teacher's logits reach .* 65504"):
        bank.write(*pair, logits)
    assert [len(m) for m in bank.missing(*pair)] == [1, 1]
    logits[0, 1] = 65504
    bank.write(*pair, logits)
    assert bank.read(*map(torch.from_numpy, pair)).tolist() == [[0, 65504, 0, 0, 0]]


def test_double_precision_keeps_single_precision(tmp_path: Path) -> None:
    hardware = dataclasses.replace(HARDWARE, dtype=torch.float64)
    assert (bank_dtype(HARDWARE), bank_dtype(hardware)) == (HALF, SINGLE)
    bank = make_bank(tmp_path, bank=open_bank(tmp_path, SINGLE), hardware=hardware)
    bank.prepare(*epoch_of(0))
    logits = bank.outputs(*epoch_of(0), torch.empty(0)).logits
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits, live(*epoch_of(0)).double(), rtol=1e-5, atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"checksums.u32", "logits.f32", ".lock"}


def test_a_bank_that_is_removed_while_it_is_open_goes_on(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    bank.prepare(*epoch_of(0))
    assert bank.bank.is_current
    shutil.rmtree(tmp_path / "bank")
    assert not bank.bank.is_current
    bank.prepare(*epoch_of(1))
    assert_right(bank, *epoch_of(1))


def test_a_process_opens_a_bank_once(tmp_path: Path) -> None:
    banks, cpu = Banks(), torch.device("cpu")

    def opened(*names: str, dtype: np.dtype[Any] = HALF) -> list[LogitBank]:
        return banks.open([tmp_path / name for name in names], SHAPE, dtype=dtype, device=cpu)

    (one,) = opened("one")
    assert opened("one") == [one]
    both = opened("two", "one")
    assert both[1] is one
    assert opened("two", dtype=SINGLE)[0] is not both[0]
    (other,) = opened("one")
    assert other is not one  # let go in between
    shutil.rmtree(tmp_path / "one")
    assert opened("one")[0] is not other


def test_a_bank_that_is_not_wanted_is_let_go(tmp_path: Path) -> None:
    banks, cpu = Banks(), torch.device("cpu")
    gone = weakref.ref(banks.open([tmp_path / "a"], SHAPE, dtype=HALF, device=cpu)[0])
    banks.open([tmp_path / "b"], SHAPE, dtype=HALF, device=cpu)
    gc.collect()
    assert gone() is None


def test_a_copy_on_a_device_holds_what_is_verified(tmp_path: Path) -> None:
    """The copy's path, run on the CPU; each pair is copied once."""
    half = make_bank(tmp_path)
    half.prepare(*epoch_of(0))  # on disk before the copy is made
    bank = open_bank(tmp_path)
    copied: list[int] = []

    class Counting(torch.Tensor):
        def __setitem__(self, where: Any, value: Tensor) -> None:
            copied.append(len(value))
            super().__setitem__(where, value)

    bank.copy = torch.zeros(SHAPE, dtype=torch.float16).as_subclass(Counting)
    for number in (0, 1, 0, 1):
        on_device = make_bank(tmp_path, bank=bank)
        on_device.prepare(*epoch_of(number))
        index, view = epoch_of(number)
        got = on_device.outputs(index, view, torch.empty(0)).logits
        expected = make_bank(tmp_path)
        expected.prepare(index, view)
        assert torch.equal(got, expected.outputs(index, view, torch.empty(0)).logits)
    pairs = {
        pair
        for number in (0, 1)
        for pair in zip(*(t.flatten().tolist() for t in epoch_of(number)), strict=True)
    }
    assert sum(copied) == len(pairs)


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
