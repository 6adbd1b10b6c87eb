from __future__ import annotations

import os

import pytest

from kdsweep.errors import Refusal, UserError
from kdsweep.terminal.command import FULL_ERROR, OneLine, run


def explain(error: Exception) -> tuple[str, int]:
    return f"said of {error}", 7


@pytest.fixture(autouse=True)
def _no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FULL_ERROR, raising=False)


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (ValueError("two\nlines"), "kdsweep: said of two lines\n", 7),
        (Refusal(UserError("no")), "kdsweep: said of no\n", 7),
        (KeyboardInterrupt(), "kdsweep: interrupted\n", 130),
    ],
)
def test_an_end_is_one_line_and_a_status(
    error: BaseException, line: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, OneLine(explain):
        raise error
    assert ended.value.code == status
    assert capsys.readouterr().err == line
    assert FULL_ERROR not in os.environ


@pytest.mark.parametrize("error", [ValueError("whole"), Refusal(ValueError("whole"))])
def test_a_traceback_is_given_to_who_asks(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FULL_ERROR, "1")
    with pytest.raises(ValueError, match="whole"), OneLine(explain):
        raise error
    assert os.environ[FULL_ERROR] == "1"


def test_a_command_that_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with OneLine(explain):
        assert os.environ[FULL_ERROR] == "1"  # so that Hydra raises
    assert capsys.readouterr().err == ""


def test_help_is_its_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["x", "study=a", "--help"])
    run(pytest.fail, "\nusage\n", explain)  # the command itself is not started
    assert capsys.readouterr().out == "usage\n"
