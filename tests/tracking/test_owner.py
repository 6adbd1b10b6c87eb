from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kdsweep.tracking.owner import Owner, start_of, this_process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def owner_of(process: subprocess.Popen[bytes]) -> Owner:
    start = start_of(process.pid)
    assert start is not None
    return replace(this_process(), pid=process.pid, start=start)


def test_text_and_back() -> None:
    assert Owner.parse(str(this_process())) == this_process()


@pytest.mark.parametrize("text", ["", "pid=1", "pid=x host=h boot=b space=s start=1"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no process"):
        Owner.parse(text)


def test_this_process_lives() -> None:
    assert this_process().pid == os.getpid()
    assert not this_process().is_dead()


def test_a_process_lives_until_it_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    owner = owner_of(sleeper)
    assert not owner.is_dead()
    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait()
    assert owner.is_dead()


def test_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    owner = owner_of(sleeper)
    sleeper.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped
    assert owner.is_dead()


def test_a_reused_process_id_is_another_process() -> None:
    assert replace(this_process(), start="1").is_dead()


def test_what_this_host_cannot_see_may_live() -> None:
    gone = replace(this_process(), start="1")
    assert not replace(gone, host="elsewhere", boot="another").is_dead()
    assert not replace(gone, boot="another").is_dead(), "a host of the same name"
    assert not replace(gone, space="pid:[1]").is_dead()


def test_the_name_of_a_host_says_nothing_of_what_can_be_seen() -> None:
    here = this_process()
    gone = replace(here, start="1", host="a container's own name, in this namespace")
    assert gone.is_dead() == bool(here.boot)


def test_after_a_fork_the_child_is_the_owner(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = this_process()
    monkeypatch.setattr(os, "getpid", lambda: sleeper.pid)
    assert this_process() == owner_of(sleeper) != mine
