"""The sweeper that Hydra makes: the official one's configuration with a loop of its own.

Hydra imports this module at every start, so nothing heavy is imported before ``sweep``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from kdsweep.sweeper.address import StudyAddress


class KdsweepSweeper(Sweeper):
    """``hydra/sweeper=kdsweep``: the keys are described in conf/hydra/sweeper/kdsweep.yaml."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher, as every sweeper does."""
        from hydra.core.plugins import Plugins

        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> StudyAddress:
        """Run, or continue, the study that these overrides describe; where it is."""
        from kdsweep.sweeper.loop import SweepLoop

        return SweepLoop(self, arguments).run()
