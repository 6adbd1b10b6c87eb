"""Jobs and what becomes of them: no training here, and no heavy imports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.config import Config
from kdsweep.errors import KdsweepError
from kdsweep.store import digest

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell: a configuration, where its output goes, what was set on the command line."""

    config: Config
    folder: Path
    overrides: tuple[str, ...] = ()

    @property
    def seeds(self) -> range:
        """The seeds that this job trains."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    @property
    def is_baseline(self) -> bool:
        """Whether its students learn from labels alone."""
        return not self.config.distill.losses

    def member(self, seed: int) -> str:
        """The name of one of its members in a population."""
        return f"{self.folder}#{seed}"


@dataclass(kw_only=True)
class Outcome:
    """What became of a job: its record, or the error that ended it."""

    record: dict[str, Any] = field(default_factory=dict)
    error: KdsweepError | None = None

    @property
    def value(self) -> float | list[float]:
        """The objective, or several; raises the job's error where it failed."""
        if self.error is not None:
            raise self.error
        values: list[float] = self.record["values"]
        return values if len(values) != 1 else values[0]


def make_job(config: DictConfig, hydra: Any) -> Job:
    """The typed job of a composed configuration; in a sweep it has a study and a trial."""
    from hydra.types import RunMode

    from kdsweep.config.typed import typed

    made = typed(config)
    if hydra.mode == RunMode.MULTIRUN and made.trial is None:  # not kdsweep's own sweeper
        study = made.study or Path(hydra.sweep.dir).name
        made = dataclasses.replace(made, study=study, trial=hydra.job.num)
    return Job(
        config=made,
        folder=Path(hydra.runtime.output_dir),
        overrides=tuple(hydra.overrides.task),
    )


def numbers(config: Config) -> dict[str, float]:
    """The hyperparameters in which members of one population may differ."""
    values = {
        "lr": config.train.optimizer.lr,
        "weight_decay": config.train.optimizer.weight_decay,
        "temperature": config.distill.temperature,
        "alpha": config.distill.alpha,
    }
    for loss, options in config.distill.losses.items():
        own = {k: float(v) for k, v in options.items() if is_number(loss, k, v)}
        values.update({f"{loss}.{k}": v for k, v in own.items()})
    return values


def group_key(config: Config) -> str:
    """Equal for configurations that can train as one population, with one teacher.

    A teacher without a learning rate or weight decay of its own is trained with ``train``'s, so
    students that differ in it then have different teachers.
    """
    plain = dataclasses.asdict(config)
    for key in ("seed", "seeds", "study", "trial", "tracking", "storage", "objective", "pruner"):
        del plain[key]
    given = config.teacher.checkpoint is not None and not config.teacher.assistants
    for key in ("lr", "weight_decay"):
        if given or not needs_teacher(config) or plain["teacher"][key] is not None:
            del plain["train"]["optimizer"][key]
    for key in ("temperature", "alpha"):
        del plain["distill"][key]
    for loss, options in plain["distill"]["losses"].items():
        for name, value in options.items():
            options[name] = "a number" if is_number(loss, name, value) else value
    return digest(plain)


def needs_teacher(config: Config) -> bool:
    """Whether any of the losses looks at a teacher, or the images come of one."""
    from kdsweep.losses.registry import loss_spec

    if config.distill.without_images is not None:
        return True
    return any(loss_spec(loss).needs_teacher for loss in config.distill.losses)


def is_number(loss: str, option: str, value: object) -> bool:
    """Whether a loss's option is a numeric hyperparameter, not one that shapes the loss."""
    from kdsweep.losses.registry import loss_spec

    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and option in loss_spec(loss).numbers


def why_apart(groups: Sequence[Sequence[Job]]) -> str:
    """The settings in which groups differ, so that they can't train as one population."""
    flat = [_flat(dataclasses.asdict(group[0].config)) for group in groups]
    hidden = ("seed", "study", "trial", "distill.temperature", "distill.alpha")
    differing = [
        key
        for key in dict.fromkeys(key for one in flat for key in one)
        if key not in hidden and len({repr(one.get(key)) for one in flat}) > 1
    ]
    return ", ".join(differing[:3]) + (" ..." if len(differing) > 3 else "")


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value and key != "losses":
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def group_jobs(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can train together, in order of appearance."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(group_key(job.config), []).append(job)
    return list(groups.values())
