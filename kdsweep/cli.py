"""The Hydra edge: compose, make the typed configuration, run, and say errors in one line."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from kdsweep.errors import KdsweepError, Refusal, UserError
from kdsweep.terminal import interrupts

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
FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> None:
    """Run the command line and leave with its exit status."""
    # Idle OpenMP threads that spin make a busy machine five times slower; must precede torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interrupts.install()
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = io.StringIO()
    logging.raiseExceptions = False  # a pipe that nobody reads is told once, by the next print
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # Hydra raises; what the user sees is decided here
    try:
        _hydra_main()
    except KeyboardInterrupt:
        _leave("interrupted", interrupts.STATUS)
    except BrokenPipeError:  # whoever read the output (head, a pager) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if traceback_wanted:
            raise
        line, status = explain(error)
        _leave(line, status)
    finally:
        if not traceback_wanted:
            del os.environ[FULL_ERROR]


def _leave(line: str, status: int) -> NoReturn:
    print(f"kdsweep: {line}", file=sys.stderr)
    sys.exit(status)


def explain(error: BaseException) -> tuple[str, int]:
    """The line that tells a user what went wrong, and the exit status."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kdsweep.config.messages import hydra_line, option_line

    if isinstance(error, KdsweepError):
        return str(error), error.exit_status
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return hydra_line(error), UserError.exit_status
    if isinstance(error, ValueError) and "Config group override" in str(error):
        line = option_line(sys.argv[1:])
        if line is not None:
            return line, UserError.exit_status
    where = f"set {FULL_ERROR}=1 to see where"
    return f"unexpected {type(error).__name__}: {error} ({where})", 1


def _hydra_main() -> None:
    import hydra

    from kdsweep.config.paths import conf_dir
    from kdsweep.sweep.plugins import register

    register()
    wrapped = hydra.main(
        config_path=str(conf_dir()), config_name="config", execution_whitelist=WHITELIST
    )
    try:
        wrapped(task)()
    except Refusal as refusal:
        raise refusal.error from None


def task(config: DictConfig) -> Any:
    """One job on its own: what Hydra calls without -m, or another launcher for each cell."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    single = HydraConfig.get().mode == RunMode.RUN
    try:
        from kdsweep.sweep.single import run_job

        return run_job(config, HydraConfig.get(), single=single)
    except (KdsweepError, BrokenPipeError) as error:
        if not single:
            raise
        raise Refusal(error) from None
