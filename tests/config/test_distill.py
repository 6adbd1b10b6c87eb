from __future__ import annotations

from kdsweep.config import DistillConfig


def test_whole_numbers_of_losses_are_floats_and_nothing_else_is_touched() -> None:
    options = {"weight": 1, "standardize": True, "gamma": 2.5, "student_taps": ["a"], "x": None}
    made = DistillConfig(losses={"nkd": options}).losses["nkd"]
    assert made == options
    assert type(made["weight"]) is float
    assert made["standardize"] is True
    assert type(options["weight"]) is int  # what was given is left as it was
