"""What a program or a notebook calls: a sweep, one experiment, a study that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdsweep.config import checks
from kdsweep.errors import UserError
from kdsweep.library import application
from kdsweep.library.application import known_errors, settings_kept, shown
from kdsweep.library.overrides import axes as of_sweep
from kdsweep.library.overrides import fixed as of_experiment
from kdsweep.library.study import Study
from kdsweep.results.record import Record


def sweep(
    axes: Mapping[str, object],
    *,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    study: str | None = None,
    root: str | Path | None = None,
    quiet: bool = False,
) -> Study:
    """Run a sweep, as ``python -m kdsweep -m`` does; what was begun before goes on.

    Args:
        axes: what is swept, by key: a list is trained value by value, and text is read as the
            command line reads it, such as ``"range(1,6)"``, or ``"interval(1,5)"`` with a
            sampler. Anything else is set for all cells.
        overrides: more of the command line, such as ``data=digits`` or ``search=tpe``.
        seeds: that each cell is trained with in a round; 2 or more for a verdict.
        study: its name; None: made from what is swept.
        root: the folder of all output; None: ``mlruns``.
        quiet: print nothing.

    Raises:
        UserError: it can't be had as it was asked for; nothing was trained.
        TrainingError: some trials failed; the others are kept, and ``load`` has them.
    """
    own = _named(seeds=seeds, study=study, root=root)
    given = [*_texts(overrides), *of_sweep(axes), *of_experiment(own)]
    with shown(quiet=quiet):
        return Study(application.sweep(given))


def run(
    values: Mapping[str, object] | None = None,
    *,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    root: str | Path | None = None,
    quiet: bool = False,
) -> Record:
    """Train one experiment, as ``python -m kdsweep`` does; its record.

    Args:
        values: of the configuration, by key.
        overrides: more of the command line, such as ``data=digits``.
        seeds: that it is trained with.
        root: the folder of all output; None: ``mlruns``.
        quiet: print nothing.

    Raises:
        UserError: it can't be had as it was asked for; nothing was trained.
        TrainingError: it failed.
    """
    own = _named(seeds=seeds, root=root)
    given = [*_texts(overrides), *of_experiment({**(values or {}), **own})]
    with shown(quiet=quiet):
        return application.run(given)


def load(study: str, *, root: str | Path = "mlruns", storage: str | None = None) -> Study:
    """A study that was swept before.

    Args:
        study: its name, as the sweep printed it.
        root: the folder of all output.
        storage: its database's address; None: ``optuna.db`` in the root.

    Raises:
        UserError: there is none of that name; it names the nearest.
    """
    from kdsweep.sweeper.address import StudyAddress
    from kdsweep.sweeper.explain import naming

    folder = Path(root)
    checks.study_name(study)
    checks.root(str(root))
    url = f"sqlite:///{folder / 'optuna.db'}" if storage is None else storage
    checks.storage(url)
    with known_errors(), settings_kept(), naming(url):
        from kdsweep.sweeper.binding import is_adaptive
        from kdsweep.sweeper.opening import load_study

        adaptive = is_adaptive(load_study(study, url))
    return Study(
        StudyAddress(
            name=study,
            storage=url,
            root=folder,
            folder=folder / "hydra" / "studies" / study,
            adaptive=adaptive,
        )
    )


def _texts(overrides: Sequence[str]) -> list[str]:
    if isinstance(overrides, str) or not all(isinstance(one, str) for one in overrides):
        raise UserError(f"overrides={overrides!r}: allowed is a list, such as ['data=digits']")
    return list(overrides)


def _named(**given: object) -> dict[str, object]:
    return {key: value for key, value in given.items() if value is not None}
