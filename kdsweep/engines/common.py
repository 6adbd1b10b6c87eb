"""What configurations that can train as one population have in common, and what they do not."""

from __future__ import annotations

import dataclasses

from kdsweep.config import Config
from kdsweep.store import digest

# Of a configuration, what changes neither a training nor what it needs.
_APART = (
    "seed", "seeds", "rounds", "round", "verdict", "study", "trial", "tracking", "storage",
    "objective", "pruner",
)  # fmt: skip


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
    for key in _APART:
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
