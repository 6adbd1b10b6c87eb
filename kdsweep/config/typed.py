"""From a composed configuration to the typed one: the only place where a DictConfig is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdsweep.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdsweep.config import Config


def typed(config: DictConfig) -> Config:
    """The typed configuration: the only place where a DictConfig is read.

    Raises:
        UserError: a value is outside of its range.
    """
    from omegaconf import OmegaConf

    from kdsweep.config import Config

    made = OmegaConf.to_object(config)
    assert isinstance(made, Config)
    unknown = _unknown_keys(OmegaConf.to_container(config), made)
    if unknown:
        raise UserError(f"{unknown[0]}: no such key; python -m kdsweep --cfg job lists them all")
    return made


def config_from_plain(plain: Mapping[str, Any]) -> Config:
    """The configuration that ``dataclasses.asdict`` wrote, from a record or a file of JSON.

    Raises:
        UserError: a value is outside of its range.
        OmegaConfBaseException: a key is unknown, or a value of another type.
    """
    from omegaconf import OmegaConf

    from kdsweep.config import Config

    kept = OmegaConf.structured(Config)
    kept.merge_with(dict(plain))
    return typed(kept)


def _unknown_keys(given: object, known: object, prefix: str = "") -> list[str]:
    """Keys that were added with + and that no field takes: they would do nothing."""
    if not dataclasses.is_dataclass(known) or not isinstance(given, dict):
        return []
    fields = {field.name for field in dataclasses.fields(known)}
    found = [f"{prefix}{key}" for key in given if key not in fields]
    for name in fields & given.keys():
        found += _unknown_keys(given[name], getattr(known, name), f"{prefix}{name}.")
    return found
