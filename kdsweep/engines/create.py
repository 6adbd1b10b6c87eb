"""The engine that the configuration asks for; no other is imported."""

from __future__ import annotations

import importlib.util

from kdsweep.config import Config, EngineConfig
from kdsweep.data.device import Datasets
from kdsweep.engines.engine import Engine
from kdsweep.errors import UserError

_NEEDS = {"ray": "ray", "slurm": "submitit"}  # the extra's module, by the engine's name


def require_extra(config: EngineConfig) -> None:
    """See that the engine can be imported.

    Raises:
        UserError: its extra is not installed.
    """
    module = _NEEDS.get(config.name)
    if module is not None and importlib.util.find_spec(module) is None:
        raise UserError(
            f"engine={config.name}: needs {module}, which is not installed; "
            f"pip install 'kdsweep[{config.name}]', or leave it out to train on this machine"
        )


def create_engine(config: Config, datasets: Datasets) -> Engine:
    """Start what trains populations.

    Args:
        config: of any job.
        datasets: those that this process has loaded.

    Raises:
        UserError: there is no such cluster, or it can't be reached.
    """
    require_extra(config.engine)
    if config.engine.name == "ray":
        from kdsweep.engines.ray import RayEngine

        return RayEngine(config.engine)
    if config.engine.name == "slurm":
        from kdsweep.engines.slurm import SlurmEngine

        return SlurmEngine(config)
    from kdsweep.engines.local import LocalEngine

    return LocalEngine(datasets)
