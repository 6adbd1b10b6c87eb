from __future__ import annotations

import math
from typing import Any

import pytest
from omegaconf import OmegaConf

from kdsweep.errors import UserError
from kdsweep.sweeper.options import SweeperOptions

NEEDED = {"sampler": {"_target_": "optuna.samplers.GridSampler"}, "storage": "sqlite:///a.db"}


def of(**given: object) -> SweeperOptions:
    return SweeperOptions.from_given({**NEEDED, **given})


def test_what_is_not_given_is_as_the_configuration_has_it() -> None:
    options = of()
    assert (options.n_trials, options.n_jobs, options.max_retries) == (25, None, 3)
    assert (options.max_failure_rate, options.timeout, options.direction) == (1.0, None, None)
    assert (options.enqueue, options.params, options.study_name) == ((), None, None)


def test_hydras_own_containers_are_read() -> None:
    given = OmegaConf.create(
        {"enqueue": [{"distill.temperature": 4}], "direction": ["maximize", "minimize"],
         "params": {"distill.alpha": "interval(0.1,0.9)"}}
    )  # fmt: skip
    options = of(**{str(key): given[key] for key in given})
    assert [dict(point) for point in options.enqueue] == [{"distill.temperature": 4}]
    assert options.direction == ("maximize", "minimize")
    assert options.params is not None
    assert dict(options.params) == {"distill.alpha": "interval(0.1,0.9)"}
    assert of(direction="minimize").direction == ("minimize",)


# (key, what is refused, what the line says is allowed, what is taken)
RANGES: list[tuple[str, list[Any], str, list[Any]]] = [
    ("n_trials", ["ten", None, 0.5, 1.0, True, 0, -1, 10**9, [1]], "a whole number from 1 to 1,000"
     ",000", [1, 25, 10**6]),
    ("n_jobs", ["all", 0, -1, 1.5], "a whole number from 1 to 1,000,000, or null", [None, 1, 100]),
    ("timeout", ["1h", -1, math.nan, math.inf, True], "a number from 0 to 1,000,000,000, or null",
     [None, 0, 0.5, 3600]),
    ("max_failures", ["x", -1, 0.5], "a whole number from 0 to 1,000,000, or null", [None, 0, 7]),
    ("max_failure_rate", ["x", None, -0.1, 1.1, math.nan], "a number from 0 to 1", [0, 0.5, 1.0]),
    ("max_retries", ["x", None, -1, 0.5], "a whole number from 0 to 1,000,000", [0, 3]),
    ("direction", ["up", [], ["maximize", "up"], 3, {}], "minimize or maximize, one for each",
     [None, "minimize"]),
    ("enqueue", ["foo", {"distill.temperature": 1}, [1], [{}], 3], "a list of points, such as [{",
     [None, [], [{"distill.temperature": 1}]]),
    ("params", ["foo", [1], 3], "keys with what is searched", [None, {}, {"a": 1}]),
    ("study_name", [3, ["a"]], "text; set it with study=NAME", [None, "s"]),
    ("storage", [None, "", 3], "a database's address, such as sqlite:///FILE", ["sqlite:///b"]),
    ("sampler", [None, "tpe", {}, {"seed": 1}], "chosen with hydra/sweeper/sampler=tpe", []),
    ("custom_search_space", ["a.b", 3], "null; name the space in hydra.sweeper.params", [None]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "refused", "allowed", "taken"), RANGES, ids=lambda r: str(r)[:20])
def test_ranges(key: str, refused: list[Any], allowed: str, taken: list[Any]) -> None:
    for value in refused:
        with pytest.raises(UserError) as caught:
            of(**{key: value})
        line = str(caught.value)
        assert line.startswith(f"hydra.sweeper.{key}={value}: allowed is {allowed}"), line
        assert "\n" not in line
    for value in taken:
        of(**{key: value})


def test_every_option_is_tried_here() -> None:
    assert {entry[0] for entry in RANGES} == set(SweeperOptions.__dataclass_fields__)


def test_the_rules_of_names_hold_for_the_sweeper_too() -> None:
    with pytest.raises(UserError, match=r"^study=a/b: allowed are letters"):
        of(study_name="a/b")
    with pytest.raises(UserError, match=r"^storage=sqlite://: has no file"):
        of(storage="sqlite://")


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^hydra.sweeper.n_trails: no such key; did you mean hydra"
                       r"\.sweeper\.n_trials\?; allowed are sampler, storage"):  # fmt: skip
        of(n_trails=3)
    with pytest.raises(UserError, match=r"^hydra.sweeper.key: no such key; allowed are sampler"):
        of(key=1)
