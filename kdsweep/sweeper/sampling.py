"""Optuna's samplers as the configuration names them."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

ALLOWED = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
NOT_ADAPTIVE = (
    optuna.samplers.GridSampler,
    optuna.samplers.RandomSampler,
    optuna.samplers.QMCSampler,
)


def create_sampler(config: DictConfig) -> Any:
    """The sampler, or a partial of Optuna's grid sampler, which wants its grid first."""
    with warnings.catch_warnings():
        # The user has chosen it by name; that it may change one day is of no use here.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return instantiate(config, _execution_whitelist_=ALLOWED)


def is_grid(sampler: Any) -> bool:
    """Whether all cells are known beforehand."""
    return isinstance(sampler, functools.partial) and sampler.func is optuna.samplers.GridSampler


def sampler_of(config: DictConfig, sampler: Any, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that draws the trial of this number.

    A seeded one is seeded anew for each trial, so that neither a session that continues nor a
    process beside this one draws the same points again. A quasi-random sequence keeps its
    place in the study itself.
    """
    if config.get("seed") is None or isinstance(sampler, optuna.samplers.QMCSampler):
        drawing: optuna.samplers.BaseSampler = sampler
    else:
        merged = OmegaConf.create({**config, "seed": config["seed"] + number})
        drawing = create_sampler(merged)
    return drawing
