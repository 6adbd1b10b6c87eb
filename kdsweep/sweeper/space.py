"""The space of a sweep: what is searched, its cells or corners, and what names the study."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.hydra_optuna_sweeper._impl import (
    OptunaSweeperImpl,
    create_params_from_overrides,
)
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from kdsweep.config.distill import with_floats
from kdsweep.errors import UserError

# Of a configuration, what may differ between two commands of one study: where things go, and what
# the study's race was planned with, which it keeps itself.
_NOT_CONTENT = (
    "study", "trial", "round", "rounds", "verdict", "tracking", "engine", "root", "storage",
)  # fmt: skip


class Space:
    """What the command line and ``hydra.sweeper.params`` search, and what they hold fixed.

    Args:
        params: of the sweeper's configuration, by key.
        arguments: the task overrides of the command line, which win.
    """

    def __init__(self, params: dict[str, Any], arguments: list[str]) -> None:
        given = [f"{key}={value}" for key, value in params.items()]
        for one in (*given, *arguments):
            try:
                create_params_from_overrides([one])
            except ValueError as error:
                raise UserError(f"{one}: {error}") from error
        last = _last_of_each_key([*given, *arguments])
        self.distributions: dict[str, BaseDistribution]
        self.distributions, fixed, plain = create_params_from_overrides(last)
        self.fixed = [f"{key}={value}" for key, value in fixed.items()] + list(plain)

    def cells(self, enqueued: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
        """Every point of a grid, those first that were asked for first.

        Raises:
            UserError: an interval, which has no exact grid.
        """
        choices = {}
        for key, distribution in self.distributions.items():
            try:
                choices[key] = list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
            except ValueError as error:
                raise UserError(
                    f"{key}: an interval has no exact grid; give a list (1,2,3), a range with a "
                    "step, or choose a sampler (search=tpe)"
                ) from error
        points = [
            dict(zip(choices, point, strict=True))
            for point in itertools.product(*choices.values())
        ]
        first = self.checked(enqueued)
        return [*first, *(point for point in points if point not in first)]

    def checked(self, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Points that were asked for by the user.

        Raises:
            UserError: one of them is not in the space.
        """
        for point in points:
            unknown = point.keys() ^ self.distributions.keys()
            if unknown:
                raise UserError(
                    f"hydra.sweeper.enqueue: {', '.join(sorted(unknown))} is in the point or in "
                    "the search space but not in both"
                )
            for key, value in point.items():
                if not allows(self.distributions[key], value):
                    raise UserError(
                        f"hydra.sweeper.enqueue: {key}={value} is not in the search space"
                    )
        return [dict(point) for point in points]

    def corners(self) -> list[dict[str, Any]]:
        """Points that take every choice and both ends of every interval at least once."""
        ends = {}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                ends[key] = list(distribution.choices)
            else:
                assert isinstance(distribution, IntDistribution | FloatDistribution)
                ends[key] = [distribution.low, distribution.high]
        longest = max(map(len, ends.values()), default=1)
        return [
            {key: values[min(i, len(values) - 1)] for key, values in ends.items()}
            for i in range(longest)
        ]

    def overrides(self, point: Mapping[str, Any]) -> list[str]:
        """The job of a point as Hydra's overrides."""
        return [*(f"{key}={value}" for key, value in point.items()), *self.fixed]

    def describe(self) -> dict[str, str]:
        """Each searched key with its choices, or its interval in the words of the command line."""
        described = {}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                described[key] = ",".join(map(str, distribution.choices))
            else:
                assert isinstance(distribution, IntDistribution | FloatDistribution)
                scale = ", log" if distribution.log else ""
                step = "" if distribution.step is None else f", step {distribution.step}"
                described[key] = f"{distribution.low} to {distribution.high}{step}{scale}"
        return described

    def content(
        self, config: DictConfig, sampler: DictConfig, plugins: Mapping[str, str]
    ) -> dict[str, Any]:
        """What names a study: the space, the sampler, and everything that is not swept.

        Args:
            config: of any cell.
            sampler: of the sweeper.
            plugins: the hashes of their sources: a plugin that was edited is another study's.
        """
        plain: Any = OmegaConf.to_container(config, resolve=True)
        for key in _NOT_CONTENT:
            del plain[key]
        plain["plugins"] = {
            PurePath(name).name.removesuffix(".py"): source for name, source in plugins.items()
        }
        if plain["seeds"] > 1:
            plain["seeds"] = "several"  # how many, the study's race says
        for key in ("threads", "fuse", "bank", "channels_last", "checkpoint_every"):
            plain["train"].pop(key, None)  # how it is trained, not what
        plain["distill"]["losses"] = with_floats(plain["distill"]["losses"])
        groups = [key for key in self.distributions if "." not in key and key not in plain]
        for key in self.distributions:
            at = plain
            *path, last = key.lstrip("+").split(".")
            for part in path:
                at = at.get(part, {}) if isinstance(at, dict) else {}
            if isinstance(at, dict):
                at.pop(last, None)
        axes = {key: _with_floats(value) for key, value in self.distributions.items()}
        space = {key: distribution_to_json(value) for key, value in axes.items()}
        return {
            "fixed": plain,
            "space": space,
            "groups": groups,
            "sampler": OmegaConf.to_container(sampler, resolve=True),
        }


def _with_floats(axis: BaseDistribution) -> BaseDistribution:
    """An axis of 1,2 and one of 1.0,2.0 are the same."""
    if not isinstance(axis, CategoricalDistribution):
        return axis
    return CategoricalDistribution([float(c) if type(c) is int else c for c in axis.choices])


def allows(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the value lies in the distribution."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _last_of_each_key(overrides: Sequence[str]) -> list[str]:
    """The overrides without those whose key is given again later: as in Hydra, the last wins."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    last = {o.input_line if o.is_delete() else o.get_key_element(): o for o in parsed}
    return [str(o.input_line) for o in last.values()]
