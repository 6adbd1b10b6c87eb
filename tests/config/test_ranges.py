"""Every option on its own: what is refused, with which line, and what is taken."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kdsweep.config import (
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    GeneratorConfig,
    InversionConfig,
    OptimizerConfig,
    PrunerConfig,
    ScheduleConfig,
    TeacherConfig,
    TrackingConfig,
    TrainConfig,
    VerdictConfig,
    ViewsConfig,
)
from kdsweep.errors import UserError

NAN, INF = math.nan, math.inf

# (what is made, its name for the user, values that are refused, what the line says is allowed,
# values that are taken: the ends of the range among them)
RANGES: list[tuple[type[Any], str, list[Any], str, list[Any]]] = [
    (ViewsConfig, "data.views.padding", [-1, 17], "0 to 16", [0, 16]),
    (ViewsConfig, "data.views.erase", [-0.1, 1.1, NAN], "0 to 1", [0.0, 1.0]),
    (ViewsConfig, "data.views.mixup", [-0.1, NAN, INF], "0 or more", [0.0, 2.5]),
    (
        DataConfig,
        "data.name",
        ["mnist", ""],
        "one of digits, cifar10, cifar100, imagefolder, arrays",
        ["digits", "cifar10", "cifar100"],
    ),
    (DataConfig, "data.image_size", [7, 513], "8 to 512", [8, 512]),
    (DataConfig, "data.val_fraction", [-0.1, 1.0, NAN], "0 up to below 1", [0.0, 0.99, None]),
    (DataConfig, "data.test_fraction", [-0.1, 1.0, NAN], "0 up to below 1", [0.0, 0.99, None]),
    (DataConfig, "data.test_seed", [-1, 2**70], "0 up to below 2**62", [0, 2**62 - 1]),
    (
        DataConfig,
        "data.source",
        ["hub", ""],
        "one of kdsweep, torchvision, hug",
        ["kdsweep", "torchvision"],
    ),
    (DataConfig, "data.train_limit", [0, -5], "a number above 0", [1, None]),
    (DataConfig, "data.split_seed", [-1, 2**70], "0 up to below 2**62", [0, 2**62 - 1]),
    (DataConfig, "data.mean", [[0.5], [0.5] * 4, [0.0, NAN, 0.0]], "three numbers", [[0.0] * 3]),
    (DataConfig, "data.std", [[0.5], [1.0, 1.0, INF]], "three numbers", [[0.1] * 3]),
    (DataConfig, "data.std", [[0.5, 0.0, 1.0], [-1.0] * 3], "three numbers above 0", []),
    (
        DistillConfig,
        "distill.temperature",
        [0.0, -1.0, 1e-4, 1001.0, 1e300, NAN, INF],
        "0.001 to 1,000",
        [1e-3, 1000.0],
    ),
    (DistillConfig, "distill.alpha", [-0.1, 1.5, NAN], "0 to 1", [0.0, 1.0]),
    (InversionConfig, "distill.inversion.images", [1, 0, -3], "2 or more", [2]),
    (InversionConfig, "distill.inversion.batch_size", [1, 0], "2 or more", [2]),
    (InversionConfig, "distill.inversion.iterations", [0], "a number above 0", [1]),
    (InversionConfig, "distill.inversion.lr", [0.0, NAN], "a number above 0", [1e-9]),
    (InversionConfig, "distill.inversion.bn_weight", [-1.0, INF], "0 or more", [0.0]),
    (InversionConfig, "distill.inversion.tv_weight", [-1.0, NAN], "0 or more", [0.0]),
    (InversionConfig, "distill.inversion.l2_weight", [-1.0], "0 or more", [0.0]),
    (InversionConfig, "distill.inversion.jitter", [-1, 17], "0 to 16", [0, 16]),
    (InversionConfig, "distill.inversion.seed", [-1, 2**63], "0 up to below 2**62", [7]),
    (GeneratorConfig, "distill.generator.objective", ["gan"], "one of dafl, adv", ["dafl"]),
    (GeneratorConfig, "distill.generator.latent", [0, 10**9], "1 to 100,000", [1]),
    (GeneratorConfig, "distill.generator.lr", [0.0, INF], "a number above 0", [1e-9]),
    (GeneratorConfig, "distill.generator.steps", [0, -1], "a number above 0", [None, 1]),
    (GeneratorConfig, "distill.generator.one_hot", [-1.0], "0 or more", [0.0]),
    (GeneratorConfig, "distill.generator.information_entropy", [NAN], "0 or more", [0.0]),
    (GeneratorConfig, "distill.generator.activation", [-0.1], "0 or more", [0.0]),
    (GeneratorConfig, "distill.generator.student_steps", [0], "a number above 0", [1]),
    (
        OptimizerConfig,
        "train.optimizer.name",
        ["rmsprop", "Adam"],
        "one of adam, adamw, sgd",
        ["adam", "adamw", "sgd"],
    ),
    (OptimizerConfig, "train.optimizer.lr", [0.0, -1.0, NAN, INF], "a number above 0", [1e-9]),
    (OptimizerConfig, "train.optimizer.weight_decay", [-1e-4, NAN], "0 or more", [0.0, 1.0]),
    (OptimizerConfig, "train.optimizer.momentum", [-0.1, 1.0], "0 up to below 1", [0.0, 0.99]),
    (OptimizerConfig, "train.optimizer.beta1", [-0.1, 1.0], "0 up to below 1", [0.0, 0.99]),
    (OptimizerConfig, "train.optimizer.beta2", [-0.1, 1.0], "0 up to below 1", [0.0, 0.99]),
    (OptimizerConfig, "train.optimizer.eps", [0.0, -1.0], "a number above 0", [1e-12]),
    (
        ScheduleConfig,
        "schedule.name",
        ["linear"],
        "one of constant, step, multistep, cosine, onecycle",
        ["constant", "step", "multistep", "cosine", "onecycle"],
    ),
    (ScheduleConfig, "schedule.step_size", [0, -1], "a number above 0", [1]),
    (ScheduleConfig, "schedule.gamma", [0.0, NAN], "a number above 0", [0.1, 1.5]),
    (
        ScheduleConfig,
        "schedule.milestones",
        [[3.0, 1.0], [-1.0, 2.0], [1.0, INF], [NAN]],
        "epochs from 0 up, in rising order",
        [[], [0.0], [1.0], [1.0, 3.0]],
    ),
    (ScheduleConfig, "schedule.warmup_epochs", [-1.0, INF], "0 or more", [0.0, 0.5]),
    (ScheduleConfig, "schedule.final_factor", [-0.1, NAN], "0 or more", [0.0, 0.1]),
    (ScheduleConfig, "schedule.peak_fraction", [0.0, 1.0], "above 0 and below 1", [0.5]),
    (ScheduleConfig, "schedule.initial_factor", [0.0], "a number above 0", [0.04]),
    (TrainConfig, "train.epochs", [0, -1], "a number above 0", [1]),
    (TrainConfig, "train.batch_size", [0, 1, -1], "2 or more", [2]),
    (TrainConfig, "train.clip_norm", [0.0, -1.0, NAN], "a number above 0", [None, 1.0]),
    (
        TrainConfig,
        "train.device",
        ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", ""],
        "auto, cpu, cuda or cuda:N",
        ["auto", "cpu", "cuda", "cuda:0", "cuda:12"],
    ),
    (
        TrainConfig,
        "train.precision",
        ["fp16", "half"],
        "one of auto, float32, tf32, bf16, float64",
        ["auto", "float32", "tf32", "bf16", "float64"],
    ),
    (TrainConfig, "train.fuse", ["vmapped", ""], "one of auto, loop, grouped", ["auto", "loop"]),
    (TrainConfig, "train.checkpoint_every", [-1], "0 or more", [0, 5, None]),
    (TrainConfig, "train.threads", [0, -2], "a number above 0", [None, 1]),
    (TeacherConfig, "teacher.epochs", [0, -1], "a number above 0", [None, 1]),
    (TeacherConfig, "teacher.lr", [0.0, -1.0], "a number above 0", [None, 0.1]),
    (TeacherConfig, "teacher.weight_decay", [-1.0], "0 or more", [None, 0.0]),
    (TeacherConfig, "teacher.checkpoint_epoch", [0, -1], "a number above 0", [None, 3]),
    (TeacherConfig, "teacher.ensemble", [0, -1, 101], "1 to 100", [1, 3]),
    (
        TeacherConfig,
        "teacher.combine",
        ["logits"],
        "one of probabilities, losses",
        ["probabilities", "losses"],
    ),
    (TeacherConfig, "teacher.generations", [-1, 101], "0 to 100", [0, 2]),
    (TeacherConfig, "teacher.assistant_temperature", [0.0, 1e9, NAN], "0.001 to 1,000", [2.0]),
    (TeacherConfig, "teacher.assistant_alpha", [-0.1, 1.1], "0 to 1", [0.0, 1.0]),
    (TeacherConfig, "teacher.seed", [-1, 2**70], "0 up to below 2**62", [0, 5]),
    (
        EvaluateConfig,
        "evaluate.protocol",
        ["test"],
        "one of validation, published",
        ["validation", "published"],
    ),
    (EvaluateConfig, "evaluate.batch_size", [0], "a number above 0", [1]),
    (EvaluateConfig, "evaluate.ema", [-0.1, 1.0], "0 (no average) up to below 1", [0.0, 0.99]),
    (EvaluateConfig, "evaluate.last_epochs", [0, -1], "a number above 0", [1, 5]),
    (TrackingConfig, "tracking.backend", ["wandb"], "one of local, server, none", ["local"]),
    (TrackingConfig, "tracking.patience", [-1.0, NAN, INF], "0 or more", [0.0, 5.0]),
    (
        PrunerConfig,
        "pruner.name",
        ["percentile"],
        "one of none, median, asha, hyperband, wilcoxon",
        ["none", "median", "asha", "hyperband", "wilcoxon"],
    ),
    (PrunerConfig, "pruner.startup_trials", [-1], "0 or more", [0]),
    (PrunerConfig, "pruner.warmup_epochs", [-1], "0 or more", [0]),
    (PrunerConfig, "pruner.min_epochs", [0], "a number above 0", [1]),
    (PrunerConfig, "pruner.reduction_factor", [1], "2 or more", [2]),
    (PrunerConfig, "pruner.p_threshold", [0.0, 1.0], "0 to 1", [0.5]),
    (
        VerdictConfig,
        "verdict.baseline_seeds",
        ["many", 0, -1, 2.5, True, None],
        "auto, or 1 or more",
        ["auto", 1, 40],
    ),
    (
        VerdictConfig,
        "verdict.first_baseline_seed",
        [0, 999_999],
        "1000000 or more, which is where the cells' seeds end",
        [1_000_000, 2_000_000],
    ),
    (VerdictConfig, "verdict.margin", [-0.1, NAN, INF], "0 or more points", [0.0, 2.0]),
    (VerdictConfig, "verdict.futility", [-0.1, NAN, INF], "0 or more, or null", [None, 0.0, 1.5]),
    (VerdictConfig, "verdict.top", [-1], "0 or more cells", [0, 3]),
    (Config, "rounds", [0, -1, 101], "1 to 100", [1, 100]),
    (Config, "round", [-1], "0 or more", [0, 4]),
    (Config, "seeds", [0, -1, 10_001], "1 to 10,000", [1, 100]),
    (Config, "seed", [-1, 2**63], "0 up to below 2**62", [0, 7]),
    (Config, "seed", [999_996], "so small that all seeds are below 1000000", [999_995]),
    (Config, "objective", ["acuracy", 3, None], "one of accuracy, top5_accuracy", ["nll"]),
    (Config, "objective", [[], ["nll", "nll"]], "one name or several different ones", []),
]


@pytest.mark.parametrize(
    ("made", "key", "refused", "allowed", "taken"), RANGES, ids=[entry[1] for entry in RANGES]
)
def test_ranges(
    made: type[Any], key: str, refused: list[Any], allowed: str, taken: list[Any]
) -> None:
    name = key.rpartition(".")[2]
    for value in refused:
        with pytest.raises(UserError) as caught:
            made(**{name: value})
        line = str(caught.value)
        assert line.startswith(f"{key}={value}: allowed is {allowed}")
        assert "\n" not in line
    for value in taken:
        assert getattr(made(**{name: value}), name) == value


# Sub-configurations, and options that need no check: any value of their type will do.
UNCHECKED = {
    ("DataConfig", "download"), ("DataConfig", "mirror"), ("DataConfig", "views"),
    ("ViewsConfig", "flip"),
    ("DistillConfig", "losses"), ("DistillConfig", "learned_temperature"),
    ("InversionConfig", "flip"),
    ("TrainConfig", "optimizer"), ("TrainConfig", "bank"),
    ("TrainConfig", "channels_last"), ("TeacherConfig", "checkpoint"),
    ("EvaluateConfig", "test"), ("EvaluateConfig", "latency"), ("TrackingConfig", "experiment"),
    ("Config", "data"), ("Config", "pair"), ("Config", "distill"), ("Config", "train"),
    ("Config", "schedule"), ("Config", "teacher"), ("Config", "evaluate"),
    ("Config", "tracking"), ("Config", "engine"), ("Config", "pruner"), ("Config", "verdict"),
    ("Config", "storage"),
    ("Config", "root"), ("Config", "study"), ("Config", "trial"), ("Config", "plugins"),
}  # fmt: skip
CROSS = {
    ("OptimizerConfig", "nesterov"), ("DataConfig", "root"), ("TrackingConfig", "uri"),
    ("DataConfig", "subset"), ("DataConfig", "image_column"), ("DataConfig", "label_column"),
    ("DataConfig", "options"), ("Config", "plugins"),
    ("TeacherConfig", "assistants"), ("DistillConfig", "schedules"),
    ("DistillConfig", "inversion"), ("DistillConfig", "generator"),
}  # fmt: skip


def test_every_option_is_tried_here() -> None:
    known = {(made.__name__, key.rpartition(".")[2]) for made, key, *_ in RANGES}
    for made in {entry[0] for entry in RANGES}:
        for name in made.__dataclass_fields__:
            assert (made.__name__, name) in known | UNCHECKED | CROSS, (made.__name__, name)
