"""Hydra's callback: checks a single experiment, and ends a sweep with its report.

Hydra imports this module at every start, so nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Samplers whose choices do not depend on scores: their cells make a map.
NOT_ADAPTIVE = ("GridSampler", "RandomSampler", "QMCSampler")


class ReportCallback(Callback):
    """Checks a single experiment before it leaves a trace; ends a sweep with its report."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse what can't be had before Hydra makes the output folder."""
        from kdsweep.errors import Refusal
        from kdsweep.sweep.compose import without_hydra
        from kdsweep.sweep.launcher import check, refuse_chdir

        try:
            refuse_chdir(config)
            check([without_hydra(config)])
        except Exception as error:
            raise Refusal(error) from None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the study's folder, whichever sweeper and launcher filled it."""
        from kdsweep.config.typed import typed
        from kdsweep.errors import Refusal
        from kdsweep.sweep.reporting import give_up, opened, report_study

        error = sys.exc_info()[1]
        if error is not None and not opened():
            return
        folder = Path(config.hydra.sweep.dir)
        sampler = config.hydra.sweeper.get("sampler") or {}
        adaptive = bool(sampler) and not sampler["_target_"].endswith(NOT_ADAPTIVE)
        plain = config.copy()
        plain._set_flag("struct", False)
        plain.pop("hydra")
        if error is not None:
            give_up(typed(plain), folder, error)
            return
        try:
            report_study(typed(plain), folder, adaptive=adaptive)
        except Exception as problem:  # Hydra would only warn of it
            raise Refusal(problem) from None
