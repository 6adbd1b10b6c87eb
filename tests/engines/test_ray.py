"""What Ray's engine asks of a cluster, what its tasks are sent, and how they are answered."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kdsweep.config import Config, EngineConfig
from kdsweep.engines import PopulationSpec
from kdsweep.engines.ray import GIB, Mailbox, RayEngine, slots_of
from kdsweep.engines.shipping import pack, unpack
from kdsweep.errors import UserError
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.teachers.stored import WEIGHTS, Found


def node(*, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("asked", "there", "slots"),
    [
        ({"cpus": 2}, node(CPU=7.0), 3),
        ({"cpus": 2}, node(CPU=7.0, alive=False), 0),
        ({"cpus": 8}, node(CPU=7.0), 0),
        ({}, node(), 0),
        ({"gpus": 1}, node(CPU=64.0, GPU=4.0), 4),
        ({"gpus": 0.5, "cpus": 2}, node(CPU=64.0, GPU=4.0), 8),
        ({"gpus": 1}, node(CPU=64.0), 0),
        ({"gpus": 1, "cpus": 32}, node(CPU=64.0, GPU=4.0), 2),
        ({"memory": 4.0}, node(CPU=64.0, memory=10.0 * GIB), 2),
    ],
)
def test_a_node_has_room_for_whole_parts(
    asked: dict[str, Any], there: dict[str, Any], slots: int
) -> None:
    assert slots_of(there, EngineConfig(name="ray", **asked)) == slots


def test_messages_arrive_in_order_and_answers_reach_who_asks_again() -> None:
    async def talk() -> None:
        mailbox = Mailbox()
        waiting = asyncio.create_task(mailbox.take(1))
        await asyncio.sleep(0)
        await mailbox.put(1, "begin", "n")
        await mailbox.put(2, "begin", "other")
        first = asyncio.create_task(mailbox.ask(1, 0, {"m": {}}))
        assert await waiting == [("begin", "n")]
        assert await mailbox.take(1) == [("epoch", (0, {"m": {}}))]
        assert not first.done()
        first.cancel()  # as with a node that is lost while it waits
        again = asyncio.create_task(mailbox.ask(1, 0, {"m": {}}))
        assert await mailbox.take(1) == [("epoch", (0, {"m": {}}))]
        await mailbox.answer(1, 0, {"m": "pruned"})
        await mailbox.answer(1, 0, {})  # the first answer is the one
        assert await again == {"m": "pruned"}
        assert await mailbox.ask(1, 0, {}) == {"m": "pruned"}
        await mailbox.forget(1)
        assert await mailbox.rest(1) == []
        assert await mailbox.rest(2) == [("begin", "other")]
        assert not mailbox.answers

    asyncio.run(talk())


def test_where_no_cluster_answers_that_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^engine.address=auto: no Ray cluster answers there"):
        RayEngine(EngineConfig(name="ray", address="auto"))


def found(folder: Path, *members: Found) -> Found:
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(folder.name.encode())
    meta = NetworkMeta(name="n", seed=1, classes=10, split="validation")
    return Found(
        kind="teacher", key=folder.name, folder=folder, meta=meta, found=True, members=members
    )


def test_what_shares_the_disk_reads_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = PopulationSpec(config=Config(), teacher=found(Path("t")))
    sent = pack(spec)
    monkeypatch.chdir("/")
    arrived = unpack(sent)
    assert Path.cwd() == tmp_path  # relative paths mean the same
    assert arrived.teacher is not None
    assert arrived.teacher.folder == tmp_path / "t"


def test_what_shares_no_disk_is_sent_the_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    home = tmp_path / "home"
    home.mkdir()
    teacher = found(home / "e", found(home / "a"), found(home / "b"))
    images = home / "images"
    images.mkdir()
    (images / "images.safetensors").write_bytes(b"dreams")
    sent = pack(PopulationSpec(config=Config(), teacher=teacher, images=images))
    sent = dataclasses.replace(sent, directory=home)
    shutil.rmtree(home)
    (home / "a").mkdir(parents=True)  # another's, without the file
    home.joinpath("a", "other").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    arrived = unpack(sent)
    assert arrived.teacher is not None
    assert arrived.images is not None
    weights = [one.weights for one in arrived.teacher.members]
    assert [path.read_bytes() for path in weights] == [b"a", b"b"]
    assert all(home not in path.parents and tmp_path in path.parents for path in weights)
    assert arrived.images.name == "images"  # a part of what a bank is found by
    assert (arrived.images / "images.safetensors").read_bytes() == b"dreams"
    os.chdir("/")
