from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from kdsweep.config.secrets import hide_passwords
from kdsweep.tracking.links import compare_url, page, ui_command


def test_the_comparison_is_two_json_lists_in_the_fragment() -> None:
    url = compare_url("http://127.0.0.1:5000", ["aa", "bb"], ["1"])
    assert url == (
        "http://127.0.0.1:5000/#/compare-runs?runs=%5B%22aa%22%2C%22bb%22%5D&experiments=%5B%221%22%5D"
    )
    route, _, query = urlsplit(url).fragment.partition("?")
    assert route == "/compare-runs"
    lists = {key: json.loads(value) for key, (value,) in parse_qs(query).items()}
    assert lists == {"runs": ["aa", "bb"], "experiments": ["1"]}


def test_a_server_with_a_path() -> None:
    url = compare_url("https://host/mlflow/", ["a"], ["2"])
    assert url.startswith("https://host/mlflow/#/compare-runs?runs=")


def test_the_command_is_relative_to_the_working_directory_and_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "my runs" / "mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert shlex.split(ui_command("", database))[-1] == "sqlite:///my runs/mlflow.db"
    whole = ui_command("", database, whole=True)
    assert shlex.split(whole)[-1] == f"sqlite:///{database}"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert shlex.split(ui_command("", database))[-1] == f"sqlite:///{database}"
    assert str(database).startswith("/")


def test_the_command_names_the_program_of_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(bin_folder))
    assert ui_command("", tmp_path / "m.db").startswith("mlflow ui ")
    another = tmp_path / "mlflow"
    another.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{bin_folder}")
    assert ui_command("", tmp_path / "m.db").startswith("python -m mlflow ui ")
    monkeypatch.setenv("PATH", str(tmp_path))
    whole = shlex.split(ui_command("", tmp_path / "m.db"))
    assert whole[:4] == [sys.executable, "-m", "mlflow", "ui"]


def test_a_server_is_opened_in_a_browser() -> None:
    words = shlex.split(ui_command("http://host:5000", None))
    assert words[1:] == ["-m", "webbrowser", "http://host:5000"]


def test_passwords_are_not_shown() -> None:
    assert hide_passwords("http://host:1/x") == "http://host:1/x"
    assert hide_passwords("sqlite:////tmp/a:b@c.db") == "sqlite:////tmp/a:b@c.db"
    hidden = hide_passwords("postgresql+psycopg2://me:se@cret@db:5432/runs?x=1")
    assert hidden == "postgresql+psycopg2://me:***@db:5432/runs?x=1"
    assert "secret" not in ui_command("postgresql://me:secret@db/runs", None)


def test_a_browser_gets_an_address_without_user_and_password() -> None:
    assert page("https://me:secret@host:5000/a?token=secret") == "https://host:5000/a?token=***"
    assert ui_command("http://me:sec@ret@host:5000", None).endswith(" http://host:5000")
