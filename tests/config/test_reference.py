"""The reference of the configuration: what it says of a key is what the schema does."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kdsweep.config.reference import Key, comments, keys

KEYS = {key.name: key for key in keys()}


def test_every_key_has_a_sentence_and_says_what_it_takes() -> None:
    assert [key.name for key in KEYS.values() if not key.sentence or not key.kind] == []
    assert len(KEYS) > 100


@pytest.mark.parametrize(
    ("name", "kind", "allowed"),
    [
        ("distill.alpha", "number", "0 to 1"),
        ("data.views.padding", "whole number", "0 to 16"),
        ("pair.student.width", "number", "0.01 to 100"),  # checked where the key is known
        ("train.optimizer.name", "text", "one of adam, adamw, sgd"),
        ("teacher.lr", "number, or null", "a number above 0"),
        ("schedule.milestones", "list of numbers", "epochs from 0 up, in rising order"),
        ("evaluate.test", "true or false", ""),
        ("distill.inversion.jitter", "whole number", "0 to 16"),  # of a part that is null
    ],
)
def test_what_is_allowed_is_what_the_schema_answers(name: str, kind: str, allowed: str) -> None:
    assert (KEYS[name].kind, KEYS[name].allowed) == (kind, allowed)


def test_the_keys_of_a_part() -> None:
    assert [key.name for key in keys("data.views")] == [
        f"data.views.{name}" for name in ("padding", "flip", "erase", "mixup")
    ]
    assert isinstance(keys("seed")[0], Key)
    assert len(keys("seed")) == 1  # and not seeds


@dataclass
class Described:
    behind: int = 1  # what stands behind
    # what stands above
    above: list[int] = field(default_factory=list)
    word: str = "#"
    nothing: int = 0


def test_comments_are_found_where_they_are() -> None:
    assert comments(Described) == {"behind": "what stands behind", "above": "what stands above"}
