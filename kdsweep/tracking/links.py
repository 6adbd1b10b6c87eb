"""What the user copies: the command that opens the store, the address that compares runs."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from kdsweep.config.secrets import hide_passwords

TRAINING = "workflowType=machine_learning"  # so that the UI shows runs and not prompts
LOCAL_UI = "http://127.0.0.1:5000"  # where `mlflow ui` listens


def compare_url(base: str, runs: Sequence[str], experiments: Sequence[str]) -> str:
    """The page of MLflow's UI at ``base`` that compares runs."""
    query = "&".join(
        f"{key}={quote(json.dumps(list(ids), separators=(',', ':')), safe='')}"
        for key, ids in (("runs", runs), ("experiments", experiments))
    )
    return f"{base.rstrip('/')}/#/compare-runs?{query}"


def table_url(base: str, experiment: str, view: str) -> str:
    """The page of MLflow's UI at ``base`` with a view of the runs table, by the view's key."""
    key = quote(view, safe="")
    return f"{_page(base, experiment)}?{TRAINING}&viewStateShareKey={key}"


def run_url(base: str, experiment: str, run: str) -> str:
    """The page of one run."""
    return f"{_page(base, experiment)}/{run}?{TRAINING}"


def _page(base: str, experiment: str) -> str:
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs"


def table_view(filter_: str, *, sort: str, columns: Mapping[str, int]) -> str:
    """What MLflow's UI keeps of a view of its runs table, as JSON.

    Args:
        filter_: which runs, in MLflow's search language.
        sort: the column to sort by, highest first.
        columns: widths in pixels, in the order from left to right.
    """
    own = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
    return json.dumps(
        {
            "searchFilter": filter_,
            "orderByKey": sort,
            "orderByAsc": False,
            "selectedColumns": [column for column in columns if column not in own],
            "columnOrder": ["1", *columns],  # the first one marks rows
            "columnWidths": {"1": 73, **columns},
        }
    )


def ui_command(uri: str, database: Path | None, *, whole: bool = False) -> str:
    """The shell command that opens a store, to be run in the present working directory.

    A server is its own UI, so it is opened in a browser.

    Args:
        uri: the store's.
        database: its file, where it is SQLite.
        whole: with all of the file's path, wherever that is.
    """
    if uri.startswith(("http://", "https://")):
        return f"{_program('python')} -m webbrowser {shlex.quote(page(uri))}"
    if database is not None:
        here = Path.cwd()
        inside = database.is_relative_to(here) and not whole
        shown = database.relative_to(here) if inside else database
        uri = f"sqlite:///{shown.as_posix()}"
    program = _program("mlflow", f"{_program('python')} -m mlflow")
    return f"{program} ui --workers 1 --backend-store-uri {shlex.quote(hide_passwords(uri))}"


def page(uri: str) -> str:
    """A server's address for a browser, which asks for user and password itself."""
    parts = urlsplit(uri)
    return hide_passwords(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


def _program(name: str, otherwise: str | None = None) -> str:
    """``name`` where the shell finds it beside this very interpreter."""
    found = shutil.which(name)
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return name
    return otherwise or shlex.quote(sys.executable)
