from __future__ import annotations

import dataclasses
import logging
from urllib.parse import urlsplit

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kdsweep.config import Config, TrackingConfig
from kdsweep.config.secrets import (
    HidingFormatter,
    hide_password_of,
    hide_passwords,
    without_passwords,
)

ADDRESSES = {
    "postgresql://u:PW@h/d": "postgresql://u:***@h/d",
    "postgresql+psycopg2://u:PW@h:5432/d": "postgresql+psycopg2://u:***@h:5432/d",
    "http://u:PW@h": "http://u:***@h",
    "HTTPS://u:PW@h:5000/p?q=1": "HTTPS://u:***@h:5000/p?q=1",
    "http://us%40er:PW%40%2F%21@127.0.0.1:5000": "http://us%40er:***@127.0.0.1:5000",
    "http://u:PW@[::1]:5000": "http://u:***@[::1]:5000",
    "http://:PW@h": "http://:***@h",
    # Characters that a careful user would have quoted, and that some programs take as they are.
    "postgresql://u:PW@PW@h/d": "postgresql://u:***@h/d",
    "postgresql://u:PW/PW?PW#PW@h/d": "postgresql://u:***@h/d",
    "postgresql://u:1/PW@h/d": "postgresql://u:***@h/d",
    "postgresql://u:PW:PW'PW\"PW@h/d": "postgresql://u:***@h/d",
    "postgresql://u:PW PW@h/d": "postgresql://u:***@h/d",
    "http://u:PW/PW@h": "http://u:***@h",
    "http://u:80PW@h": "http://u:***@h",
    "postgresql://u@h/d?password=PW&sslmode=require": (
        "postgresql://u@h/d?password=***&sslmode=require"
    ),
    "http://h/p?access_token=PW": "http://h/p?access_token=***",
}


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_a_password_is_hidden(address: str, shown: str) -> None:
    assert hide_passwords(address) == shown
    assert hide_passwords(shown) == shown


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_a_password_is_hidden_in_a_text(address: str, shown: str) -> None:
    if " " not in address and "token" not in address:
        line = "storage={}: can't be opened ({}); ask admin@example.org"
        assert hide_passwords(line.format(address, address)) == line.format(shown, shown)


UNQUOTED = [one for one in ADDRESSES if not set("?[#' =%") & set(one) and one.count("@") == 1]
QUOTED = [*ADDRESSES, "postgresql://u:PW, PW@h/d", "postgresql://u:(PW)=[PW]@h/d"]


def as_hydra_writes_it(override: str) -> str:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return f"storage={parsed.get_value_element_as_str()}"


@pytest.mark.parametrize(
    "written",
    [
        *(as_hydra_writes_it(f"storage={address}") for address in UNQUOTED),
        *(as_hydra_writes_it("storage='" + one.replace("'", "\\'") + "'") for one in QUOTED),
        r"storage=postgresql\://u@h/d?password\=PW&sslmode\=require",
    ],
)
def test_a_password_is_hidden_as_hydra_writes_it(written: str) -> None:
    assert "PW" in written
    shown = hide_passwords(f"- {written}\n- seed=0\n")
    assert "PW" not in shown
    assert "***" in shown
    assert shown.endswith("\n- seed=0\n")


DRIVERS = {
    # SQLAlchemy takes what follows the first @ for the host.
    'could not translate host name "WORD@h" to address': 'could not translate host name "***@h"',
    'invalid integer value "WORD" for connection option "port"': 'invalid integer value "***" for',
    'the port is "PASS"': 'the port is "***"',
}


@pytest.mark.parametrize(("text", "shown"), DRIVERS.items())
def test_a_piece_of_a_password_in_a_drivers_words_is_hidden(text: str, shown: str) -> None:
    for address in ("postgresql://u:PASS@WORD@h/d", "postgresql://u:PASS/WORD:WORD@h/d"):
        assert hide_password_of(address, text).startswith(shown)
    assert hide_password_of("postgresql://u@h/d", text) == text


def test_a_line_of_a_log_has_no_password() -> None:
    made = HidingFormatter("[%(levelname)s] %(message)s")
    line = ("Storage: %s", ("postgresql://u:PW@h/d",))
    record = logging.LogRecord("other", logging.INFO, "", 1, *line, None)
    assert made.format(record) == "[INFO] Storage: postgresql://u:***@h/d"


def test_a_token_is_hidden_in_a_text() -> None:
    text = hide_passwords("tracking.uri=http://h/p?access_token=PW: nothing there answers")
    assert text == "tracking.uri=http://h/p?access_token=*** nothing there answers"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "accuracy: 92 % @ epoch 3",
        "user:name@host",
        "http://127.0.0.1:5000",
        "http://h:5000/path@v1",
        "http://h:5000: nothing there answers; ask me@example.org",
        "see http://h:5000, or write to me@example.org",
        "http://u@h:5000",
        "sqlite:///mlruns/mlflow.db",
        "sqlite:///a@b.db",
        "postgresql://u@h:5432/d",
        "postgresql://h:5432/d",
        "s3://bucket/folder",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert hide_passwords(text) == text


@pytest.mark.parametrize("character", [chr(code) for code in range(33, 127) if chr(code) != "@"])
def test_every_character_of_a_password(character: str) -> None:
    for password in (f"{character}PW", f"PW{character}", f"P{character}W", f"9{character}W"):
        for scheme in ("postgresql", "mysql+pymysql"):
            shown = hide_passwords(f"x={scheme}://u:{password}@h/d: refused")
            assert shown == f"x={scheme}://u:***@h/d: refused"
        if character not in "[]/?#":  # those that a web address can't hold
            assert urlsplit(f"http://u:{password}@h").password == password
            assert hide_passwords(f"http://u:{password}@h/d") == "http://u:***@h/d"


def test_a_configuration_without_its_passwords() -> None:
    config = Config(
        storage="postgresql+psycopg2://u:PW@h/d",
        tracking=TrackingConfig(backend="server", uri="http://u:PW@h:5000"),
    )
    shown = without_passwords(dataclasses.asdict(config))
    assert shown["storage"] == "postgresql+psycopg2://u:***@h/d"
    assert shown["tracking"]["uri"] == "http://u:***@h:5000"
    assert "PW" not in str(shown)
    assert config.storage == "postgresql+psycopg2://u:PW@h/d", "what connects is left alone"
    plain = dataclasses.asdict(Config())
    assert without_passwords(plain) == plain


def test_lists_and_tuples_keep_their_types() -> None:
    given = {"a": ["http://u:PW@h", 1], "b": ("x", {"c": "http://u:PW@h"}), "d": None}
    assert without_passwords(given) == {
        "a": ["http://u:***@h", 1],
        "b": ("x", {"c": "http://u:***@h"}),
        "d": None,
    }
