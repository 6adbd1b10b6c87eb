"""The typed configuration: made once, at the edge, from what Hydra composed.

Every range and cross-field rule is checked in ``__post_init__`` and raises ``UserError`` with
the key as the user writes it, what was given and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdsweep.errors import UserError
from kdsweep.hyperschedule import HyperSchedule


def _require(ok: bool, key: str, given: object, allowed: str) -> None:
    if not ok:
        raise UserError(f"{key}={given}: allowed is {allowed}")


def _choice(key: str, given: str, allowed: Sequence[str]) -> None:
    _require(given in allowed, key, given, "one of " + ", ".join(allowed))


def _positive(key: str, value: float) -> None:
    _require(math.isfinite(value) and value > 0, key, value, "a number above 0")


def _non_negative(key: str, value: float) -> None:
    _require(math.isfinite(value) and value >= 0, key, value, "0 or more")


def _seed(key: str, value: int) -> None:
    _require(0 <= value < 2**62, key, value, "0 up to below 2**62")


@dataclass(kw_only=True)
class ViewsConfig:
    """Random augmentation of a training image; ``padding`` and ``flip`` alone are discrete."""

    padding: int = 4  # pixels of zero padding before the random crop
    flip: bool = True
    erase: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # Beta(mixup, mixup); 0 is off

    def __post_init__(self) -> None:
        _require(0 <= self.padding <= 16, "data.views.padding", self.padding, "0 to 16")
        _require(0 <= self.erase <= 1, "data.views.erase", self.erase, "0 to 1")
        _non_negative("data.views.mixup", self.mixup)


@dataclass(kw_only=True)
class DataConfig:
    """A labelled image dataset and how it is split."""

    name: str = "digits"
    root: str | None = None  # where the files are, or are downloaded to
    download: bool = True
    mirror: str | None = None  # URL that replaces the dataset's own
    image_size: int = 32  # pixels, height and width
    val_fraction: float = 0.1  # of the training images, stratified by class
    split_seed: int = 0
    train_limit: int | None = None  # keep so many training images, for short runs
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    views: ViewsConfig = field(default_factory=ViewsConfig)

    def __post_init__(self) -> None:
        _choice("data.name", self.name, ("digits", "cifar10", "cifar100", "imagefolder"))
        _require(
            self.name != "imagefolder" or bool(self.root),
            "data.root",
            self.root,
            "a folder that holds train/<class>/* and test/<class>/*",
        )
        _require(8 <= self.image_size <= 512, "data.image_size", self.image_size, "8 to 512")
        _require(
            0 <= self.val_fraction < 1, "data.val_fraction", self.val_fraction, "0 up to below 1"
        )
        if self.train_limit is not None:
            _positive("data.train_limit", self.train_limit)
        _seed("data.split_seed", self.split_seed)
        for key, values in (("mean", self.mean), ("std", self.std)):
            ok = len(values) == 3 and all(map(math.isfinite, values))
            _require(ok, f"data.{key}", values, "three numbers, one per channel")
        _require(min(self.std) > 0, "data.std", self.std, "three numbers above 0")


@dataclass(kw_only=True)
class ModelConfig:
    """A model by its registered name."""

    name: str = "cifar_student"
    width: float = 1.0  # multiplies the channels, in the families that have a width
    weights: str | None = None  # torchvision's name of pretrained weights, or a local file

    def __post_init__(self) -> None:
        _positive("pair.*.width", self.width)


def _assistant(given: object) -> ModelConfig:
    if isinstance(given, ModelConfig):
        return given
    fields = {"name": given} if isinstance(given, str) else given
    allowed = ("name", "width", "weights")
    ok = (
        isinstance(fields, dict)
        and "name" in fields
        and set(fields) <= set(allowed)
        and isinstance(fields.get("width", 1.0), int | float)
    )
    _require(ok, "teacher.assistants", given, "a model's name, or {name: ..., width: ...}")
    assert isinstance(fields, dict)
    return ModelConfig(**fields)


@dataclass(kw_only=True)
class PairConfig:
    """A teacher and the student that it teaches."""

    teacher: ModelConfig = field(default_factory=lambda: ModelConfig(name="cifar_teacher"))
    student: ModelConfig = field(default_factory=ModelConfig)


@dataclass(kw_only=True)
class InversionConfig:
    """Training images that are dreamt of the teacher alone: found, or made once."""

    images: int = 5000  # in all, as many of each class
    batch_size: int = 250  # images that are optimised together
    iterations: int = 2000  # of Adam, for each batch
    lr: float = 0.05
    bn_weight: float = 10.0  # of the distance from the teacher's running statistics
    tv_weight: float = 2.5e-5  # of total variation
    l2_weight: float = 3e-8  # of the norm of the normalised pixels
    jitter: int = 2  # pixels that the images are rolled each way, anew in each iteration
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        at = "distill.inversion"
        for key in ("images", "batch_size"):
            value = getattr(self, key)
            _require(value >= 2, f"{at}.{key}", value, "2 or more, since batch norm compares them")
        _positive(f"{at}.iterations", self.iterations)
        _positive(f"{at}.lr", self.lr)
        for key in ("bn_weight", "tv_weight", "l2_weight"):
            _non_negative(f"{at}.{key}", getattr(self, key))
        _require(0 <= self.jitter <= 16, f"{at}.jitter", self.jitter, "0 to 16")
        _seed(f"{at}.seed", self.seed)


@dataclass(kw_only=True)
class GeneratorConfig:
    """Training images that a generator makes, which learns from the teacher as students do."""

    objective: str = "dafl"  # or adversarial: against the student too
    latent: int = 1000  # numbers of noise that become an image
    lr: float = 1e-3  # of its own Adam, constant
    steps: int | None = None  # in an epoch; null: as many as the real images would give
    one_hot: float = 0.05  # dafl: weight of cross-entropy with the teacher's own argmax
    information_entropy: float = 5.0  # dafl: weight of the classes' balance in a batch
    activation: float = 0.01  # dafl: weight of the size of the teacher's embedding
    student_steps: int = 5  # adversarial: of the student, for each of the generator

    def __post_init__(self) -> None:
        at = "distill.generator"
        _choice(f"{at}.objective", self.objective, ("dafl", "adversarial"))
        _positive(f"{at}.latent", self.latent)
        _positive(f"{at}.lr", self.lr)
        if self.steps is not None:
            _positive(f"{at}.steps", self.steps)
        for key in ("one_hot", "information_entropy", "activation"):
            _non_negative(f"{at}.{key}", getattr(self, key))
        _positive(f"{at}.student_steps", self.student_steps)


@dataclass(kw_only=True)
class DistillConfig:
    """L = (1 - alpha) * cross-entropy + alpha * sum over ``losses`` of weight * loss.

    Alpha weighs the distillation term (other toolkits' alpha weighs cross-entropy).
    ``losses`` maps a loss's name to its options, ``weight`` among them. ``schedules`` maps
    ``alpha``, ``temperature``, or a loss's name for its weight, to a ``HyperSchedule``.
    ``inversion`` or ``generator`` replaces the student's real training images.
    """

    temperature: float = 4.0
    alpha: float = 0.7
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedules: dict[str, Any] = field(default_factory=dict)
    learned_temperature: bool = False  # T is learned against the student; temperature is unused
    inversion: InversionConfig | None = None
    generator: GeneratorConfig | None = None

    def __post_init__(self) -> None:
        _positive("distill.temperature", self.temperature)
        _require(0 <= self.alpha <= 1, "distill.alpha", self.alpha, "0 to 1")
        for name, options in self.schedules.items():
            allowed = ("alpha", "temperature", *self.losses)
            ok = name in allowed
            what = f"a schedule of {', '.join(allowed)} (a loss's name: of its weight)"
            _require(ok, f"distill.schedules.{name}", options, what)
            self.schedules[name] = HyperSchedule.of_options(name, options)
        _require(
            not (self.learned_temperature and "temperature" in self.schedules),
            "distill.learned_temperature",
            self.learned_temperature,
            "false beside distill.schedules.temperature: one of them moves the temperature",
        )
        _require(
            self.inversion is None or self.generator is None,
            "distill.generator",
            "{...}",
            "null beside distill.inversion: one of them makes the images",
        )
        _require(
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


@dataclass(kw_only=True)
class OptimizerConfig:
    """Adam, AdamW or SGD with torch.optim's semantics."""

    name: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9  # SGD
    nesterov: bool = False  # SGD
    beta1: float = 0.9  # Adam
    beta2: float = 0.999  # Adam
    eps: float = 1e-8  # Adam

    def __post_init__(self) -> None:
        _choice("train.optimizer.name", self.name, ("adam", "adamw", "sgd"))
        _positive("train.optimizer.lr", self.lr)
        _non_negative("train.optimizer.weight_decay", self.weight_decay)
        for key, value in (
            ("momentum", self.momentum),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
        ):
            _require(0 <= value < 1, f"train.optimizer.{key}", value, "0 up to below 1")
        _require(
            not self.nesterov or self.momentum > 0,
            "train.optimizer.momentum",
            self.momentum,
            "above 0 with train.optimizer.nesterov=true",
        )
        _positive("train.optimizer.eps", self.eps)


@dataclass(kw_only=True)
class ScheduleConfig:
    """How the learning rate moves over training; epochs may be fractions."""

    name: str = "step"
    step_size: int = 5  # epochs; step
    gamma: float = 0.5  # step, multistep
    milestones: list[float] = field(default_factory=list)  # epochs; multistep
    warmup_epochs: float = 0.0  # linear from 0, in front of any schedule
    final_factor: float = 0.0  # cosine, onecycle: last learning rate / base
    peak_fraction: float = 0.3  # onecycle: where the peak is, as a fraction of training
    initial_factor: float = 0.04  # onecycle: first learning rate / base

    def __post_init__(self) -> None:
        _choice(
            "schedule.name", self.name, ("constant", "step", "multistep", "cosine", "onecycle")
        )
        _positive("schedule.step_size", self.step_size)
        _positive("schedule.gamma", self.gamma)
        _require(
            self.milestones == sorted(self.milestones),
            "schedule.milestones",
            self.milestones,
            "epochs in rising order",
        )
        _non_negative("schedule.warmup_epochs", self.warmup_epochs)
        _non_negative("schedule.final_factor", self.final_factor)
        _require(
            0 < self.peak_fraction < 1,
            "schedule.peak_fraction",
            self.peak_fraction,
            "above 0 and below 1",
        )
        _positive("schedule.initial_factor", self.initial_factor)


@dataclass(kw_only=True)
class TrainConfig:
    """One training loop's settings, the same for teacher, baseline and distilled student."""

    epochs: int = 15
    batch_size: int = 128
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    clip_norm: float | None = None  # of each member's gradient
    device: str = "auto"  # auto, cpu, cuda, cuda:N
    precision: str = "auto"  # auto: bf16 on GPUs, float32 on CPUs
    channels_last: bool = True
    threads: int | None = None  # of a CPU; null: one per core
    fuse: str = "auto"  # how the members of a population are executed
    bank: bool = True  # bank the teacher's logits where the views are discrete

    def __post_init__(self) -> None:
        _positive("train.epochs", self.epochs)
        _require(
            self.batch_size >= 2,
            "train.batch_size",
            self.batch_size,
            "2 or more, since batch norm compares images",
        )
        if self.clip_norm is not None:
            _positive("train.clip_norm", self.clip_norm)
        ok = re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device) is not None
        _require(ok, "train.device", self.device, "auto, cpu, cuda or cuda:N")
        _choice("train.precision", self.precision, ("auto", "float32", "bf16", "float64"))
        _choice("train.fuse", self.fuse, ("auto", "loop", "grouped", "workers"))
        if self.threads is not None:
            _positive("train.threads", self.threads)


@dataclass(kw_only=True)
class TeacherConfig:
    """Where the teacher comes from: a checkpoint, or training with ``train``'s settings.

    Several may teach at once (``ensemble``), or one after another: ``pair.teacher`` teaches the
    first of ``assistants``, that one the next, and the last of them the student; or the student's
    own architecture, trained alone, teaches the next of ``generations``.
    """

    checkpoint: str | None = None  # safetensors or torch state dict of the user's own
    seed: int = 0
    epochs: int | None = None  # null: train.epochs
    lr: float | None = None  # null: train.optimizer.lr; a number lets students of all rates share
    weight_decay: float | None = None  # null: train.optimizer.weight_decay
    checkpoint_epoch: int | None = None  # stop there, on the schedule of all epochs
    ensemble: int = 1  # so many teachers, with seeds from ``seed`` up
    combine: str = "probabilities"  # an ensemble's mean of them, or of the teachers' losses
    assistants: list[Any] = field(default_factory=list)  # names, or {name: ..., width: ...}
    generations: int = 0  # of the student's architecture, instead of pair.teacher
    assistant_temperature: float = 4.0  # assistants and generations learn by hinton with it
    assistant_alpha: float = 0.7

    def __post_init__(self) -> None:
        if self.epochs is not None:
            _positive("teacher.epochs", self.epochs)
        if self.lr is not None:
            _positive("teacher.lr", self.lr)
        if self.weight_decay is not None:
            _non_negative("teacher.weight_decay", self.weight_decay)
        if self.checkpoint_epoch is not None:
            _positive("teacher.checkpoint_epoch", self.checkpoint_epoch)
        _positive("teacher.ensemble", self.ensemble)
        _choice("teacher.combine", self.combine, ("probabilities", "losses"))
        _non_negative("teacher.generations", self.generations)
        _positive("teacher.assistant_temperature", self.assistant_temperature)
        alpha = self.assistant_alpha
        _require(0 <= alpha <= 1, "teacher.assistant_alpha", alpha, "0 to 1")
        self.assistants = [_assistant(given) for given in self.assistants]
        many = [
            f"teacher.{key}={value}"
            for key, value, plain in (
                ("checkpoint", self.checkpoint, None),
                ("ensemble", self.ensemble, 1),
                ("generations", self.generations, 0),
            )
            if value != plain
        ]
        if self.assistants and self.checkpoint is None:
            many.append("teacher.assistants=[...]")
        if len(many) > 1:
            raise UserError(f"{' '.join(many)}: allowed is one of them at a time")
        if self.checkpoint is not None and self.checkpoint_epoch is not None:
            raise UserError(
                f"teacher.checkpoint_epoch={self.checkpoint_epoch}: allowed is null with "
                "teacher.checkpoint, which is not trained"
            )
        _seed("teacher.seed", self.seed)


@dataclass(kw_only=True)
class EvaluateConfig:
    """Which images a run is judged on.

    ``validation`` is the protocol for every selection. ``published`` keeps no validation images,
    trains on all and reads the last epoch on test: for reproducing numbers, never for choosing.
    """

    protocol: str = "validation"
    test: bool = False  # open test once, after the last epoch
    latency: bool = False  # time the networks: 100 batches each
    batch_size: int = 1000

    def __post_init__(self) -> None:
        _choice("evaluate.protocol", self.protocol, ("validation", "published"))
        _positive("evaluate.batch_size", self.batch_size)


@dataclass(kw_only=True)
class TrackingConfig:
    """MLflow: a local SQLite store, a server, or none at all."""

    backend: str = "local"
    uri: str | None = None
    experiment: str = "kdsweep"

    def __post_init__(self) -> None:
        _choice("tracking.backend", self.backend, ("local", "server", "none"))
        _require(
            self.backend != "server" or bool(self.uri),
            "tracking.uri",
            self.uri,
            "the server's address, such as http://127.0.0.1:5000",
        )


@dataclass(kw_only=True)
class PrunerConfig:
    """When a trial that does badly is stopped early; the numbers are Optuna's."""

    name: str = "none"
    startup_trials: int = 5  # median: finished trials before any is pruned
    warmup_epochs: int = 0  # median: epochs before a trial may be pruned
    min_epochs: int = 1  # asha, hyperband: epochs that every trial gets
    reduction_factor: int = 3  # asha, hyperband: one of so many goes on
    p_threshold: float = 0.1  # wilcoxon

    def __post_init__(self) -> None:
        _choice("pruner.name", self.name, ("none", "median", "asha", "hyperband", "wilcoxon"))
        _non_negative("pruner.startup_trials", self.startup_trials)
        _non_negative("pruner.warmup_epochs", self.warmup_epochs)
        _positive("pruner.min_epochs", self.min_epochs)
        _require(
            self.reduction_factor >= 2,
            "pruner.reduction_factor",
            self.reduction_factor,
            "2 or more",
        )
        _require(0 < self.p_threshold < 1, "pruner.p_threshold", self.p_threshold, "0 to 1")


# Each objective's name, and whether more of it is better.
OBJECTIVES = {
    "accuracy": True,
    "top5_accuracy": True,
    "nll": False,
    "ece": False,
    "agreement": True,
    "fidelity_kl": False,
    "delta_vs_baseline": True,
    "parameters": False,
    "size_mib": False,
    "flops_per_image": False,
    "latency_ms": False,
    "efficiency": True,
}


@dataclass(kw_only=True)
class Config:
    """One experiment: a teacher, a student, a dataset, a loss, a schedule and its seeds."""

    data: DataConfig = field(default_factory=DataConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    objective: Any = "accuracy"  # one name, or a list of them for a study of several objectives
    storage: str = "sqlite:///mlruns/optuna.db"  # of the Optuna study
    seed: int = 0  # first seed
    seeds: int = 1  # how many, counted up from ``seed``
    root: str = "mlruns"  # everything that a run writes
    study: str | None = None  # names the Optuna study; null: named after what is swept
    trial: int | None = None  # set by the sweeper

    def __post_init__(self) -> None:
        _require(
            bool(self.root.strip()) and not set("?%") & set(self.root),
            "root",
            self.root,
            "a folder whose path holds no ? and no %, which database addresses can't",
        )
        for name in self.objectives:
            _choice("objective", name, tuple(OBJECTIVES))
        _require(
            len(set(self.objectives)) == len(self.objectives) > 0,
            "objective",
            self.objective,
            "one name or several different ones of " + ", ".join(OBJECTIVES),
        )
        _require(
            self.pruner.name == "none" or self.objectives in (("accuracy",), ("nll",)),
            "objective",
            self.objective,
            "accuracy or nll alone with a pruner, which judges by what every epoch gives",
        )
        _positive("seeds", self.seeds)
        _seed("seed", self.seed)
        epochs = self.teacher.epochs or self.train.epochs
        _require(
            (self.teacher.checkpoint_epoch or 1) <= epochs,
            "teacher.checkpoint_epoch",
            self.teacher.checkpoint_epoch,
            f"1 to {epochs}, the teacher's epochs",
        )
        published = self.evaluate.protocol == "published"
        _require(
            published or self.data.val_fraction > 0,
            "data.val_fraction",
            self.data.val_fraction,
            "above 0, unless evaluate.protocol=published",
        )
        _require(
            not published or self.data.val_fraction == 0,
            "data.val_fraction",
            self.data.val_fraction,
            "0 with evaluate.protocol=published, which trains on every image",
        )

        if self.distill.without_images is not None:
            _require(
                self.teacher.ensemble == 1,
                "teacher.ensemble",
                self.teacher.ensemble,
                f"1 with distill.{self.distill.without_images}, whose images come of one teacher",
            )
        if self.distill.generator is not None:
            _require(
                self.data.image_size % 4 == 0,
                "data.image_size",
                self.data.image_size,
                "a multiple of 4 with distill.generator, which doubles the resolution twice",
            )
            for key in ("erase", "mixup"):
                value = getattr(self.data.views, key)
                allowed = "0 with distill.generator, whose images are not augmented"
                _require(value == 0, f"data.views.{key}", value, allowed)

    @property
    def teaching(self) -> ModelConfig:
        """The model that teaches the student: the last one of the chain, where there is one."""
        if self.teacher.generations:
            return self.pair.student
        last: list[ModelConfig] = self.teacher.assistants[-1:]
        return last[0] if last else self.pair.teacher

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the study optimises, first the one that reports show."""
        given = self.objective if isinstance(self.objective, list | tuple) else [self.objective]
        return tuple(str(name) for name in given)

    @property
    def directions(self) -> tuple[str, ...]:
        """Optuna's direction of each objective."""
        return tuple("maximize" if OBJECTIVES[name] else "minimize" for name in self.objectives)

    @property
    def times_networks(self) -> bool:
        """Whether latency is to be measured."""
        return self.evaluate.latency or bool({"latency_ms", "efficiency"} & set(self.objectives))
