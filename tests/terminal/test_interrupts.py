from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from kdsweep.errors import Stopped
from kdsweep.terminal.interrupts import STOPS, Interrupts, passed_on

ALL = (signal.SIGINT, *STOPS)


@pytest.fixture(autouse=True)
def _plain_handlers() -> Iterator[None]:
    """As a process starts with them, whatever started this one."""
    plain = {signal.SIGINT: signal.default_int_handler}
    before = {signum: signal.signal(signum, plain.get(signum, signal.SIG_DFL)) for signum in ALL}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def handlers() -> list[object]:
    return [signal.getsignal(signum) for signum in ALL]


def own() -> Interrupts:
    return Interrupts(leave=lambda status: pytest.fail(f"left with {status}"))


@pytest.mark.parametrize("signum", STOPS)
def test_a_stop_is_raised_and_what_was_there_is_put_back(signum: signal.Signals) -> None:
    before = handlers()
    with pytest.raises(Stopped, match=rf"^stopped by {signum.name}$") as caught, own():
        signal.raise_signal(signum)
    assert caught.value.signum == signum
    assert isinstance(caught.value, KeyboardInterrupt)
    assert handlers() == before


def test_a_stop_that_is_repeated_interrupts_no_closing() -> None:
    with own():
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
        for signum in STOPS:
            signal.raise_signal(signum)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once(
    first: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    left: list[int] = []
    with Interrupts(leave=left.append):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(first)
        signal.raise_signal(signal.SIGINT)
    assert left == [128 + first]
    assert "stopped at once; the next start puts in order" in capfd.readouterr().err


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_closing_that_takes_too_long_is_ended(first: signal.Signals) -> None:
    ended, left = threading.Event(), []

    def leave(status: int) -> None:
        left.append(status)
        ended.set()

    with Interrupts(deadline=0.01, leave=leave):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)  # the first one, where Ctrl-C came before
        assert ended.wait(60)
    assert left == [128 + first]


def test_closing_in_time_is_not() -> None:
    made = own()
    with pytest.raises(Stopped), made:
        signal.raise_signal(signal.SIGTERM)
    assert made.timer is not None
    made.timer.join(60)
    assert made.timer.finished.is_set()  # cancelled: it has not left


@pytest.mark.parametrize("theirs", [signal.SIG_IGN, print])
def test_what_is_ignored_or_somebody_elses_stays_so(theirs: Callable[..., object]) -> None:
    for signum in ALL:
        signal.signal(signum, theirs)
    before = handlers()
    with own():
        assert handlers() == before
    assert handlers() == before


def test_ctrl_c_is_left_to_a_program() -> None:
    with Interrupts(keyboard=False):
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def test_inside_another_the_outer_one_stays() -> None:
    with own():
        outer = handlers()
        with passed_on():
            assert handlers() == outer
        assert handlers() == outer


def test_another_thread_has_no_handlers() -> None:
    before, inside = handlers(), []

    def call() -> None:
        with own(), passed_on():
            inside.append(handlers())

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert inside == [before]


def test_a_program_is_ended_by_its_signal_once_all_is_in_order() -> None:
    code = (
        "import os, signal\n"
        "from kdsweep.terminal.interrupts import passed_on\n"
        "with passed_on():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n"
        "        print('in order')\n"
        "print('never')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "in order\n")
