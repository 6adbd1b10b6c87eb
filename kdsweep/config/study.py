"""One experiment, what it is judged by, and where that is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kdsweep.config import checks
from kdsweep.config.checks import (
    choice,
    non_negative,
    positive,
    require,
    seed,
    study_name,
    within,
)
from kdsweep.config.data import DataConfig
from kdsweep.config.distill import DistillConfig
from kdsweep.config.engine import EngineConfig
from kdsweep.config.models import ModelConfig, PairConfig, TeacherConfig
from kdsweep.config.train import ScheduleConfig, TrainConfig
from kdsweep.config.verdict import FIRST_BASELINE_SEED, VerdictConfig


@dataclass(kw_only=True)
class EvaluateConfig:
    """Which images a run is judged on.

    ``validation`` is the protocol for every selection. ``published`` keeps no validation images,
    trains on all and reads the last epoch on test: for reproducing numbers, never for choosing.
    """

    protocol: str = "validation"  # published keeps no validation images, and reads test
    test: bool = False  # open test once, after the last epoch
    latency: bool = False  # time the networks: 100 batches each
    last_epochs: int = 1  # the mean of so many last epochs is the result; for constant, step rates
    ema: float = 0.0  # decay a step of the average of a student's weights that is judged; 0: none
    batch_size: int = 1000  # images that are evaluated at a time

    def __post_init__(self) -> None:
        choice("evaluate.protocol", self.protocol, ("validation", "published"))
        positive("evaluate.batch_size", self.batch_size)
        positive("evaluate.last_epochs", self.last_epochs)
        require(
            0 <= self.ema < 1, "evaluate.ema", self.ema, "0 (no average) up to below 1, as in 0.98"
        )


@dataclass(kw_only=True)
class TrackingConfig:
    """MLflow: a local SQLite store, a server, or none at all."""

    backend: str = "local"  # where MLflow's runs go
    uri: str | None = None  # of MLflow's server
    experiment: str = "kdsweep"  # of MLflow, which the runs belong to
    patience: float = 60.0  # seconds at the end for a store that is away; 0: don't wait

    def __post_init__(self) -> None:
        non_negative("tracking.patience", self.patience)
        choice("tracking.backend", self.backend, ("local", "server", "none"))
        require(
            self.backend != "server" or bool(self.uri),
            "tracking.uri",
            self.uri,
            "the server's address, such as http://127.0.0.1:5000",
        )


@dataclass(kw_only=True)
class PrunerConfig:
    """When a trial that does badly is stopped early; the numbers are Optuna's."""

    name: str = "none"  # which pruner
    startup_trials: int = 5  # median: finished trials before any is pruned
    warmup_epochs: int = 0  # median: epochs before a trial may be pruned
    min_epochs: int = 1  # asha, hyperband: epochs that every trial gets
    reduction_factor: int = 3  # asha, hyperband: one of so many goes on
    p_threshold: float = 0.1  # wilcoxon: the p-value below which a trial is stopped

    def __post_init__(self) -> None:
        choice("pruner.name", self.name, ("none", "median", "asha", "hyperband", "wilcoxon"))
        non_negative("pruner.startup_trials", self.startup_trials)
        non_negative("pruner.warmup_epochs", self.warmup_epochs)
        positive("pruner.min_epochs", self.min_epochs)
        require(
            self.reduction_factor >= 2,
            "pruner.reduction_factor",
            self.reduction_factor,
            "2 or more",
        )
        require(0 < self.p_threshold < 1, "pruner.p_threshold", self.p_threshold, "0 to 1")


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
    engine: EngineConfig = field(default_factory=EngineConfig)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    verdict: VerdictConfig = field(default_factory=VerdictConfig)
    plugins: Any = None  # modules of your own, imported first; typed, with their sources' hashes
    objective: Any = "accuracy"  # one name, or a list of them for a study of several objectives
    storage: str = "sqlite:///mlruns/optuna.db"  # of the Optuna study
    seed: int = 0  # first seed
    seeds: int = 1  # how many, counted up from seed; in a race, in each round
    rounds: int = 4  # of a grid with several seeds: how often its cells are judged at most
    root: str = "mlruns"  # everything that a run writes
    study: str | None = None  # names the Optuna study; null: named after what is swept
    trial: int | None = None  # set by the sweeper
    round: int = 1  # of the race, set by the sweeper; 0: drawn by a sampler, before the race

    def __post_init__(self) -> None:
        checks.root(self.root)
        checks.storage(self.storage)
        for name in self.objectives:
            choice("objective", name, tuple(OBJECTIVES))
        require(
            len(set(self.objectives)) == len(self.objectives) > 0,
            "objective",
            self.objective,
            "one name or several different ones of " + ", ".join(OBJECTIVES),
        )
        require(
            self.pruner.name == "none" or self.objectives in (("accuracy",), ("nll",)),
            "objective",
            self.objective,
            "accuracy or nll alone with a pruner, which judges by what every epoch gives",
        )
        if self.study is not None:
            study_name(self.study)
        within("seeds", self.seeds, 1, 10_000)
        within("rounds", self.rounds, 1, 100)
        non_negative("round", self.round)
        seed("seed", self.seed)
        require(
            self.seed + self.seeds * (self.rounds + 1) <= FIRST_BASELINE_SEED,
            "seed",
            self.seed,
            f"so small that all seeds are below {FIRST_BASELINE_SEED}, where the baseline's begin",
        )
        epochs = self.teacher.epochs or self.train.epochs
        require(
            (self.teacher.checkpoint_epoch or 1) <= epochs,
            "teacher.checkpoint_epoch",
            self.teacher.checkpoint_epoch,
            f"1 to {epochs}, the teacher's epochs",
        )
        require(
            self.evaluate.last_epochs <= self.train.epochs,
            "evaluate.last_epochs",
            self.evaluate.last_epochs,
            f"1 to {self.train.epochs}, which is train.epochs",
        )
        published = self.evaluate.protocol == "published"
        require(
            published or self.data.val_fraction is None or self.data.val_fraction > 0,
            "data.val_fraction",
            self.data.val_fraction,
            "above 0, or null, unless evaluate.protocol=published",
        )
        require(
            not published or self.data.val_fraction == 0,
            "data.val_fraction",
            self.data.val_fraction,
            "0 with evaluate.protocol=published, which trains on every image",
        )

        if self.distill.without_images is not None:
            require(
                self.teacher.ensemble == 1,
                "teacher.ensemble",
                self.teacher.ensemble,
                f"1 with distill.{self.distill.without_images}, whose images come of one teacher",
            )
        if self.distill.generator is not None:
            require(
                self.data.image_size % 4 == 0,
                "data.image_size",
                self.data.image_size,
                "a multiple of 4 with distill.generator, which doubles the resolution twice",
            )
            for key in ("erase", "mixup"):
                value = getattr(self.data.views, key)
                allowed = "0 with distill.generator, whose images are not augmented"
                require(value == 0, f"data.views.{key}", value, allowed)

    @property
    def entries(self) -> list[tuple[str, str]]:
        """What is known by a name, with its kind: the models, the losses, the dataset."""
        models = (self.pair.teacher, *self.teacher.assistants, self.pair.student)
        return [
            *(("model", model.name) for model in models),
            *(("loss", name) for name in self.distill.losses),
            ("dataset", self.data.name),
        ]

    @property
    def teaching(self) -> ModelConfig:
        """The model that teaches the student: the last one of the chain, where there is one."""
        if self.teacher.generations:
            return self.pair.student
        last: list[ModelConfig] = self.teacher.assistants[-1:]
        return last[0] if last else self.pair.teacher

    @property
    def teaching_key(self) -> str:
        """How the user names the model that teaches the student."""
        if self.teacher.generations:
            return "pair.student"
        return "teacher.assistants" if self.teacher.assistants else "pair.teacher"

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
