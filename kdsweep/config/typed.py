"""From a composed configuration to the typed one: the only place where a DictConfig is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep import plugins
from kdsweep.config.paths import conf_dir
from kdsweep.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdsweep.config import Config


def typed(config: DictConfig) -> Config:
    """The typed configuration: the only place where a DictConfig is read.

    Its plugins, and those that installed packages announce, are imported; it names those that are
    asked for, or have added something that it uses.

    Raises:
        UserError: a value is outside of its range, or a plugin can't be imported.
    """
    from omegaconf import OmegaConf

    from kdsweep.config import Config

    made = OmegaConf.to_object(config)
    assert isinstance(made, Config)
    unknown = _unknown_keys(OmegaConf.to_container(config), made)
    if unknown:
        raise UserError(f"{unknown[0]}: no such key; python -m kdsweep --cfg job lists them all")
    asked = plugins.load(made.plugins, _folders())
    plugins.load_installed()
    made.plugins = {**asked, **plugins.used(made.entries)}
    return made


def schema() -> DictConfig:
    """What Hydra composes into: open for the losses and the arguments of a user's own."""
    from omegaconf import OmegaConf

    from kdsweep.config import Config

    made: DictConfig = OmegaConf.structured(Config)
    models = (made.pair.teacher.kwargs, made.pair.student.kwargs)
    for part in (made.distill.losses, *models, made.data.options):
        OmegaConf.set_struct(part, False)
    return made


def _folders() -> list[Path]:
    """Where the user's own configuration files are."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    paths = [Path(source.path) for source in sources if source.schema == "file"]
    return [path for path in paths if path != conf_dir()]


def config_from_plain(plain: Mapping[str, Any]) -> Config:
    """The configuration that ``dataclasses.asdict`` wrote, from a record or a file of JSON.

    Raises:
        UserError: a value is outside of its range.
        OmegaConfBaseException: a key is unknown, or a value of another type.
    """
    kept = schema()
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
