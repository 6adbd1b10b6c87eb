"""A sweep on a Ray cluster of several nodes, two of which are lost while they train."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kdsweep.engines.engine import Part
from kdsweep.engines.ray import RayEngine
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from kdsweep.results.record import Record
from tests.conftest import REPOSITORY
from tests.jobs.trained import job, train

ray = pytest.importorskip("ray")


class Nodes:
    """A cluster: a head that trains nothing, and nodes of one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        ray.init(self.cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        self.nodes: dict[str, Any] = {}
        for _ in range(2):
            self.add()

    def add(self) -> None:
        node = self.cluster.add_node(num_cpus=1)
        self.nodes[node.node_id] = node

    def kill(self, node: str) -> None:
        self.cluster.remove_node(self.nodes.pop(node), allow_graceful=False)

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    made = Nodes()
    # Nodes are ended by hand, and added from threads, where no signal can be handled.
    monkeypatch.setattr("ray._private.node.Node._register_shutdown_hooks", lambda node: None)
    yield made
    made.close()


class Losing(RayEngine):
    """Kills the node of the first part of students after its first, and after its second epoch."""

    def __init__(self, config: Any, nodes: Nodes) -> None:
        super().__init__(config)
        self.nodes = nodes
        self.at: dict[str, str] = {}  # where each part was begun last, by its first member
        self.killed: list[int] = []  # at which epochs

    def await_width(self, wanted: int) -> None:
        """Ray looks every few seconds whether nodes live."""
        end = time.monotonic() + 120
        while self.width != wanted:
            assert time.monotonic() < end, f"{self.width} slots, not {wanted}"
            time.sleep(0.1)

    def _hear(self, part: Part, number: int, messages: Sequence[tuple[str, Any]]) -> None:
        first = part.members[0].name
        for kind, content in messages:
            if kind == "begin":
                self.at[first] = content
            students = part.spec.teacher is not None and part.number == 0
            if kind == "epoch" and students and content[0] not in self.killed:
                self.killed.append(content[0])
                self.nodes.kill(self.at[first])
                self.await_width(1)
                self.nodes.add()  # what comes later gets work
                self.await_width(2)
        super()._hear(part, number, messages)


def jobs(root: Path, *more: str) -> list[Job]:
    root.mkdir()
    return [
        job(root, f"distill.temperature={t}", "seeds=2", "train.epochs=2", *more)
        for t in (1.0, 2.0, 4.0)
    ]


def record(outcome: Outcome) -> Record:
    assert outcome.error is None, outcome.error
    assert outcome.record is not None
    return outcome.record


@pytest.mark.usefixtures("composing")
def test_a_sweep_that_loses_nodes_comes_to_the_same(
    tmp_path: Path, nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    made = jobs(tmp_path / "cluster", "engine=ray")
    with Session(made[0].config) as session:
        engine = Losing(made[0].config.engine, nodes)
        session._engine = engine
        outcomes = run_plans(session, plan(made))
    assert engine.killed == [0, 1]
    lost = [r.message for r in caplog.records if r.message.startswith("a node or a process was")]
    assert len(lost) == 2
    assert "3 students are trained again, on node " in lost[0]
    here = jobs(tmp_path / "here")
    for one, other, outcome in zip(made, here, train(here), strict=True):
        trained, expected = record(outcomes[one.folder]), record(outcome)
        assert trained.values == expected.values
        assert trained.seeds.keys() == expected.seeds.keys()
        for seed, kept in trained.seeds.items():
            assert kept.history == expected.seeds[seed].history
            name = f"student-seed{seed}.safetensors"
            assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
