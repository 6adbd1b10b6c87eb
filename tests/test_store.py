from __future__ import annotations

import errno
import hashlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kdsweep import store
from kdsweep.config import Config, DistillConfig
from kdsweep.errors import UserError
from kdsweep.store import (
    META,
    DamagedError,
    Store,
    digest,
    file_hash,
    find_json,
    load_json,
    with_checksum,
    write_json,
)


def write(store: Store, key: str = "key", text: str = "content", **meta: Any) -> Path:
    with store.write("kind", key, meta) as folder:
        (folder / "a.txt").write_text(text)
        (folder / "b.bin").write_bytes(bytes(range(256)))
    return store.folder("kind", key)


def fork(run: Callable[..., None], *given: object) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=run, args=given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking while there are threads
        process.start()
    return process


def others(folder: Path) -> list[str]:
    """What lies beside the artefacts, but for their locks."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".") and p.suffix != ".lock"]


def test_what_is_written_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("kind", "key") is None
    folder = write(store, accuracy=91.25, classes=["a", "b"])
    meta = Store(tmp_path).find("kind", "key")
    assert meta is not None
    assert (meta["accuracy"], meta["classes"]) == (91.25, ["a", "b"])
    assert set(meta["files"]) == {"a.txt", "b.bin"}
    assert (folder / "a.txt").read_text() == "content"
    assert folder == tmp_path / "store" / "kind" / "key"
    assert others(folder.parent) == []
    assert store.find("kind", "other") is None


@pytest.mark.parametrize("how", ["changed", "cut", "missing", "no meta", "half a meta", "garbage"])
def test_what_is_damaged_is_not_found_and_made_anew(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    folder = write(store)
    file, meta = folder / "b.bin", folder / META
    if how == "changed":
        file.write_bytes(file.read_bytes()[::-1])
    elif how == "cut":
        os.truncate(file, 100)
    elif how == "missing":
        file.unlink()
    elif how == "no meta":
        meta.unlink()
    elif how == "half a meta":
        os.truncate(meta, meta.stat().st_size // 2)
    else:
        meta.write_bytes(b"\xff\xfe\x80" * 20)
    assert store.find("kind", "key") is None
    assert len(caplog.records) == (0 if how == "no meta" else 1)  # absent is not damaged
    write(store, text="new")
    assert store.find("kind", "key") is not None
    assert (folder / "a.txt").read_text() == "new"


@pytest.mark.parametrize("how", ["edited", "without its checksum"])
def test_an_edited_description_is_not_believed(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    meta = write(store, accuracy=12.5) / META
    content = json.loads(meta.read_text())
    content["accuracy"] = 99.0
    if how != "edited":
        del content["sha256"]
    meta.write_text(json.dumps(content))
    assert store.find("kind", "key") is None
    (line,) = caplog.messages
    assert line == f"{meta}: damaged (its checksum is another), it counts as absent"
    write(store, accuracy=12.5)
    found = store.find("kind", "key")
    assert found is not None
    assert found["accuracy"] == 12.5


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:

    def fail() -> None:
        with Store(tmp_path).write("kind", "key", {}) as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list((tmp_path / "store" / "kind").iterdir()) == []


def _write_and_die(root: Path) -> None:
    with Store(root).write("kind", "key", {}) as folder:
        (folder / "a.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_no_artefact_and_the_next_one_clears_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, key="key2")
    process = fork(_write_and_die, tmp_path)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert store.find("kind", "key") is None
    folder = store.folder("kind", "key")
    assert not folder.exists()
    assert len(others(folder.parent)) == 1
    write(store, key="key2")  # another's rest is not its business
    assert len(others(folder.parent)) == 1
    write(store)
    assert others(folder.parent) == []
    assert store.find("kind", "key") is not None


def test_a_failed_writer_leaves_the_old_artefact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, text="old")
    with pytest.raises(ZeroDivisionError), store.write("kind", "key", {}):
        _ = 1 / 0
    assert store.find("kind", "key") is not None
    write(store, text="new")
    assert (store.folder("kind", "key") / "a.txt").read_text() == "new"


class Syncs:
    """Watches what reaches the disk, and what is renamed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str]] = []
        opened: dict[int, str] = {}
        open_, fsync, replace = os.open, os.fsync, os.replace

        def watched_open(path: Any, *given: Any, **more: Any) -> int:
            descriptor = open_(path, *given, **more)
            opened[descriptor] = Path(path).name
            return descriptor

        def watched_fsync(descriptor: int) -> None:
            self.seen.append(("sync", opened[descriptor]))
            fsync(descriptor)

        def watched_replace(source: Any, target: Any) -> None:
            self.seen.append(("rename", Path(target).name))
            replace(source, target)

        monkeypatch.setattr(os, "open", watched_open)
        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", watched_replace)


def test_json_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    write_json(tmp_path / "x.json", {})
    assert syncs.seen == [
        ("sync", f".x.json.{os.getpid()}"), ("rename", "x.json"), ("sync", tmp_path.name),
    ]  # fmt: skip


def test_an_artefact_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    write(Store(tmp_path))
    *before, rename, after = syncs.seen
    assert [name for kind, name in before if kind == "sync"][:3] == ["a.txt", "b.bin", META]
    assert before[-1][1].startswith(".key.")  # the folder's own names
    assert (rename, after) == (("rename", "key"), ("sync", "kind"))


def test_json_that_is_there_or_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert load_json(path) is None
    assert find_json(path) is None
    assert load_json(path / "below a file") is None
    write_json(path, {"a": [1, 2.5, None]})
    assert load_json(path) == find_json(path) == {"a": [1, 2.5, None]}
    write_json(path, with_checksum({"a": (1, 2)}))
    assert find_json(path, checked=True) == {**with_checksum({"a": [1, 2]})}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not JSON"),
        (b'{"a": ', "not JSON"),
        (b"\0" * 9, "not JSON"),
        (b"\xff\xfe\x80", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (None, "Is a directory"),
    ],
    ids=["empty", "cut", "zeros", "no text", "deep", "list", "folder"],
)
def test_damaged_json_is_named_or_counts_as_absent(
    tmp_path: Path, content: bytes | None, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.json"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        load_json(path)
    assert str(caught.value) == what
    assert find_json(path) is None
    assert caplog.messages == [f"{path}: damaged ({what}), it counts as absent"]


@dataclass
class Inner:
    values: list[float] = field(default_factory=lambda: [0.1, 1e-300])
    table: dict[str, int] = field(default_factory=lambda: {"b": 1, "a": 2})


def parts() -> tuple[object, ...]:
    return ("text", 3, 0.1, None, True, Inner(), {"z": [1, 2], "y": {"k": (3, 4)}})


def test_a_digest_is_the_sha256_of_canonical_json() -> None:
    plain = [
        "text", 3, 0.1, None, True,
        {"table": {"a": 2, "b": 1}, "values": [0.1, 1e-300]},
        {"y": {"k": [3, 4]}, "z": [1, 2]},
    ]  # fmt: skip
    text = json.dumps(plain, sort_keys=True)
    assert digest(*parts()) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_digest_is_the_same_in_every_process() -> None:
    code = (
        "from tests.test_store import parts; from kdsweep.store import digest;"
        "from kdsweep.config import Config; print(digest(*parts()), digest(Config()))"
    )
    expected = f"{digest(*parts())} {digest(Config())}\n"
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab",), ("a", "b")),
        ((1, 2), (2, 1)),
        (({"a": 1},), ({"a": 2},)),
        (([[1], 2],), ([[1, 2]],)),
        ((1,), ("1",)),
        ((0.1 + 0.2,), (0.3,)),
        ((Config(),), (Config(seed=1),)),
        ((DistillConfig(alpha=0.5),), (DistillConfig(alpha=0.5 + 2**-50),)),
        ((math.nan,), (math.inf,)),
    ],
)
def test_digests_differ(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert digest(*one) != digest(*other)


def test_order_of_keys_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [object(), {1, 2}, Path("x"), Inner])
def test_what_has_no_stable_text_is_not_hashed(value: object) -> None:
    with pytest.raises(TypeError, match="can't hash"):
        digest(value)


@pytest.mark.parametrize(
    "act",
    [
        lambda root: write(Store(root)),
        lambda root: Store(root).lock("kind", "key"),
        lambda root: write_json(root / "deep" / "x.json", {}),
    ],
    ids=["write", "lock", "write_json"],
)
def test_where_nothing_can_be_written_the_user_is_told(
    tmp_path: Path, act: Callable[[Path], object]
) -> None:
    root = tmp_path / "file"
    root.write_text("not a folder")
    with pytest.raises(UserError) as caught:
        act(root)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"can't write in {root}")
    assert line.endswith(": Not a directory; choose another folder with root=...")


def fill_disk(path: Path, *_: object, **__: object) -> NoReturn:
    """What writing to a full disk does: the file is there, and not whole."""
    path.touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    with (
        pytest.raises(UserError, match="No space left on device; free some space"),
        store.write("kind", "key", {}) as folder,
    ):
        fill_disk(folder / "begun")
    assert list((tmp_path / "store" / "kind").iterdir()) == []
    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(UserError, match="No space left on device"):
        write_json(tmp_path / "x.json", {})
    assert not (tmp_path / "x.json").exists()


def test_json_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": 1})

    def fail(*given: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", fail)
        with pytest.raises(UserError, match="Input/output error"):
            write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": 3}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_hash(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_only_a_full_disk_asks_for_space(tmp_path: Path) -> None:
    told = "No space left on device; free some space or choose"
    with pytest.raises(UserError, match=told), store.writable(tmp_path):
        fill_disk(tmp_path / "begun")
