"""The training loop: its optimiser, its learning rate, and how it is executed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from kdsweep.config.checks import choice, non_negative, positive, require


@dataclass(kw_only=True)
class OptimizerConfig:
    """Adam, AdamW or SGD with torch.optim's semantics."""

    name: str = "adam"  # whose semantics are torch.optim's
    lr: float = 1e-3  # the learning rate that the schedule scales
    weight_decay: float = 1e-4  # times a parameter: added to its gradient, or taken off it (adamw)
    momentum: float = 0.9  # of sgd
    nesterov: bool = False  # whether sgd's momentum is Nesterov's
    beta1: float = 0.9  # adam, adamw: decay of the gradient's mean
    beta2: float = 0.999  # adam, adamw: decay of its square's mean
    eps: float = 1e-8  # adam, adamw: added to the root of that mean

    def __post_init__(self) -> None:
        choice("train.optimizer.name", self.name, ("adam", "adamw", "sgd"))
        positive("train.optimizer.lr", self.lr)
        non_negative("train.optimizer.weight_decay", self.weight_decay)
        for key, value in (
            ("momentum", self.momentum),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
        ):
            require(0 <= value < 1, f"train.optimizer.{key}", value, "0 up to below 1")
        require(
            not self.nesterov or self.momentum > 0,
            "train.optimizer.momentum",
            self.momentum,
            "above 0 with train.optimizer.nesterov=true",
        )
        positive("train.optimizer.eps", self.eps)


@dataclass(kw_only=True)
class ScheduleConfig:
    """How the learning rate moves over training; epochs may be fractions."""

    name: str = "step"  # how the learning rate moves
    step_size: int = 5  # step: epochs after which the rate falls
    gamma: float = 0.5  # step, multistep: what the rate is multiplied by
    milestones: list[float] = field(default_factory=list)  # multistep: epochs where it falls
    warmup_epochs: float = 0.0  # linear from 0, in front of any schedule
    final_factor: float = 0.0  # cosine, onecycle: last learning rate / base
    peak_fraction: float = 0.3  # onecycle: where the peak is, as a fraction of training
    initial_factor: float = 0.04  # onecycle: first learning rate / base

    def __post_init__(self) -> None:
        choice("schedule.name", self.name, ("constant", "step", "multistep", "cosine", "onecycle"))
        positive("schedule.step_size", self.step_size)
        positive("schedule.gamma", self.gamma)
        require(
            self.milestones == sorted(self.milestones)
            and all(0 <= epoch < math.inf for epoch in self.milestones),
            "schedule.milestones",
            self.milestones,
            "epochs from 0 up, in rising order",
        )
        non_negative("schedule.warmup_epochs", self.warmup_epochs)
        non_negative("schedule.final_factor", self.final_factor)
        require(
            0 < self.peak_fraction < 1,
            "schedule.peak_fraction",
            self.peak_fraction,
            "above 0 and below 1",
        )
        positive("schedule.initial_factor", self.initial_factor)


@dataclass(kw_only=True)
class TrainConfig:
    """One training loop's settings, the same for teacher, baseline and distilled student."""

    epochs: int = 15  # passes over the training images
    batch_size: int = 128  # training images of a step
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    clip_norm: float | None = None  # of each member's gradient
    device: str = "auto"  # auto: a GPU where there is one
    precision: str = "auto"  # auto: bf16 on GPUs, float32 on CPUs; tf32: GPUs alone
    channels_last: bool | None = None  # of images in memory; null: on CPUs
    threads: int | None = None  # of a CPU; null: one per core
    fuse: str = "auto"  # how the members of a population are executed
    # Epochs from one checkpoint to the next; 0: none; null: as many as take 2 % of the time.
    checkpoint_every: int | None = None
    bank: bool = True  # bank the teacher's logits where the views are discrete

    def __post_init__(self) -> None:
        positive("train.epochs", self.epochs)
        require(
            self.batch_size >= 2,
            "train.batch_size",
            self.batch_size,
            "2 or more, since batch norm compares images",
        )
        if self.clip_norm is not None:
            positive("train.clip_norm", self.clip_norm)
        ok = re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device) is not None
        require(ok, "train.device", self.device, "auto, cpu, cuda or cuda:N")
        choice("train.precision", self.precision, ("auto", "float32", "tf32", "bf16", "float64"))
        choice("train.fuse", self.fuse, ("auto", "loop", "grouped", "workers"))
        if self.threads is not None:
            positive("train.threads", self.threads)
        if self.checkpoint_every is not None:
            non_negative("train.checkpoint_every", self.checkpoint_every)
