"""The engine of a Ray cluster: each part of a population is a task, wherever there is room.

A task that is lost with its node is run again by Ray. Its observer is an actor beside the head,
which hands on what tasks report and what the head answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kdsweep.config import EngineConfig
from kdsweep.engines.engine import MOST_SLOTS, Part, Results, SlotEngine
from kdsweep.engines.networks import PopulationSpec
from kdsweep.engines.shipping import Shipment, pack, unpack
from kdsweep.engines.slots import for_slot
from kdsweep.engines.worker import Reporter, train_outcome
from kdsweep.errors import UserError, WorkerLost, first_line
from kdsweep.train.population import Member

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between looks at whether the other parts have failed
GIB = 1 << 30
_nodes: Callable[[], list[dict[str, Any]]] = ray.nodes


class RayEngine(SlotEngine):
    """Trains on a Ray cluster, one that runs or one that is started here.

    Raises:
        UserError: there is no such cluster.
    """

    grows = True

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self.config = config
        self._ours = not ray.is_initialized()
        if self._ours:
            with _handler_kept(signal.SIGTERM):
                _connect(config)
        here = ray.get_runtime_context().get_node_id()
        self._mailbox: Any = (
            ray.remote(Mailbox)
            .options(
                num_cpus=0,
                max_concurrency=4 * MOST_SLOTS,
                scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
            )
            .remote()
        )
        memory = None if config.memory is None else int(config.memory * GIB)
        self._train_task: Any = ray.remote(_train).options(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            memory=memory,
            max_retries=config.retries,
            runtime_env=config.runtime_env,
            name="kdsweep",
        )
        self._numbers = itertools.count()
        self._closed = False

    @property
    def width(self) -> int:
        """How many parts the nodes that are there now have room for; at least 1."""
        return max(1, sum(slots_of(node, self.config) for node in _nodes()))

    @property
    def has_room(self) -> bool:
        """Whether the nodes that are there now have room for another part."""
        return self._open < self.width

    def slots_for(self, spec: PopulationSpec) -> int:
        """As many as the nodes that are there now have room for."""
        return self.width

    def train_part(self, part: Part) -> Results:
        """Train a part on some node, and again where it is lost.

        Raises:
            WorkerLost: it was lost again and again.
            KdsweepError: what the training raised; anything else that it raises is unexpected.
        """
        number = next(self._numbers)
        shipment = pack(for_slot(part.spec))
        task = self._train_task.remote(number, shipment, list(part.members), self._mailbox)
        try:
            kind, content = self._follow(part, number, task)
        except BaseException:
            ray.cancel(task, force=True)
            raise
        finally:
            self._mailbox.forget.remote(number)
        if kind == "error":
            failed: BaseException = content
            raise failed
        results: Results = content
        return results

    def _follow(self, part: Part, number: int, task: Any) -> tuple[str, Any]:
        """Hand on what the task reports until it has ended; how it did."""
        messages = self._mailbox.take.remote(number)
        while True:
            ready, _ = ray.wait([messages, task], num_returns=1, timeout=LOOK_SECONDS)
            if self._closed or part.whole.ended.is_set():
                raise CancelledError
            if messages in ready:
                self._hear(part, number, ray.get(messages))
                messages = self._mailbox.take.remote(number)
            elif task in ready:
                self._hear(part, number, ray.get(self._mailbox.rest.remote(number)))
                return self._outcome(part, task)

    def _hear(self, part: Part, number: int, messages: Sequence[tuple[str, Any]]) -> None:
        for kind, content in messages:
            if kind == "step":
                part.step(*content)
            elif kind == "epoch":
                epoch, records = content
                answer = part.epoch(epoch, records)
                self._mailbox.answer.remote(number, epoch, answer)
            elif part.begun:
                part.lost += 1
                log.warning(
                    "a node or a process was lost; %s trained again, on node %s",
                    part.students,
                    content[:8],
                )
            else:
                part.begun = True

    def _outcome(self, part: Part, task: Any) -> tuple[str, Any]:
        try:
            outcome: tuple[str, Any] = pickle.loads(ray.get(task))
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise UserError(
                f"engine.runtime_env={self.config.runtime_env}: a node could not set it up: "
                f"{first_line(error)}"
            ) from error
        except ray.exceptions.RayTaskError as error:  # it could not even begin
            raise WorkerLost(
                f"a Ray task can't run: {first_line(error.cause or error)}; every node needs this "
                "version of kdsweep, or gets it by engine.runtime_env"
            ) from error
        except ray.exceptions.RayError as error:
            raise WorkerLost(
                f"a part of a population was lost {self.config.retries + 1} times "
                f"({first_line(error)}); give the same command again: what is finished is kept"
            ) from error
        return outcome

    def close(self, error: BaseException | None = None) -> None:
        """End all tasks: Ray ends them with the head, so that none can be left running."""
        self._closed = True
        super().close()
        ray.kill(self._mailbox)
        if self._ours:
            ray.shutdown()


class Mailbox:
    """The actor between tasks and the head: messages one way, answers the other."""

    def __init__(self) -> None:
        self.messages: defaultdict[int, asyncio.Queue[tuple[str, Any]]]
        self.messages = defaultdict(asyncio.Queue)
        self.answers: defaultdict[tuple[int, int], asyncio.Future[Mapping[str, str]]]
        self.answers = defaultdict(lambda: asyncio.get_running_loop().create_future())

    async def put(self, number: int, kind: str, content: object) -> None:
        """A task reports."""
        self.messages[number].put_nowait((kind, content))

    async def ask(self, number: int, epoch: int, records: object) -> Mapping[str, str]:
        """A task reports an epoch, and waits for who leaves."""
        self.messages[number].put_nowait(("epoch", (epoch, records)))
        return await asyncio.shield(self.answers[number, epoch])

    async def answer(self, number: int, epoch: int, leaving: Mapping[str, str]) -> None:
        """The head answers; whoever asks again later gets the same."""
        future = self.answers[number, epoch]
        if not future.done():
            future.set_result(leaving)

    async def take(self, number: int) -> list[tuple[str, Any]]:
        """The head waits for what a task reports: the next message, and all behind it."""
        first = await self.messages[number].get()
        return [first, *await self.rest(number)]

    async def rest(self, number: int) -> list[tuple[str, Any]]:
        """What a task has reported and nobody has taken."""
        queue, taken = self.messages[number], []
        while not queue.empty():
            taken.append(queue.get_nowait())
        return taken

    async def forget(self, number: int) -> None:
        """A task has ended."""
        self.messages.pop(number, None)
        for key in [key for key in self.answers if key[0] == number]:
            del self.answers[key]


class _Posted(Reporter):
    """Reports to the mailbox."""

    def __init__(self, number: int, mailbox: Any) -> None:
        super().__init__()
        self.number = number
        self.mailbox = mailbox

    def report(self, kind: str, content: object) -> None:
        ray.get(self.mailbox.put.remote(self.number, kind, content))

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        leaving: Mapping[str, str] = ray.get(self.mailbox.ask.remote(self.number, epoch, records))
        return leaving


def _train(number: int, shipment: Shipment, members: Sequence[Member], mailbox: Any) -> bytes:
    """What a task does; its outcome by value."""
    observer = _Posted(number, mailbox)
    observer.report("begin", ray.get_runtime_context().get_node_id())
    return pickle.dumps(train_outcome(unpack(shipment), members, observer))


def slots_of(node: Mapping[str, Any], config: EngineConfig) -> int:
    """How many parts a node has room for, as ``ray.nodes`` describes it."""
    if not node["Alive"]:
        return 0
    there: Mapping[str, float] = node["Resources"]
    slots = there.get("CPU", 0.0) / config.cpus
    if config.gpus:
        slots = min(slots, there.get("GPU", 0.0) / config.gpus)
    if config.memory is not None:
        slots = min(slots, there.get("memory", 0.0) / (config.memory * GIB))
    return int(slots)


@contextlib.contextmanager
def _handler_kept(signum: int) -> Iterator[None]:
    """Ray would end this process by itself, without what the command puts in order."""
    before = signal.getsignal(signum)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signum, before)


def _connect(config: EngineConfig) -> None:
    """Join the cluster that is asked for, or start one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    if config.address is None:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        return
    try:
        ray.init(config.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, TimeoutError) as error:
        raise UserError(
            f"engine.address={config.address}: no Ray cluster answers there ({first_line(error)});"
            " start one with ray start --head, or leave engine.address out to start one here"
        ) from error
