"""What Hydra has to know of before it composes: schema, sweeper, launcher."""

from __future__ import annotations

import time


def register() -> None:
    """Make the schema, the sweeper and the launcher known to Hydra."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    from kdsweep.config.typed import schema
    from kdsweep.sweeper.launcher import FusedLauncher
    from kdsweep.sweeper.sweeper import KdsweepSweeper

    OmegaConf.register_resolver(
        "kdsweep.first", lambda one, other: other if one is None else one, replace=True
    )
    started = time.strftime("%Y-%m-%d_%H-%M-%S")  # the same wherever it is asked for
    OmegaConf.register_resolver("kdsweep.started", lambda: started, use_cache=True, replace=True)
    ConfigStore.instance().store(name="schema", node=schema(), replace=True)
    Plugins.instance().register(KdsweepSweeper)
    Plugins.instance().register(FusedLauncher)
