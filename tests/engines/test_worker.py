"""A worker process: what it sends of errors, and when it ends."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

from kdsweep.engines.worker import portable


class Unportable(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def test_an_error_that_can_not_travel_is_told() -> None:
    try:
        raise Unportable(1, 2)
    except Unportable as error:
        sent = pickle.loads(pickle.dumps(portable(error)))
    assert type(sent) is RuntimeError
    assert str(sent) == "Unportable: 1 and 2"
    assert "raise Unportable(1, 2)" in sent.__notes__[0]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


START_TWO = """\
import os, signal, time
from kdsweep.engines.worker import Worker, _send
made = [Worker(), Worker()]
"""


def test_workers_end_with_a_parent_that_is_killed_whatever_they_do() -> None:
    code = START_TWO + (
        "class Sleep:\n"
        "    def __reduce__(self): return time.sleep, (600,)\n"
        "for worker in made:\n"
        "    _send(worker.pipe, Sleep())\n"
        "print(*[worker.process.pid for worker in made], flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
        parent.wait()
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def test_no_worker_hears_ctrl_c_not_even_the_first_of_a_process() -> None:
    code = START_TWO + (
        "for worker in made:\n"
        "    os.kill(worker.process.pid, signal.SIGINT)\n"
        "for worker in made:\n"
        "    worker.process.join(2)\n"
        "print([worker.process.exitcode for worker in made])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == ("[None, None]\n", "")
