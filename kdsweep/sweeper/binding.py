"""What a study is bound to when it is made: its configuration, its axes, its race."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)

from kdsweep.errors import UserError
from kdsweep.results.race import Race

SPACE = "kdsweep:space"  # of the study: its fixed configuration
AXES = "kdsweep:axes"  # of the study: its distributions
ADAPTIVE = "kdsweep:adaptive"  # of the study: whether its cells are chosen by earlier scores
RACE = "kdsweep:race"  # of the study: seeds, rounds and levels, and its cells


def adopt(study: optuna.Study, content: Mapping[str, Any]) -> None:
    """Bind the study to one configuration: cells trained otherwise would not compare.

    Raises:
        UserError: the study was made with another configuration; names what differs.
    """
    text = json.dumps(content["fixed"], sort_keys=True)
    known = study.user_attrs.get(SPACE)
    if known is None:
        study.set_user_attr(SPACE, text)
        return
    if known != text:
        changed = sorted(_differences(json.loads(known), content["fixed"]))
        raise UserError(
            f"study={study.study_name}: was made with another configuration "
            f"({'; '.join(changed[:3])}); choose another study=NAME, or leave it out"
        )


def adopt_axes(study: optuna.Study, axes: Mapping[str, BaseDistribution]) -> None:
    """Bind the study to its choices: Optuna can't change those of an axis later.

    Raises:
        UserError: the study was made with other choices; names the first.
    """
    text = json.dumps({key: distribution_to_json(axis) for key, axis in axes.items()})
    known = study.user_attrs.get(AXES)
    if known is None:
        study.set_user_attr(AXES, text)
        return
    for key, old in json.loads(known).items():
        try:
            check_distribution_compatibility(json_to_distribution(old), axes[key])
        except (ValueError, KeyError):
            raise UserError(
                f"study={study.study_name}: was made with other choices for {key} "
                f"({_choices(json_to_distribution(old))}); a study can't be widened: choose "
                "another study=NAME, or leave it out"
            ) from None


def adopt_sampler(study: optuna.Study, *, adaptive: bool) -> None:
    """Let the study say whether its sampler proposes cells by the scores of earlier ones."""
    if is_adaptive(study) is not adaptive:
        study.set_user_attr(ADAPTIVE, adaptive)


def is_adaptive(study: optuna.Study) -> bool:
    """Whether cells were chosen by earlier scores; of a study that does not say, it is likely."""
    return bool(study.user_attrs.get(ADAPTIVE, True))


def _choices(axis: BaseDistribution) -> str:
    if isinstance(axis, CategoricalDistribution):
        return ",".join(map(str, axis.choices))
    return str(axis)


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in old.keys() | new.keys():
            found += _differences(old.get(key), new.get(key), f"{prefix}.{key}".lstrip("."))
        return found
    return [] if old == new else [f"{prefix} was {old}, is {new}"]


def adopt_race(study: optuna.Study, race: Race, rounds: int) -> Race:
    """Bind the study to one race, which is fixed before the first training.

    Args:
        study: held by this process.
        race: of this command.
        rounds: that this command asks for.

    Raises:
        UserError: the study's race has other seeds or rules, or fewer rounds: to look once
            more, after what has been seen, would raise the error above what was promised.
    """
    known = study.user_attrs.get(RACE)
    if known is None:
        study.set_user_attr(RACE, json.dumps(race.to_json()))
        return race
    kept = Race.from_json(json.loads(known))
    design = kept.design
    if design.seeds[0] != race.design.seeds[0]:
        raise UserError(
            f"seeds={race.design.seeds[0]}: study {study.study_name} was planned with "
            f"{design.seeds[0]} in each round, before its first training; choose another "
            "study=NAME, or confirm its cells: python -m kdsweep.confirm"
        )
    for key, planned, asked in (
        ("margin", design.margin, race.design.margin),
        ("futility", design.futility, race.design.futility),
        ("baseline_seeds", design.baselines[0], race.design.baselines[0]),
    ):
        if asked != planned:
            raise UserError(
                f"verdict.{key}={asked:g}: study {study.study_name} was planned with "
                f"{planned:g}, before its first training; give that, or choose another "
                "study=NAME"
            )
    if rounds > design.rounds:
        raise UserError(
            f"rounds={rounds}: study {study.study_name} was planned with {design.rounds}, before "
            "its first training; looking again after what has been seen would find differences "
            "that are luck. Confirm its cells on fresh seeds: python -m kdsweep.confirm"
        )
    return kept


def find_race(study: optuna.Study) -> Race | None:
    """The race that a study is bound to."""
    known = study.user_attrs.get(RACE)
    return None if known is None else Race.from_json(json.loads(known))
