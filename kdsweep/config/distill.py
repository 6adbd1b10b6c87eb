"""What a student learns besides its labels, and on which images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdsweep.config.checks import (
    choice,
    non_negative,
    positive,
    require,
    seed,
    temperature,
    within,
)
from kdsweep.config.schedules import HyperSchedule


@dataclass(kw_only=True)
class DistillConfig:
    """L = (1 - alpha) * cross-entropy + alpha * sum over ``losses`` of weight * loss.

    Alpha weighs the distillation term (other toolkits' alpha weighs cross-entropy).
    ``losses`` maps a loss's name to its options, ``weight`` among them. ``schedules`` maps
    ``alpha``, ``temperature``, or a loss's name for its weight, to a ``HyperSchedule``.
    ``inversion`` or ``generator`` replaces the student's real training images.
    """

    temperature: float = 4.0  # divides the logits of teacher and student
    alpha: float = 0.7  # weight of distillation; cross-entropy has 1 - alpha
    # each by name, with its options, weight among them
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    # of alpha, temperature, or a loss's weight, by name
    schedules: dict[str, Any] = field(default_factory=dict)
    learned_temperature: bool = False  # T is learned against the student; temperature is unused
    inversion: InversionConfig | None = None
    generator: GeneratorConfig | None = None

    def __post_init__(self) -> None:
        temperature("distill.temperature", self.temperature)
        require(0 <= self.alpha <= 1, "distill.alpha", self.alpha, "0 to 1")
        self.losses = with_floats(self.losses)
        for name, options in self.schedules.items():
            allowed = ("alpha", "temperature", *self.losses)
            ok = name in allowed
            what = f"a schedule of {', '.join(allowed)} (a loss's name: of its weight)"
            require(ok, f"distill.schedules.{name}", options, what)
            self.schedules[name] = HyperSchedule.of_options(name, options)
        require(
            not (self.learned_temperature and "temperature" in self.schedules),
            "distill.learned_temperature",
            self.learned_temperature,
            "false beside distill.schedules.temperature: one of them moves the temperature",
        )
        require(
            self.inversion is None or self.generator is None,
            "distill.generator",
            "{...}",
            "null beside distill.inversion: one of them makes the images",
        )
        require(
            bool(self.losses) or self.without_images is None,
            f"distill.{self.without_images}",
            "{...}",
            "null without a loss: the baseline sees real images; name one under distill.losses",
        )

    @property
    def without_images(self) -> str | None:
        """What replaces the real training images: inversion, generator, or None."""
        if self.inversion is not None:
            return "inversion"
        return None if self.generator is None else "generator"


def with_floats(losses: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Losses' options with every number a float: weight 1 and weight 1.0 are one experiment."""
    return {
        name: {
            option: float(value) if type(value) is int else value
            for option, value in options.items()
        }
        for name, options in losses.items()
    }


@dataclass(kw_only=True)
class GeneratorConfig:
    """Training images that a generator makes, which learns from the teacher as students do."""

    objective: str = "dafl"  # or adversarial: against the student too
    latent: int = 1000  # numbers of noise that become an image
    lr: float = 0.02  # of its own Adam, constant
    steps: int | None = None  # in an epoch; null: as many as the real images would give
    one_hot: float = 0.05  # dafl: weight of cross-entropy with the teacher's own argmax
    information_entropy: float = 5.0  # dafl: of the classes' balance in a batch, with log10
    activation: float = 0.01  # dafl: weight of the size of the teacher's embedding
    student_steps: int = 5  # adversarial: of the student, for each of the generator

    def __post_init__(self) -> None:
        at = "distill.generator"
        choice(f"{at}.objective", self.objective, ("dafl", "adversarial"))
        within(f"{at}.latent", self.latent, 1, 100_000)
        positive(f"{at}.lr", self.lr)
        if self.steps is not None:
            positive(f"{at}.steps", self.steps)
        for key in ("one_hot", "information_entropy", "activation"):
            non_negative(f"{at}.{key}", getattr(self, key))
        positive(f"{at}.student_steps", self.student_steps)


@dataclass(kw_only=True)
class InversionConfig:
    """Training images that are dreamt of the teacher alone: found, or made once."""

    images: int = 5000  # in all, as many of each class
    batch_size: int = 250  # images that are optimised together
    iterations: int = 2000  # of Adam, for each batch
    lr: float = 0.05  # of Adam
    bn_weight: float = 10.0  # of the distance from the teacher's running statistics
    tv_weight: float = 2.5e-5  # of total variation
    l2_weight: float = 3e-8  # of the norm of the normalised pixels
    jitter: int = 2  # pixels that the images are rolled each way, anew in each iteration
    flip: bool = True  # mirror the images, or not, anew in each iteration
    seed: int = 0  # of the images

    def __post_init__(self) -> None:
        at = "distill.inversion"
        for key in ("images", "batch_size"):
            value = getattr(self, key)
            require(value >= 2, f"{at}.{key}", value, "2 or more, since batch norm compares them")
        positive(f"{at}.iterations", self.iterations)
        positive(f"{at}.lr", self.lr)
        for key in ("bn_weight", "tv_weight", "l2_weight"):
            non_negative(f"{at}.{key}", getattr(self, key))
        require(0 <= self.jitter <= 16, f"{at}.jitter", self.jitter, "0 to 16")
        seed(f"{at}.seed", self.seed)
