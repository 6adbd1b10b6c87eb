"""The engine of one machine: a process for each GPU, or for each core of a CPU.

Where there is one slot alone, or a CPU trains one network with all of its cores, this process
trains itself. A GPU that fails hands its part back to the others and gets no more.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

from kdsweep.data.device import Datasets
from kdsweep.engines.engine import Part, Results, SlotEngine, Task
from kdsweep.engines.networks import PopulationSpec, with_train
from kdsweep.engines.population import train_population
from kdsweep.engines.worker import Worker, WorkerEnded
from kdsweep.errors import TrainingError, WorkerLost, first_line
from kdsweep.hardware.choose import Machine, choose_hardware, this_machine
from kdsweep.teachers.bank import Banks
from kdsweep.train.interfaces import Observer

log = logging.getLogger(__name__)

STOP_SECONDS = 3.0  # after which a process that was sent a signal was sent it alone

# What CUDA says of a device that is of no use any more, rather than of a wrong program.
_BROKEN = re.compile(r"(CUDA|NCCL|cuDNN|CUBLAS).*(error|ERROR|failure|STATUS_)|device is lost")


@dataclass(kw_only=True)
class Slot:
    """A core, or a GPU, and the process that trains there."""

    device: str | None  # a GPU, such as cuda:1
    worker: Worker | None = None  # started when there is something to train
    part: Part | None = None  # which is in training


class LocalEngine(SlotEngine):
    """Trains on this machine.

    Args:
        datasets: those that this process has loaded.
        machine: what there is to train on; None: this one.
        start: starts a process.
    """

    def __init__(
        self,
        datasets: Datasets | None = None,
        machine: Machine | None = None,
        start: Callable[[], Worker] = Worker,
    ) -> None:
        super().__init__()
        self.datasets = datasets or Datasets()
        self.banks = Banks()
        self.machine = machine
        self.start = start
        self.slots: list[Slot] = []  # that work
        self._free: dict[bool, queue.SimpleQueue[Slot | None]] = {}  # of GPUs, of cores
        for of_gpus in (False, True):
            self._free[of_gpus] = queue.SimpleQueue()
        self._broken: dict[str | None, str] = {}  # GPUs that have failed, and how
        self._closed = threading.Event()

    @property
    def has_room(self) -> bool:
        """Whether a slot is idle."""
        with self._lock:
            return self._open < max(1, len(self.slots))

    @property
    def width(self) -> int:
        """The cores that this process may use: what members of its own each take one of."""
        return (this_machine() if self.machine is None else self.machine).cores

    def slots_for(self, spec: PopulationSpec) -> int:
        """As many as there are GPUs that work, or processes that the CPU is to have."""
        wanted = self._devices(spec)
        return max(1, sum(slot.device in wanted for slot in self.slots))

    def submit(self, task: Task, observer: Observer) -> Future[Results]:
        """Train a population; in this process where one slot or one network is all there is."""
        devices = self._devices(task.spec)
        if len(devices) == 1 or (len(task.members) == 1 and devices[0] is None):
            done: Future[Results] = Future()
            done.set_result(
                train_population(
                    task.spec, task.members, observer, datasets=self.datasets, banks=self.banks
                )
            )
            return done
        self._add_slots(devices)
        return super().submit(task, observer)

    def _devices(self, spec: PopulationSpec) -> list[str | None]:
        """The GPUs that such a population trains on, or a None for each process of a CPU."""
        machine = this_machine() if self.machine is None else self.machine
        train = spec.config.train
        hardware = choose_hardware(train, machine)
        if hardware.device.type != "cuda":
            return [None] * hardware.workers
        if train.device in ("auto", "cuda"):
            return [f"cuda:{i}" for i in range(machine.gpus)]
        return [train.device]

    def _add_slots(self, devices: list[str | None]) -> None:
        with self._lock:
            for device in dict.fromkeys(devices):
                there = sum(slot.device == device for slot in self.slots)
                for _ in range(devices.count(device) - there):
                    if device not in self._broken:
                        self.slots.append(Slot(device=device))
                        self._free[device is not None].put(self.slots[-1])

    def train_part(self, part: Part) -> Results:
        """Train a part in the first slot that is free.

        Raises:
            WorkerLost: a process died, and so did the one that trained its part again.
            KdsweepError: what the process raised; anything else that it raises is unexpected.
        """
        free = self._free[self._devices(part.spec)[0] is not None]
        while (slot := free.get()) is not None:
            try:
                return self._train_in(slot, part)
            except WorkerEnded:
                self._replace(slot, part)
            except RuntimeError as error:
                if slot.device is None or not _BROKEN.search(str(error)):
                    raise
                self._retire(slot, first_line(error))
            finally:
                if slot.device not in self._broken:
                    free.put(slot)
        free.put(None)  # for the next one that waits
        if self._closed.is_set():
            raise CancelledError
        raise TrainingError(f"every GPU has failed: {next(iter(self._broken.values()))}")

    def _train_in(self, slot: Slot, part: Part) -> Results:
        slot.part = part
        if slot.worker is not None and slot.worker.killed:
            slot.worker.end()
            slot.worker = None
        if slot.worker is None:
            slot.worker = self.start()
        if self._closed.is_set():  # meanwhile
            slot.worker.kill()
            raise WorkerEnded
        if slot.device is None:  # a process for each core
            changes: dict[str, Any] = {"fuse": "loop", "threads": 1}
        else:
            changes = {"device": slot.device}
        return slot.worker.train(part, with_train(part.spec, **changes))

    def _replace(self, slot: Slot, part: Part) -> None:
        """Put away the process that has ended, or must, with what it trained.

        Raises:
            WorkerLost: it is the second one that is lost with this part.
            CancelledError: nobody waits for the part any more.
        """
        assert slot.worker is not None
        if part.whole.ended.is_set():
            slot.worker.kill()
        cause = slot.worker.end()
        slot.worker = slot.part = None
        # Who stops a whole process group ends this process, too, a moment later.
        grace = 0.0 if cause == "SIGKILL" else STOP_SECONDS
        if self._closed.wait(grace) or part.whole.ended.is_set():
            raise CancelledError
        part.lost += 1
        if part.lost > 1:
            memory = ", as the system does when memory runs out" if cause == "SIGKILL" else ""
            raise WorkerLost(
                f"a training process was lost twice ({cause}{memory}); free some memory and give "
                "the same command again: what is finished is kept"
            )
        log.warning("a training process was lost (%s); %s trained again", cause, part.students)

    def _retire(self, slot: Slot, why: str) -> None:
        """Train nothing more on a GPU that has failed."""
        assert slot.worker is not None
        slot.worker.kill()
        slot.worker.end()
        with self._lock:
            self._broken[slot.device] = why
            self.slots.remove(slot)
            last = not any(one.device is not None for one in self.slots)
        log.warning("%s has failed (%s); its students go to other GPUs", slot.device, why)
        if last:
            self._free[True].put(None)

    def close(self, error: BaseException | None = None) -> None:
        """End all processes at once."""
        self._closed.set()
        for free in self._free.values():
            free.put(None)
        workers = [slot.worker for slot in self.slots if slot.worker is not None]
        for worker in workers:
            worker.kill()
        super().close()
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.end()
                slot.worker = None
