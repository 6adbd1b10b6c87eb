"""Hydra's callback: reports on what another sweeper than kdsweep's has trained.

Hydra imports this module at every start, so nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from kdsweep.errors import Refusal

if TYPE_CHECKING:
    from omegaconf import DictConfig

OWN = "kdsweep.sweep.sweeper.KdsweepSweeper"  # reports by itself


class ReportCallback(Callback):
    """Ends the sweep of another sweeper with its report; makes the folders that it needs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See to it that the study's database can be made."""
        if config.hydra.sweeper._target_ != OWN and config.storage.startswith("sqlite:///"):
            file = Path(config.storage.removeprefix("sqlite:///"))
            file.parent.mkdir(parents=True, exist_ok=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the study's folder."""
        if config.hydra.sweeper._target_ == OWN or sys.exc_info()[1] is not None:
            return
        from kdsweep.config.typed import typed
        from kdsweep.run.session import Session
        from kdsweep.sweep.compose import without_hydra
        from kdsweep.sweep.reporting import report_study
        from kdsweep.sweep.sampling import is_adaptive

        folder = Path(config.hydra.sweep.dir)
        sampler = config.hydra.sweeper.get("sampler") or {}
        adaptive = is_adaptive(sampler.get("_target_"))
        try:
            made = typed(without_hydra(config))
            with Session(made) as session:
                report_study(session, made, folder, folder.name, adaptive=adaptive)
        except Exception as problem:  # Hydra would only warn of it
            raise Refusal(problem) from None
