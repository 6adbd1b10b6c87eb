"""The Hydra edge: compose, make the typed configuration, run, and say errors in one line."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import kdsweep
from kdsweep.errors import KdsweepError, Refusal
from kdsweep.sweeper.explain import explain
from kdsweep.terminal.command import OneLine

if TYPE_CHECKING:
    from omegaconf import DictConfig

WHITELIST = [
    "kdsweep.*",
    "optuna.samplers.*",
    "optuna.pruners.*",
    "hydra_plugins.*",
    "hydra._internal.core_plugins.*",
    "logging.*",
]
VERSIONS = ("kdsweep", "hydra-core", "optuna", "mlflow", "torch")


def main() -> None:
    """Run the command line and leave with its exit status."""
    # Idle OpenMP threads that spin make a busy machine five times slower; must precede torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "--version" in sys.argv[1:]:
        print(versions())
        return
    with OneLine(explain):
        _hydra_main()


def versions() -> str:
    """The versions of kdsweep and of what its results depend on, a line each."""
    from importlib.metadata import version

    others = [f"{name} {version(name)}" for name in VERSIONS[1:]]
    return "\n".join([f"{VERSIONS[0]} {kdsweep.__version__}", *others])


def _hydra_main() -> None:
    import hydra

    from kdsweep.config.paths import conf_dir
    from kdsweep.sweeper.plugins import register

    register()
    wrapped = hydra.main(
        config_path=str(conf_dir()), config_name="config", execution_whitelist=WHITELIST
    )
    wrapped(task)()


def task(config: DictConfig) -> Any:
    """One job on its own: what Hydra calls without -m, or another launcher for each cell."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    single = HydraConfig.get().mode == RunMode.RUN
    try:
        from kdsweep.sweeper.single import run_job

        return run_job(config, HydraConfig.get(), single=single)
    except (KdsweepError, BrokenPipeError) as error:
        if not single:
            raise
        raise Refusal(error) from None
