from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from omegaconf import OmegaConf

from kdsweep.store import digest
from kdsweep.sweeper.space import Space

TRAIN = {
    "epochs": 2, "threads": None, "fuse": "auto", "bank": True, "channels_last": None,
    "checkpoint_every": None,
}  # fmt: skip
BASE: dict[str, Any] = {
    "distill.losses.hinton.weight": 1.0,
    "seed": 0,
    "seeds": 1,
    **{f"train.{key}": value for key, value in TRAIN.items()},
    **dict.fromkeys(
        (
            "study",
            "trial",
            "round",
            "rounds",
            "verdict",
            "tracking",
            "engine",
            "root",
            "storage",
        )
    ),
}


def content(plugins: Mapping[str, str] | None = None, **changes: Any) -> str:
    """What a study of this configuration is found by; keys have __ for a dot."""
    config = OmegaConf.create()
    for key, value in {**BASE, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        OmegaConf.update(config, key, value, force_add=True)
    return digest(Space({}, []).content(config, OmegaConf.create({}), plugins or {}))


def test_weight_1_and_weight_1_0_are_the_same_study() -> None:
    assert content(distill__losses__hinton__weight=1) == content()
    assert content(distill__losses__hinton__weight=2) != content()
    assert content(distill__losses__hinton__weight=True) != content()


@pytest.mark.parametrize(
    "change",
    [
        {"root": "other"},
        {"storage": "sqlite:///other.db"},
        {"study": "mine"},
        {"trial": 3},
        {"round": 2},
        {"rounds": 2},
        {"verdict": {"margin": 1.0}},
        {"tracking": {"backend": "none"}},
        {"engine": {"name": "ray"}},
        {"train__threads": 2},
        {"train__fuse": "loop"},
        {"train__bank": False},
        {"train__channels_last": True},
    ],
)
def test_where_and_how_it_is_trained_is_no_other_study(change: dict[str, Any]) -> None:
    assert content(**change) == content()


@pytest.mark.parametrize("change", [{"seed": 1}, {"train__epochs": 3}, {"seeds": 2}])
def test_what_is_trained_is_another_study(change: dict[str, Any]) -> None:
    assert content(**change) != content()


def test_how_many_seeds_a_race_has_is_the_races_own() -> None:
    """So that the same command with other seeds meets its study, which then refuses them."""
    assert content(seeds=2) == content(seeds=3)


def test_a_plugin_that_was_edited_is_another_study_and_one_that_was_moved_is_not() -> None:
    mine = content(plugins={"my_loss.py": "12ab"})
    assert mine != content(plugins={"my_loss.py": "34cd"})
    assert mine != content()
    assert mine == content(plugins={"/conf/my_loss.py": "12ab"})
    two = {"pack.losses": "12ab", "pack.models": "34cd"}
    assert content(plugins=two) != content(plugins={**two, "pack.losses": "56ef"})


@pytest.mark.parametrize(
    ("params", "given", "axes", "fixed"),
    [
        ({}, ["a=1", "a=1,2"], {"a": (1, 2)}, []),
        ({}, ["a=1,2", "a=1"], {}, ["a=1"]),
        ({}, ["a=1,2", "a=3,4"], {"a": (3, 4)}, []),
        ({}, ["a=1", "a=2"], {}, ["a=2"]),
        ({"a": "3"}, ["a=1,2"], {"a": (1, 2)}, []),
        ({"a": "choice(1,2)"}, ["a=3"], {}, ["a=3"]),
        ({}, ["~b", "a=1,2", "~c"], {"a": (1, 2)}, ["~b", "~c"]),
    ],
)
def test_of_a_key_that_is_given_twice_the_last_counts(
    params: dict[str, Any], given: list[str], axes: dict[str, tuple[int, ...]], fixed: list[str]
) -> None:
    space = Space(params, given)
    found = {key: getattr(axis, "choices", None) for key, axis in space.distributions.items()}
    assert found == axes
    assert space.fixed == fixed
