"""torchvision's classes read a tiny archive made here: its addresses and checksums are replaced,
everything else, from the download to the pickles, really runs."""

from __future__ import annotations

import hashlib
import http.server
import io
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset
from kdsweep.errors import UserError

NAMES = {"cifar10": 10, "cifar100": 100}


@dataclass(frozen=True)
class _Site:
    """A folder with both archives, and its address."""

    folder: Path
    url: str
    requests: list[str]
    images: dict[str, np.ndarray[Any, np.dtype[np.uint8]]]  # [n, 3, 32, 32], training first
    labels: dict[str, list[int]]


def _archive(site: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[int]]:
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    generator = np.random.default_rng(0)
    key = "labels" if name == "cifar10" else "fine_labels"
    each = NAMES[name] * 2
    files: dict[str, bytes] = {}
    lists: list[list[list[str]]] = []
    images, labels = [], []
    for batches in (kind.train_list, kind.test_list):
        lists.append([])
        for batch, _ in batches:
            data = generator.integers(0, 256, (each, 3072), dtype=np.uint8)
            targets = generator.permutation(each) % NAMES[name]
            files[batch] = pickle.dumps({"data": data, key: targets.tolist()}, protocol=2)
            lists[-1].append([batch, hashlib.md5(files[batch]).hexdigest()])
            images.append(data.reshape(-1, 3, 32, 32))
            labels += targets.tolist()
    classes = [f"class{i}" for i in range(NAMES[name])]
    meta = dict(kind.meta)
    files[meta["filename"]] = pickle.dumps({meta["key"]: classes}, protocol=2)
    meta["md5"] = hashlib.md5(files[meta["filename"]]).hexdigest()
    with tarfile.open(site / kind.filename, "w:gz") as tar:
        for file, content in files.items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(kind, "train_list", lists[0])
    monkeypatch.setattr(kind, "test_list", lists[1])
    monkeypatch.setattr(kind, "meta", meta)
    digest = hashlib.md5((site / kind.filename).read_bytes()).hexdigest()
    monkeypatch.setattr(kind, "tgz_md5", digest)
    monkeypatch.setattr(kind, "url", "http://127.0.0.1:9/nobody-listens-here.tar.gz")
    return np.concatenate(images), labels


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requests.append(f"{self.command} {self.path}")

    made = {name: _archive(folder, name, monkeypatch) for name in NAMES}
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield _Site(
                folder=folder,
                url=f"http://127.0.0.1:{server.server_port}/",
                requests=requests,
                images={name: images for name, (images, _) in made.items()},
                labels={name: labels for name, (_, labels) in made.items()},
            )
        finally:
            server.shutdown()


def _load(tmp_path: Path, name: str = "cifar10", **options: Any) -> Dataset:
    config = DataConfig(name=name, val_fraction=0.0, root=str(tmp_path / "root"), **options)
    return load_dataset(config, cache=tmp_path / "cache")


def _refused(tmp_path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        _load(tmp_path, **options)
    assert "\n" not in str(raised.value)
    assert not [p for p in (tmp_path / "cache").glob("*") if p.is_dir()]
    return str(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_download_from_a_mirror(tmp_path: Path, site: _Site, name: str) -> None:
    data = _load(tmp_path, name, mirror=site.url)
    images = torch.cat([data.train.images, data.test.images])
    assert torch.equal(images, torch.from_numpy(site.images[name]))
    assert torch.cat([data.train.labels, data.test.labels]).tolist() == site.labels[name]
    assert len(data.test) == 2 * NAMES[name]
    assert data.classes == tuple(f"class{i}" for i in range(NAMES[name]))


def test_second_open_needs_neither_network_nor_root(tmp_path: Path, site: _Site) -> None:
    first = _load(tmp_path, mirror=site.url)
    shutil.rmtree(tmp_path / "root")
    site.requests.clear()
    assert _load(tmp_path).digest == first.digest
    assert not site.requests


def test_unpacked_files_in_root_are_used(tmp_path: Path, site: _Site) -> None:
    first = _load(tmp_path, mirror=site.url)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "root" / "cifar-10-python.tar.gz").unlink()
    assert _load(tmp_path, download=False).digest == first.digest


def test_a_mirror_may_name_the_archive_itself(tmp_path: Path, site: _Site) -> None:
    (site.folder / "cifar-10-python.tar.gz").rename(site.folder / "other-name.tgz")
    assert len(_load(tmp_path, mirror=site.url + "other-name.tgz?key=1").train) == 100
    assert "GET /other-name.tgz?key=1" in site.requests


def test_a_mirror_may_name_the_folder_with_or_without_a_slash(tmp_path: Path, site: _Site) -> None:
    site.folder.rename(site.folder.parent / "deeper")
    site.folder.mkdir()
    (site.folder.parent / "deeper").rename(site.folder / "deeper")
    assert len(_load(tmp_path, mirror=site.url + "deeper").train) == 100


def test_root_defaults_to_the_cache(tmp_path: Path, site: _Site) -> None:
    load_dataset(DataConfig(name="cifar10", mirror=site.url), cache=tmp_path / "cache")
    assert (tmp_path / "cache" / "cifar-10-python.tar.gz").is_file()


def test_no_network_says_so_and_what_to_do(tmp_path: Path, site: _Site) -> None:
    line = _refused(tmp_path)
    assert "no network" in line
    archive = tmp_path / "root" / "cifar-10-python.tar.gz"
    assert f"put cifar-10-python.tar.gz at {archive}" in line
    for way in ("data.mirror", "data=imagefolder", "data=digits"):
        assert way in line

    # Doing the first of these mends it, with and without permission to download.
    shutil.copy(site.folder / archive.name, archive)
    first = _load(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "root" / "cifar-10-batches-py")
    assert _load(tmp_path, download=False).digest == first.digest


def test_download_false_and_nothing_there(tmp_path: Path, site: _Site) -> None:
    line = _refused(tmp_path, download=False, mirror=site.url)
    assert "isn't there and data.download=false" in line
    assert not site.requests


def test_download_false_and_a_damaged_archive(tmp_path: Path, site: _Site) -> None:
    archive = tmp_path / "root" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes((site.folder / archive.name).read_bytes()[:-100])
    assert "fails its checksum" in _refused(tmp_path, download=False, mirror=site.url)
    assert archive.is_file()
    assert len(_load(tmp_path, mirror=site.url).train) == 100


def test_a_mirror_with_other_content_is_refused_and_not_kept(tmp_path: Path, site: _Site) -> None:
    (site.folder / "cifar-10-python.tar.gz").write_bytes(b"something else")
    assert "fails its checksum" in _refused(tmp_path, mirror=site.url)
    assert not (tmp_path / "root" / "cifar-10-python.tar.gz").exists()


def test_a_mirror_without_the_archive(tmp_path: Path, site: _Site) -> None:
    assert "HTTP 404" in _refused(tmp_path, mirror=site.url + "nowhere/")


@pytest.mark.parametrize("mirror", ["nonsense", "file:///tmp/"])
def test_a_mirror_that_is_no_web_address(tmp_path: Path, site: _Site, mirror: str) -> None:
    assert _refused(tmp_path, mirror=mirror).startswith(f"data.mirror={mirror}: allowed is")


def test_a_mirror_that_never_answers(
    tmp_path: Path, site: _Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr("kdsweep.data.sources.download.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "timed out" in _refused(tmp_path, mirror=url)
    assert socket.getdefaulttimeout() is None


def test_a_root_that_can_not_be_written(tmp_path: Path, site: _Site) -> None:
    (tmp_path / "root").write_text("a file")
    assert "can't write in" in _refused(tmp_path, mirror=site.url)


def test_other_sizes_are_resized_as_pillow_does(tmp_path: Path, site: _Site) -> None:
    data = _load(tmp_path, mirror=site.url, image_size=20)
    assert data.train.images.shape == (100, 3, 20, 20)
    for ours, original in zip(data.train.images[:5], site.images["cifar10"], strict=False):
        picture = Image.fromarray(original.transpose(1, 2, 0))
        small = picture.resize((20, 20), Image.Resampling.BILINEAR)
        theirs = torch.from_numpy(np.array(small)).permute(2, 0, 1)
        assert (ours.int() - theirs.int()).abs().max() <= 1
