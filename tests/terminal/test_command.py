from __future__ import annotations

import os

import pytest

import kdsweep
from kdsweep.errors import Refusal, UserError
from kdsweep.terminal.arguments import parse
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


def test_a_small_command_tells_its_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["export", "--version"])
    run(lambda given: pytest.fail(str(given)), "usage", explain)
    assert capsys.readouterr().out == f"kdsweep {kdsweep.__version__}\n"


def test_an_argument_that_is_none_points_to_the_help() -> None:
    with pytest.raises(UserError, match=r"^nope: allowed are study=, out=; --help explains them$"):
        parse(["nope"], {"study": None, "out": None})
    with pytest.raises(UserError, match=r"^stduy=a: allowed are .*; did you mean study=\.\.\.\?$"):
        parse(["stduy=a"], {"study": None, "out": None})
