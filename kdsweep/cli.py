"""The Hydra edge: compose, make the typed configuration, run, and say errors in one line."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kdsweep import interrupts
from kdsweep.errors import KdsweepError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdsweep.config import Config

WHITELIST = [
    "kdsweep.*",
    "optuna.samplers.*",
    "optuna.pruners.*",
    "hydra_plugins.*",
    "hydra._internal.core_plugins.*",
    "logging.*",
]
FULL_ERROR = "HYDRA_FULL_ERROR"


def conf_dir() -> Path:
    """The folder of configurations: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


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

    from kdsweep.messages import hydra_line, option_line

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


class Refusal(BaseException):
    """Takes an error through Hydra, which warns of an Exception, or prints lines of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _hydra_main() -> None:
    import hydra

    register()
    wrapped = hydra.main(
        config_path=str(conf_dir()), config_name="config", execution_whitelist=WHITELIST
    )
    try:
        wrapped(task)()
    except Refusal as refusal:
        raise refusal.error from None


def register() -> None:
    """Make the schema, the sweeper and the launcher known to Hydra."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    from kdsweep.config import Config
    from kdsweep.sweep.launcher import FusedLauncher
    from kdsweep.sweep.sweeper import KdsweepSweeper

    OmegaConf.register_resolver(
        "kdsweep.first", lambda one, other: other if one is None else one, replace=True
    )
    ConfigStore.instance().store(name="schema", node=Config, replace=True)
    Plugins.instance().register(KdsweepSweeper)
    Plugins.instance().register(FusedLauncher)


def task(config: DictConfig) -> Any:
    """One job on its own: what Hydra calls without -m, or another launcher for each cell."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from kdsweep.runner import run_jobs
    from kdsweep.sweep.callback import report_single

    single = HydraConfig.get().mode == RunMode.RUN
    try:
        job = make_job(config, HydraConfig.get())
        (outcome,) = run_jobs([job])
        value = outcome.value
        if single:
            report_single(job, outcome)
    except (KdsweepError, BrokenPipeError) as error:
        if not single:
            raise
        raise Refusal(error) from None
    return value


def make_job(config: DictConfig, hydra: Any) -> Any:
    """The typed job of a composed configuration; in a sweep it has a study and a trial."""
    from hydra.types import RunMode

    from kdsweep.jobs import Job

    made = typed(config)
    if hydra.mode == RunMode.MULTIRUN and made.trial is None:  # not kdsweep's own sweeper
        study = made.study or Path(hydra.sweep.dir).name
        made = dataclasses.replace(made, study=study, trial=hydra.job.num)
    return Job(
        config=made,
        folder=Path(hydra.runtime.output_dir),
        overrides=tuple(hydra.overrides.task),
    )


def typed(config: DictConfig) -> Config:
    """The typed configuration: the only place where a DictConfig is read.

    Raises:
        UserError: a value is outside of its range.
    """
    from omegaconf import OmegaConf

    from kdsweep.config import Config

    made = OmegaConf.to_object(config)
    assert isinstance(made, Config)
    unknown = _unknown_keys(OmegaConf.to_container(config), made)
    if unknown:
        raise UserError(f"{unknown[0]}: no such key; python -m kdsweep --cfg job lists them all")
    return made


def _unknown_keys(given: object, known: object, prefix: str = "") -> list[str]:
    """Keys that were added with + and that no field takes: they would do nothing."""
    if not dataclasses.is_dataclass(known) or not isinstance(given, dict):
        return []
    fields = {field.name for field in dataclasses.fields(known)}
    found = [f"{prefix}{key}" for key in given if key not in fields]
    for name in fields & given.keys():
        found += _unknown_keys(given[name], getattr(known, name), f"{prefix}{name}.")
    return found
