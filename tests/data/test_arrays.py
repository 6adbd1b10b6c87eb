from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kdsweep.data.arrays import Pictures, cached
from kdsweep.errors import UserError

PIXELS = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)


def _pictures(pixels: NDArray[np.uint8] = PIXELS, labels: str = "01201") -> Pictures:
    return Pictures(
        classes=("a", "b", "c"),
        labels=np.array([int(x) for x in labels], dtype=np.int64),
        train=3,
        size=2,
        blocks=[pixels[:2], pixels[2:]],
    )


def _never() -> Pictures:
    raise AssertionError("made twice")


def test_round_trip_and_second_open(tmp_path: Path) -> None:
    for make in (_pictures, _never):
        source = cached(tmp_path / "x", make)
        assert source.classes == ("a", "b", "c")
        assert torch.equal(source.train.images, torch.from_numpy(PIXELS[:3]))
        assert torch.equal(source.test.images, torch.from_numpy(PIXELS[3:]))
        assert source.train.labels.tolist() == [0, 1, 2]
        assert source.test.labels.tolist() == [0, 1]
        assert source.train.labels.dtype == torch.int64


def test_writing_to_the_images_leaves_the_file_alone(tmp_path: Path) -> None:
    cached(tmp_path / "x", _pictures).train.images.zero_()
    assert torch.equal(cached(tmp_path / "x", _never).train.images, torch.from_numpy(PIXELS[:3]))


def test_opening_writes_nothing(tmp_path: Path) -> None:
    cached(tmp_path / "x", _pictures)
    before = {p: p.stat().st_mtime_ns for p in [tmp_path, *tmp_path.rglob("*")]}
    cached(tmp_path / "x", _never)
    assert {p: p.stat().st_mtime_ns for p in [tmp_path, *tmp_path.rglob("*")]} == before


def test_digest_is_of_shape_pixels_labels_and_split(tmp_path: Path) -> None:
    by_hand = hashlib.sha256(b"(5, 3, 2, 2)" + PIXELS.tobytes())
    by_hand.update(np.array([0, 1, 2, 0, 1], dtype=np.int64).tobytes() + b"3")
    assert cached(tmp_path / "x", _pictures).digest == by_hand.hexdigest()

    pixels = PIXELS.copy()
    pixels[4, 2, 1, 1] += 1
    changed = cached(tmp_path / "y", lambda: _pictures(pixels))
    relabelled = cached(tmp_path / "z", lambda: _pictures(labels="01202"))
    assert len({changed.digest, relabelled.digest, by_hand.hexdigest()}) == 3


def test_failure_while_making_leaves_nothing(tmp_path: Path) -> None:
    def blocks() -> Iterator[NDArray[np.uint8]]:
        yield PIXELS[:2]
        raise UserError("broken file")

    def make() -> Pictures:
        whole = _pictures()
        return Pictures(
            classes=whole.classes, labels=whole.labels, train=3, size=2, blocks=blocks()
        )

    with pytest.raises(UserError, match="broken file"):
        cached(tmp_path / "x", make)
    assert [p.name for p in tmp_path.iterdir()] == [".x.lock"]
    cached(tmp_path / "x", _pictures)


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".x.partial").mkdir()
    (tmp_path / ".x.partial" / "images.npy").write_bytes(b"half")
    cached(tmp_path / "x", _pictures)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".x.lock", "x"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    pixels = np.zeros((5, 3, 100, 100), dtype=np.uint8)
    pictures = Pictures(
        classes=("a",), labels=np.zeros(5, dtype=np.int64), train=3, size=100, blocks=[pixels]
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match="File too large") as raised:
            cached(tmp_path / "x", lambda: pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"root=") as raised:
        cached(tmp_path / "file" / "x", _pictures)
    assert "\n" not in str(raised.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero_the_end(path: Path) -> None:
    """What a power cut leaves of a page that did not reach the disk."""
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"\0" * 20)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", [cut, empty, zero_the_end, Path.unlink])
def test_damaged_arrays_are_made_again(
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = cached(tmp_path / "x", _pictures)
    damage(tmp_path / "x" / name)
    again = cached(tmp_path / "x", _pictures)
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path / 'x'}: the cached images are damaged (")
    assert torch.equal(again.train.images, torch.from_numpy(PIXELS[:3]))
    assert again.train.labels.tolist() == [0, 1, 2]
    assert again.digest == before.digest
    assert cached(tmp_path / "x", _never).digest == before.digest
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("images.npy", PIXELS[::-1]),
        ("images.npy", PIXELS.view(np.int8)),
        ("images.npy", PIXELS.reshape(5, 3, 4, 1)),
        ("labels.npy", np.array([0, 1, 2, 0, 2])),
        ("labels.npy", np.array([0, 1, 2, 0, 1]).view(np.float64)),
    ],
    ids=["pixels", "type", "shape", "labels", "type of labels"],
)
def test_replaced_arrays_are_noticed(tmp_path: Path, name: str, other: NDArray[Any]) -> None:
    cached(tmp_path / "x", _pictures)
    np.save(tmp_path / "x" / name, other)
    again = cached(tmp_path / "x", _pictures)
    assert torch.equal(again.train.images, torch.from_numpy(PIXELS[:3]))
    assert again.test.labels.tolist() == [0, 1]
    assert (again.train.images.dtype, again.train.labels.dtype) == (torch.uint8, torch.int64)


def test_edited_classes_are_noticed(tmp_path: Path) -> None:
    cached(tmp_path / "x", _pictures)
    meta = tmp_path / "x" / "meta.json"
    meta.write_text(meta.read_text().replace('"a"', '"z"'))
    assert cached(tmp_path / "x", _pictures).classes == ("a", "b", "c")


def test_who_has_damaged_arrays_open_keeps_them(tmp_path: Path) -> None:
    first = cached(tmp_path / "x", _pictures)
    cut(tmp_path / "x" / "labels.npy")
    cached(tmp_path / "x", _pictures)
    assert torch.equal(first.train.images, torch.from_numpy(PIXELS[:3]))
