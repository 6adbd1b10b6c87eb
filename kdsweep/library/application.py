"""Hydra's application inside a program of somebody else's: nothing of theirs is left changed."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.errors import KdsweepError, Refusal, UserError
from kdsweep.results.record import Record, read_record
from kdsweep.terminal import interrupts

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from omegaconf import DictConfig

    from kdsweep.sweeper.address import StudyAddress

WHITELIST = [
    "kdsweep.*",
    "optuna.samplers.*",
    "optuna.pruners.*",
    "hydra_plugins.*",
    "hydra._internal.core_plugins.*",
    "logging.*",
]
CONFIG = "config"  # the primary configuration's name


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


def prepare() -> None:
    """Make kdsweep known to Hydra; to be called before anything is composed."""
    # Idle OpenMP threads that spin make a busy machine five times slower; must precede torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from kdsweep.sweeper.plugins import register

    register()


def sweep(overrides: Sequence[str]) -> StudyAddress:
    """Run or continue the study that these overrides describe; where it is.

    Raises:
        UserError: it can't be had as it was asked for.
        TrainingError: some trials failed.
    """
    from kdsweep.sweeper.address import StudyAddress

    chosen = next((one for one in overrides if one.startswith("hydra/sweeper=")), None)
    if chosen not in (None, "hydra/sweeper=kdsweep"):
        raise UserError(f"{chosen}: allowed is kdsweep here; the command line takes others too")
    address = _start(
        lambda hydra: hydra.multirun(
            config_name=CONFIG, task_function=task, overrides=list(overrides)
        ),
        overrides,
    )
    assert isinstance(address, StudyAddress)
    return address


def run(overrides: Sequence[str]) -> Record:
    """Train one experiment; its record.

    Raises:
        UserError: it can't be had as it was asked for.
        TrainingError: it failed.
    """
    job = _start(
        lambda hydra: hydra.run(config_name=CONFIG, task_function=task, overrides=list(overrides)),
        overrides,
    )
    return read_record(Path(job.hydra_cfg.hydra.runtime.output_dir))


def compose(overrides: Sequence[str], *, folder: Path | None = None) -> dict[str, Any]:
    """What these overrides come to, without Hydra's part; references stand as they are.

    Args:
        overrides: as on the command line.
        folder: of a user's own options, as ``--config-dir`` names it.

    Raises:
        UserError: an override can't be applied.
    """
    import hydra
    from omegaconf import OmegaConf

    given = list(overrides)
    if folder is not None:
        path = str(folder.resolve()).replace("\\", "\\\\").replace("'", "\\'")
        given.append(f"hydra.searchpath=['file://{path}']")
    with known_errors(overrides):
        prepare()
        with _own_hydra():
            config = hydra.compose(CONFIG, given)
            plain = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _start(call: Callable[[Hydra], Any], overrides: Sequence[str]) -> Any:
    import hydra

    prepare()

    def started(_: object) -> Any:
        with _own_hydra() as own:
            return call(own)

    with known_errors(overrides), settings_kept():
        # What Hydra's decorator is given goes through it to the function, as it is.
        return hydra.main(execution_whitelist=WHITELIST)(started)(overrides)


@contextlib.contextmanager
def _own_hydra() -> Iterator[Hydra]:
    """A Hydra of our own, in the place of one that the program may be running in."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from kdsweep.config.paths import conf_dir

    theirs, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), job_name="kdsweep"):
            own = GlobalHydra.instance().hydra
            assert own is not None
            yield own
    finally:
        GlobalHydra.instance().hydra = theirs
        HydraConfig.instance().cfg = config


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Put the process's logging, and its settings of torch and Optuna, back at the end.

    ``logging.config`` closes every handler that there is: those of the program are out of its
    reach meanwhile, and get nothing of what is logged. So it is with handlers of signals.
    """
    with warnings.catch_warnings():  # Optuna's bars, which are not used, would want widgets
        warnings.filterwarnings("ignore", "IProgress not found")
        import optuna

    from kdsweep.hardware.choose import configuration_kept

    root = logging.getLogger()
    known: list[Any] = vars(logging)["_handlerList"]  # all that logging.shutdown closes
    level, handlers, every = root.level, root.handlers.copy(), known.copy()
    verbosity = optuna.logging.get_verbosity()
    root.handlers.clear()
    known.clear()
    with interrupts.passed_on():
        try:
            with configuration_kept():
                yield
        finally:
            for handler in root.handlers:
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            known[:] = every
            optuna.logging.set_verbosity(verbosity)


@contextlib.contextmanager
def known_errors(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Raise whatever a user can mend as a ``KdsweepError`` that says how, in one line.

    Raises:
        KdsweepError: in the place of Hydra's, OmegaConf's, Optuna's or the system's own errors.
    """
    from kdsweep.sweeper.explain import known_error

    try:
        yield
    except Refusal as refusal:
        raise known_error(refusal.error, overrides) or refusal.error from None
    except Exception as error:
        known = known_error(error, overrides)
        if known is None or known is error:
            raise
        raise known from error


@contextlib.contextmanager
def shown(*, quiet: bool) -> Iterator[None]:
    """Let what is printed and logged be seen, or not."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
