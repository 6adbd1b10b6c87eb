"""torchvision's classes read MNIST's files as they are on the web, but tiny; no download."""

from __future__ import annotations

import inspect
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset
from kdsweep.data.sources.torchvision import DATASETS
from kdsweep.errors import UserError


def idx(array: NDArray[np.uint8]) -> bytes:
    """MNIST's format: a magic number with type and rank, the sizes, the bytes."""
    return struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def grey(n: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def write(root: Path, name: str = "MNIST", seed: int = 0) -> Path:
    raw = root / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", 40), ("t10k", 20)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(grey(n, seed + n)))
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return raw


def load(tmp_path: Path, name: str = "MNIST", **options: Any) -> Dataset:
    asked = {"image_size": 28, "val_fraction": 0.0, **options}
    config = DataConfig(source="torchvision", name=name, root=str(tmp_path / "root"), **asked)
    return load_dataset(config, cache=tmp_path / "cache")


def refused(tmp_path: Path, name: str = "MNIST", **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        load(tmp_path, name, **options)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache").glob("torchvision-28-*"))
    return str(raised.value)


@pytest.mark.parametrize("name", ["MNIST", "KMNIST", "FashionMNIST"])
def test_grey_images_become_rgb(tmp_path: Path, name: str) -> None:
    write(tmp_path / "root", name)
    data = load(tmp_path, name)
    expected = torch.from_numpy(grey(40, 40))[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(data.train.images, expected)
    assert torch.equal(data.test.images[:, 1], torch.from_numpy(grey(20, 20)))
    assert data.train.labels.tolist() == [i % 10 for i in range(40)]
    assert data.classes == tuple(getattr(torchvision.datasets, name).classes)
    assert data.name == name


def test_a_known_dataset_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write(tmp_path / "root")
    first = load(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(torchvision.datasets, "MNIST", lambda *_, **__: pytest.fail("read"))
        assert load(tmp_path).digest == first.digest
    labels = raw / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x00")
    assert load(tmp_path).digest != first.digest


def test_a_damaged_file(tmp_path: Path) -> None:
    images = write(tmp_path / "root") / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1000])
    line = refused(tmp_path)
    assert line.startswith("data.name=MNIST: can't be had (shape ")
    assert line.endswith("; remove damaged ones")
    images.write_bytes(b"no magic number")
    line = refused(tmp_path)
    assert line.startswith(f"data.name=MNIST: its files in {tmp_path}/root are damaged (")
    assert line.endswith("; remove them, and they are downloaded again")


def test_what_is_not_there(tmp_path: Path) -> None:
    line = refused(tmp_path, download=False)
    assert line.startswith(f"data.name=MNIST: isn't whole in {tmp_path}/root and data.download=f")
    line = refused(tmp_path, mirror="http://127.0.0.1:9")
    assert line.startswith("data.name=MNIST: can't be had (")
    assert f": put its files in {tmp_path}/root, where torchvision looks for them;" in line
    line = refused(tmp_path, mirror="nonsense")
    assert line.startswith("data.mirror=nonsense: allowed is a URL")
    line = refused(tmp_path, "mnist")
    assert line.startswith("data.name=mnist: allowed is one of CIFAR10, CIFAR100, MNIST, ")


def test_no_test_images_of_a_class(tmp_path: Path) -> None:
    raw = write(tmp_path / "root")
    labels = (np.arange(20) % 9).astype(np.uint8)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    assert "1 of 10 classes have no test images (9 - nine)" in refused(tmp_path)


def test_a_dataset_with_a_table_of_its_own(tmp_path: Path) -> None:
    """SVHN's files are Matlab's, with images [H, W, C, n] and no names of classes."""
    from scipy.io import savemat

    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 30), dtype=np.uint8)
    (tmp_path / "root").mkdir()
    kind = torchvision.datasets.SVHN
    for split in ("train", "test"):
        labels = 1 + np.arange(30)[:, None] % 10  # 10 is the digit 0
        savemat(tmp_path / "root" / kind.split_list[split][1], {"X": images, "y": labels})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, "_check_integrity", lambda _: True)
        data = load(tmp_path, "SVHN", image_size=32)
    assert torch.equal(data.test.images, torch.from_numpy(images).permute(3, 2, 0, 1))
    assert data.test.labels.tolist() == [(i + 1) % 10 for i in range(30)]
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize("name", DATASETS)
def test_torchvision_takes_the_arguments_of_the_table(name: str) -> None:
    kind = getattr(torchvision.datasets, name)
    signatures = [
        inspect.signature(made.__init__) for made in kind.__mro__ if "__init__" in vars(made)
    ]
    taken = {parameter for signature in signatures[:2] for parameter in signature.parameters}
    for arguments in DATASETS[name].values():
        assert {"root", "download", *arguments} <= taken
    source = inspect.getsource(kind)
    for arguments in DATASETS[name].values():
        split = arguments.get("split")
        assert split is None or f'"{split}"' in source
    assert "train" in DATASETS[name]
