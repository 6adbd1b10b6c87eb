"""Hydra's callback: reports on what another sweeper than kdsweep's has trained.

Hydra imports this module at every start, so nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from kdsweep.errors import Refusal, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

OWN = "kdsweep.sweeper.sweeper.KdsweepSweeper"  # reports by itself
OFFICIAL = "hydra_plugins.hydra_optuna_sweeper."


class ReportCallback(Callback):
    """Ends the sweep of another sweeper with its report; makes the folders that it needs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See to it that the sweeper's numbers are right and the study's database can be made."""
        if config.hydra.sweeper._target_ == OWN:
            return
        from kdsweep.sweeper.options import check_numbers

        try:
            if config.hydra.sweeper._target_.startswith(OFFICIAL):
                check_numbers(config.hydra.sweeper)
        except UserError as error:  # Hydra would only warn of it
            raise Refusal(error) from None
        if config.storage.startswith("sqlite:///"):
            file = Path(config.storage.removeprefix("sqlite:///"))
            file.parent.mkdir(parents=True, exist_ok=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the study's folder."""
        from kdsweep.sweeper.hydra_job import MULTIRUN, hide_in_files

        hide_in_files(Path(config.hydra.sweep.dir), MULTIRUN)
        if config.hydra.sweeper._target_ == OWN or sys.exc_info()[1] is not None:
            return
        from kdsweep.config.typed import typed
        from kdsweep.jobs.session import Session
        from kdsweep.sweeper.compose import without_hydra
        from kdsweep.sweeper.reporting import report_study

        folder = Path(config.hydra.sweep.dir)
        sampler = config.hydra.sweeper.get("sampler") or {}
        harmless = ("GridSampler", "RandomSampler", "QMCSampler")
        adaptive = bool(sampler) and not sampler["_target_"].endswith(harmless)
        try:
            made = typed(without_hydra(config))
            with Session(made) as session:
                report_study(session, made, folder, folder.name, adaptive=adaptive)
        except Exception as problem:  # Hydra would only warn of it
            raise Refusal(problem) from None
