"""The sweeper's own options, ``hydra.sweeper.*``, typed before a sweep begins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from kdsweep.config import checks
from kdsweep.config.checks import require
from kdsweep.errors import UserError

KEY = "hydra.sweeper"
MOST_TRIALS = 1_000_000
MOST_SECONDS = 10**9  # 30 years
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SweeperOptions:
    """``hydra/sweeper=kdsweep``: its keys are described in conf/hydra/sweeper/kdsweep.yaml."""

    sampler: Mapping[str, Any]  # with _target_, for Hydra to instantiate
    storage: str
    study_name: str | None = None
    direction: tuple[str, ...] | None = None
    n_trials: int = 25
    n_jobs: int | None = None
    timeout: float | None = None  # seconds
    max_failures: int | None = None
    max_failure_rate: float = 1.0
    max_retries: int = 3
    enqueue: tuple[Mapping[str, Any], ...] = ()
    params: Mapping[str, Any] | None = None
    custom_search_space: None = None

    @classmethod
    def from_given(cls, given: Mapping[str, Any]) -> SweeperOptions:
        """The options as the configuration has them, each of its type and in its range.

        Raises:
            UserError: an unknown key, a value of another type, or one out of its range.
        """
        known = [field.name for field in fields(cls)]
        for key in given:
            if key not in known:
                _refuse_unknown(key, known)
        options = {field.name: field.default for field in fields(cls)} | dict(given)
        require(
            options["custom_search_space"] is None,
            f"{KEY}.custom_search_space",
            options["custom_search_space"],
            f"null; name the space in {KEY}.params, or take the official sweeper "
            "(hydra/sweeper=optuna)",
        )
        return cls(
            sampler=_sampler(options["sampler"]),
            storage=_storage(options["storage"]),
            study_name=_study_name(options["study_name"]),
            direction=_direction(options["direction"]),
            n_trials=_whole("n_trials", options["n_trials"], 1, MOST_TRIALS),
            n_jobs=_optional(_whole, "n_jobs", options["n_jobs"], 1, MOST_TRIALS),
            timeout=_optional(_number, "timeout", options["timeout"], 0, MOST_SECONDS),
            max_failures=_optional(
                _whole, "max_failures", options["max_failures"], 0, MOST_TRIALS
            ),
            max_failure_rate=_number("max_failure_rate", options["max_failure_rate"], 0, 1),
            max_retries=_whole("max_retries", options["max_retries"], 0, MOST_TRIALS),
            enqueue=_points(options["enqueue"]),
            params=_params(options["params"]),
        )


def check_numbers(given: Mapping[str, Any]) -> None:
    """Check the numbers that the official sweeper (``hydra/sweeper=optuna``) uses unchecked.

    Raises:
        UserError: one is not of its type or out of its range.
    """
    for key in ("n_trials", "n_jobs"):
        if key in given:
            _whole(key, given[key], 1, MOST_TRIALS)
    if "max_failure_rate" in given:
        _number("max_failure_rate", given["max_failure_rate"], 0, 1)


def _refuse_unknown(key: str, known: Sequence[str]) -> None:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {KEY}.{close[0]}?" if close else ""
    raise UserError(f"{KEY}.{key}: no such key{hint}; allowed are {', '.join(known)}")


def _whole(key: str, given: object, low: int, high: int) -> int:
    ok = isinstance(given, int) and not isinstance(given, bool) and low <= given <= high
    require(ok, f"{KEY}.{key}", given, f"a whole number from {low} to {high:,}")
    assert isinstance(given, int)
    return given


def _number(key: str, given: object, low: float, high: float) -> float:
    ok = isinstance(given, int | float) and not isinstance(given, bool) and low <= given <= high
    require(ok, f"{KEY}.{key}", given, f"a number from {low} to {high:,}")
    assert isinstance(given, int | float)
    return given


def _optional(
    read: Callable[[str, object, int, int], T], key: str, given: object, low: int, high: int
) -> T | None:
    if given is None:
        return None
    try:
        return read(key, given, low, high)
    except UserError as error:
        raise UserError(f"{error}, or null") from None


def _sampler(given: object) -> Mapping[str, Any]:
    ok = isinstance(given, Mapping) and bool(given.get("_target_"))
    require(ok, f"{KEY}.sampler", given, f"chosen with {KEY.replace('.', '/')}/sampler=tpe, ...")
    assert isinstance(given, Mapping)
    return given


def _storage(given: object) -> str:
    require(
        isinstance(given, str) and bool(given.strip()), f"{KEY}.storage", given,
        "a database's address, such as sqlite:///FILE",
    )  # fmt: skip
    assert isinstance(given, str)
    checks.storage(given)
    return given


def _study_name(given: object) -> str | None:
    if given is None:
        return None
    require(isinstance(given, str), f"{KEY}.study_name", given, "text; set it with study=NAME")
    assert isinstance(given, str)
    checks.study_name(given)
    return given


def _direction(given: object) -> tuple[str, ...] | None:
    if given is None:
        return None
    several = isinstance(given, Sequence) and not isinstance(given, str)
    directions = list(given) if isinstance(given, Sequence) and several else [given]
    require(
        bool(directions) and set(map(str, directions)) <= {"minimize", "maximize"},
        f"{KEY}.direction", given, "minimize or maximize, one for each objective, or null",
    )  # fmt: skip
    return tuple(map(str, directions))


def _points(given: object) -> tuple[Mapping[str, Any], ...]:
    points = () if given is None else given
    require(
        isinstance(points, Sequence)
        and not isinstance(points, str)
        and all(isinstance(point, Mapping) and point for point in points),
        f"{KEY}.enqueue", given,
        "a list of points, such as [{distill.temperature: 4, distill.alpha: 0.7}], or null",
    )  # fmt: skip
    assert isinstance(points, Sequence)
    return tuple(points)


def _params(given: object) -> Mapping[str, Any] | None:
    ok = given is None or isinstance(given, Mapping)
    allowed = "keys with what is searched, such as {distill.temperature: 'interval(1,5)'}, or null"
    require(ok, f"{KEY}.params", given, allowed)
    return given if isinstance(given, Mapping) else None
