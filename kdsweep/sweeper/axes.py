"""The axes of a sweep, checked by themselves: what may be swept, and over how many values."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, ValueType
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
)

from kdsweep.config.checks import shortened
from kdsweep.errors import UserError

log = logging.getLogger(__name__)

MOST_CELLS = 100_000  # of a grid, and values of one axis
# One study has one of each, for all its trials.
ONE_PER_STUDY = (
    "engine", "objective", "plugins", "pruner", "root", "round", "rounds", "search", "seeds",
    "storage", "study", "tracking", "trial", "verdict",
)  # fmt: skip
# Samplers that draw from intervals, and leave categories to independent draws.
OF_INTERVALS = ("CmaEsSampler", "QMCSampler")


def check_axes(params: Mapping[str, object], arguments: Sequence[str], *, grid: bool) -> None:
    """Refuse axes that make no sense, before anything is made of them.

    Args:
        params: ``hydra.sweeper.params``.
        arguments: the task overrides of the command line, which win.
        grid: whether every cell is to be trained.

    Raises:
        UserError: an axis that a study can't have, or too many values.
    """
    given = [f"{key}={value}" for key, value in params.items()]
    overrides = {o.key_or_group: o for o in map(_parsed, (*given, *arguments))}
    sizes = {key: _size(o) for key, o in overrides.items() if o.is_sweep_override()}
    for key, size in sizes.items():
        line = shortened(str(overrides[key].input_line))
        if overrides[key].value_type == ValueType.GLOB_CHOICE_SWEEP:
            raise UserError(
                f"{line}: allowed is a list, such as {key}=A,B, a range or an interval"
            )
        if key.split(".")[0] in (*ONE_PER_STUDY, "hydra") or key.startswith("hydra/"):
            raise UserError(
                f"{line}: is no axis of a sweep, since a study has one for all its trials; give "
                "one value"
            )
        if key == "seed":
            raise UserError(
                f"{line}: is no axis of a sweep; seeds=3 trains every cell with three, from seed= "
                "up"
            )
        _refuse_many(f"{line}: has", size, "values")
    if grid:
        _refuse_many("the grid has", math.prod(sizes.values()), "cells")


def _parsed(one: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([one])
    except HydraException as error:
        raise UserError(f"{shortened(one)}: can't be read as KEY=VALUES") from error
    return override


def _refuse_many(what: str, count: int, of: str) -> None:
    if count > MOST_CELLS:
        raise UserError(
            f"{what} {count:,} {of}; allowed are up to {MOST_CELLS:,}: give fewer, or draw from "
            "an interval with search=tpe"
        )


def _size(override: Override) -> int:
    """How many values an axis lists; 1 for an interval, which lists none."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if isinstance(value, RangeSweep) and value.step:
        start, stop, step = (Decimal(str(x)) for x in (value.start, value.stop, value.step))
        return max(math.ceil((stop - start) / step), 0)
    return 1


def distinct(axes: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """The axes without values that are given twice; 1 and 1.0 are the same. Logs what it drops."""
    kept = dict(axes)
    for key, axis in axes.items():
        if not isinstance(axis, CategoricalDistribution):
            continue
        once: dict[tuple[bool, object], CategoricalChoiceType] = {}
        for choice in axis.choices:
            once.setdefault((isinstance(choice, bool), choice), choice)
        if len(once) < len(axis.choices):
            given = shortened(",".join(map(str, axis.choices)))
            names = ",".join(map(str, once.values()))
            log.info("%s=%s: equal values are one cell; what is left is %s", key, given, names)
            kept[key] = CategoricalDistribution(tuple(once.values()))
    return kept


def refuse_categories(sampler: str, axes: Mapping[str, BaseDistribution]) -> None:
    """Let no sampler of intervals search categories, which it would draw blindly.

    Args:
        sampler: the sampler's class, with or without its module.
        axes: the search space.

    Raises:
        UserError: an axis is a list of choices.
    """
    if not sampler.endswith(OF_INTERVALS):
        return
    for key, axis in axes.items():
        if isinstance(axis, CategoricalDistribution):
            choices = shortened(",".join(map(str, axis.choices)))
            raise UserError(
                f"{key}={choices}: is a list, and {sampler.rpartition('.')[2]} searches intervals "
                f"alone; give {key}=interval(LOW,HIGH), or take search=tpe"
            )
