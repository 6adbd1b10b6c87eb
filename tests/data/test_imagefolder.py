from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset
from kdsweep.errors import UserError

CLASSES = ("cat", "dog", "owl")


def _colour(part: str, label: str, i: int) -> tuple[int, int, int]:
    return (100 * (part == "test") + i, 80 * CLASSES.index(label), 7)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six training and two test images of each of three classes, of two formats and sizes."""
    root = tmp_path / "pictures"
    for part, count in (("train", 6), ("test", 2)):
        for label in CLASSES:
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                image = Image.new("RGB", (8 + i, 8), _colour(part, label, i))
                image.save(root / part / label / f"{i}.{'png' if i % 2 else 'bmp'}")
    return root


def _load(root: Path, **options: float | None) -> Dataset:
    config = DataConfig(
        name="imagefolder",
        root=str(root),
        image_size=8,
        val_fraction=options.get("val_fraction", 0.0),
    )
    return load_dataset(config, cache=root.parent / "cache")


def _refused(root: Path) -> str:
    with pytest.raises(UserError) as raised:
        _load(root)
    assert "\n" not in str(raised.value)
    assert not list((root.parent / "cache").glob("imagefolder-8-*"))
    return str(raised.value)


def _decodings(caplog: pytest.LogCaptureFixture) -> int:
    return sum("Decoding" in record.message for record in caplog.records)


def test_images_and_labels_in_order_of_class_and_name(root: Path) -> None:
    data = _load(root)
    assert data.classes == CLASSES
    for part, split, count in (("train", data.train, 6), ("test", data.test, 2)):
        assert split.labels.tolist() == [k for k in range(3) for _ in range(count)]
        expected = [_colour(part, label, i) for label in CLASSES for i in range(count)]
        assert split.images[:, :, 0, 0].tolist() == [list(c) for c in expected]
        assert split.images.shape[1:] == (3, 8, 8)


def test_validation_is_carved_from_train(root: Path) -> None:
    data = _load(root, val_fraction=0.5)
    assert torch.bincount(data.train.labels).tolist() == [3, 3, 3]
    assert torch.bincount(data.val.labels).tolist() == [3, 3, 3]


def test_validation_images_have_a_folder_of_their_own(root: Path) -> None:
    (root / "test").rename(root / "val")
    data = _load(root, val_fraction=None)
    assert [len(part) for part in (data.train, data.val, data.test)] == [18, 6, 0]
    expected = [_colour("test", label, i) for label in CLASSES for i in range(2)]
    assert data.val.images[:, :, 0, 0].tolist() == [list(c) for c in expected]
    shutil.copytree(root / "val", root / "test")
    three = _load(root, val_fraction=None)
    assert [len(part) for part in (three.train, three.val, three.test)] == [18, 6, 6]
    (root / "val" / "owl").rename(root / "owl")
    shutil.rmtree(root.parent / "cache")
    assert "1 of the classes in train have no folder in val (owl)" in _refused(root)


def test_folders_of_classes_alone_are_split(root: Path) -> None:
    data = _load(root / "train", val_fraction=None)
    assert data.classes == CLASSES
    parts = (data.train, data.val, data.test)
    assert [len(part) for part in parts] == [13, 1, 4]
    colours = torch.cat([part.images[:, :, 0, 0] for part in parts]).tolist()
    whole = [list(_colour("train", label, i)) for label in CLASSES for i in range(6)]
    assert sorted(colours) == sorted(whole)
    names = torch.cat([part.labels for part in parts]).tolist()
    assert [CLASSES[label] for label in names] == [CLASSES[blue // 80] for _, blue, _ in colours]


def test_a_class_may_be_called_train(root: Path) -> None:
    (root / "train" / "dog").rename(root / "train" / "train")
    data = _load(root / "train", val_fraction=None)
    assert data.classes == ("cat", "owl", "train")
    assert len(data.train) + len(data.val) + len(data.test) == 18


def test_images_beside_folders_of_classes(root: Path) -> None:
    Image.new("RGB", (8, 8)).save(root / "train" / "stray.png")
    line = _refused(root / "train")
    assert f"{root}/train itself holds images (1: stray.png); move them to <class>/" in line


def test_decoded_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = _load(root)
    second = _load(root)
    assert _decodings(caplog) == 1
    assert second.digest == first.digest


def test_known_folders_are_not_even_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _load(root)
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        assert root not in path.parents
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    before = {p: p.stat().st_mtime_ns for p in (root.parent / "cache").rglob("*")}
    _load(root)
    assert {p: p.stat().st_mtime_ns for p in (root.parent / "cache").rglob("*")} == before


def test_a_copy_elsewhere_with_other_times_is_not_decoded_again(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = _load(root)
    copy = root.rename(root.parent / "moved")
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    assert _load(copy).digest == first.digest
    assert _decodings(caplog) == 1


def test_a_change_of_one_pixel_is_seen_at_equal_size_and_time(root: Path) -> None:
    first = _load(root)
    path = root / "train" / "dog" / "0.bmp"
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    second = _load(root)
    assert second.digest != first.digest
    changed = (second.train.images != first.train.images).any(dim=(1, 2, 3))
    assert changed.nonzero().tolist() == [[6]]


def test_files_added_removed_and_moved_are_seen(root: Path) -> None:
    digests = {_load(root).digest}
    added = root / "train" / "cat" / "extra.png"
    Image.new("RGB", (8, 8), "white").save(added)
    data = _load(root)
    digests.add(data.digest)
    assert len(data.train) == 19
    added.rename(root / "train" / "owl" / "extra.png")
    digests.add(_load(root).digest)
    (root / "test" / "cat" / "0.bmp").unlink()
    digests.add(_load(root).digest)
    assert len(digests) == 4


def test_folders_below_a_class_and_clutter(root: Path) -> None:
    deep = root / "train" / "cat" / "images" / "batch"
    deep.mkdir(parents=True)
    Image.new("RGB", (8, 8), "white").save(deep / "a.png")
    for name in (".DS_Store", "Thumbs.db"):
        (root / "train" / "cat" / name).write_text("clutter")
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "list.txt").write_text("beside the classes")
    data = _load(root)
    assert len(data.train) == 19
    assert data.classes == CLASSES


def test_unreadable_files_are_named_and_counted_in_both_parts(root: Path) -> None:
    (root / "train" / "cat" / "0.bmp").write_text("no image")
    (root / "test" / "owl" / "1.png").write_bytes(b"")
    line = _refused(root)
    assert "2 of 24 images" in line
    assert "train/cat/0.bmp" in line
    assert "test/owl/1.png" in line


def test_a_new_version_decodes_again(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    _load(root)
    monkeypatch.setattr("kdsweep.data.sources.base.VERSION", -1)
    _load(root)
    assert _decodings(caplog) == 2


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_outside_the_classes_are_not_skipped(root: Path, part: str) -> None:
    Image.new("RGB", (8, 8)).save(root / part / "stray.png")
    line = _refused(root)
    assert f"{root / part} itself holds images (1: stray.png)" in line


def test_a_dangling_link_is_named(root: Path) -> None:
    (root / "train" / "cat" / "link.png").symlink_to("gone.png")
    assert "train/cat/link.png can't be read (No such file" in _refused(root)


def test_no_folder(tmp_path: Path) -> None:
    assert "pictures is no folder; allowed is one with" in _refused(tmp_path / "pictures")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_is_missing_or_empty(root: Path, part: str) -> None:
    (root / part).rename(root / "elsewhere")
    assert f"{part} is no folder" in _refused(root)
    (root / part).mkdir()
    assert "has no class folders" in _refused(root)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_is_missing(root: Path, part: str) -> None:
    (root / part / "dog").rename(root / "dog")
    other = "test" if part == "train" else "train"
    line = _refused(root)
    assert f"1 of the classes in {other} have no folder in {part} (dog)" in line


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_is_empty(root: Path, part: str) -> None:
    for path in (root / part / "dog").iterdir():
        path.unlink()
    assert "dog has no images" in _refused(root)


def test_a_cache_that_can_not_be_written(root: Path) -> None:
    (root.parent / "cache").write_text("a file")
    assert "can't write in" in _refused(root)


def test_two_processes_decode_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    generator = np.random.default_rng(0)
    for i in range(300):  # enough to keep the first busy while the second arrives
        noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "train" / "cat" / f"{i}.noise.png")
    program = (
        "import logging, sys, time; from pathlib import Path\n"
        "from kdsweep.config import DataConfig; from kdsweep.data import load_dataset\n"
        "logging.basicConfig(level='INFO', stream=sys.stdout)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "root = Path(sys.argv[1])\n"
        "config = DataConfig(name='imagefolder', root=root, image_size=8, val_fraction=0.0)\n"
        "print(load_dataset(config, cache=root.parent / 'cache').digest)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("go\n")
    other.stdin.flush()
    digest = _load(root).digest
    output, _ = other.communicate()
    assert other.returncode == 0
    assert output.splitlines()[-1] == digest
    assert output.count("Decoding 324 images") + _decodings(caplog) == 1


def test_a_pipe_among_the_images_is_no_image(root: Path) -> None:
    os.mkfifo(root / "train" / "cat" / "pipe.png")  # reading it would wait for a writer
    with pytest.raises(UserError, match=r"^data.root: .*/pipe.png is no regular file; remove it$"):
        _load(root)
