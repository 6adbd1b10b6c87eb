from __future__ import annotations

import math
from typing import Any

import pytest

from kdsweep.config import (
    OBJECTIVES,
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    GeneratorConfig,
    InversionConfig,
    ModelConfig,
    OptimizerConfig,
    PairConfig,
    PrunerConfig,
    ScheduleConfig,
    TeacherConfig,
    TrackingConfig,
    TrainConfig,
    ViewsConfig,
)
from kdsweep.errors import UserError
from kdsweep.hyperschedule import HyperSchedule

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
        "one of digits, cifar10, cifar100, imagefolder",
        ["digits", "cifar10", "cifar100"],
    ),
    (DataConfig, "data.image_size", [7, 513], "8 to 512", [8, 512]),
    (DataConfig, "data.val_fraction", [-0.1, 1.0, NAN], "0 up to below 1", [0.0, 0.99]),
    (DataConfig, "data.train_limit", [0, -5], "a number above 0", [1, None]),
    (DataConfig, "data.split_seed", [-1, 2**70], "0 up to below 2**62", [0, 2**62 - 1]),
    (DataConfig, "data.mean", [[0.5], [0.5] * 4, [0.0, NAN, 0.0]], "three numbers", [[0.0] * 3]),
    (DataConfig, "data.std", [[0.5], [1.0, 1.0, INF]], "three numbers", [[0.1] * 3]),
    (DataConfig, "data.std", [[0.5, 0.0, 1.0], [-1.0] * 3], "three numbers above 0", []),
    (ModelConfig, "pair.*.width", [0.0, -1.0, NAN, INF], "a number above 0", [0.25, 4.0]),
    (DistillConfig, "distill.temperature", [0.0, -1.0, NAN, INF], "a number above 0", [1e-3]),
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
    (GeneratorConfig, "distill.generator.latent", [0], "a number above 0", [1]),
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
        [[3.0, 1.0]],
        "epochs in rising order",
        [[], [1.0], [1.0, 3.0]],
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
        "one of auto, float32, bf16, float64",
        ["auto", "float32", "bf16", "float64"],
    ),
    (TrainConfig, "train.fuse", ["vmapped", ""], "one of auto, loop, grouped", ["auto", "loop"]),
    (TrainConfig, "train.threads", [0, -2], "a number above 0", [None, 1]),
    (TeacherConfig, "teacher.epochs", [0, -1], "a number above 0", [None, 1]),
    (TeacherConfig, "teacher.lr", [0.0, -1.0], "a number above 0", [None, 0.1]),
    (TeacherConfig, "teacher.weight_decay", [-1.0], "0 or more", [None, 0.0]),
    (TeacherConfig, "teacher.checkpoint_epoch", [0, -1], "a number above 0", [None, 3]),
    (TeacherConfig, "teacher.ensemble", [0, -1], "a number above 0", [1, 3]),
    (
        TeacherConfig,
        "teacher.combine",
        ["logits"],
        "one of probabilities, losses",
        ["probabilities", "losses"],
    ),
    (TeacherConfig, "teacher.generations", [-1], "0 or more", [0, 2]),
    (TeacherConfig, "teacher.assistant_temperature", [0.0, NAN], "a number above 0", [2.0]),
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
    (TrackingConfig, "tracking.backend", ["wandb"], "one of local, server, none", ["local"]),
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
    (Config, "seeds", [0, -1], "a number above 0", [1, 100]),
    (Config, "seed", [-1, 2**63], "0 up to below 2**62", [0, 7]),
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
    ("ViewsConfig", "flip"), ("ModelConfig", "name"), ("ModelConfig", "weights"),
    ("DistillConfig", "losses"), ("DistillConfig", "learned_temperature"),
    ("InversionConfig", "flip"),
    ("TrainConfig", "optimizer"), ("TrainConfig", "bank"),
    ("TrainConfig", "channels_last"), ("TeacherConfig", "checkpoint"),
    ("EvaluateConfig", "test"), ("EvaluateConfig", "latency"), ("TrackingConfig", "experiment"),
    ("Config", "data"), ("Config", "pair"), ("Config", "distill"), ("Config", "train"),
    ("Config", "schedule"), ("Config", "teacher"), ("Config", "evaluate"),
    ("Config", "tracking"), ("Config", "pruner"), ("Config", "storage"), ("Config", "root"),
    ("Config", "study"), ("Config", "trial"),
}  # fmt: skip
CROSS = {
    ("OptimizerConfig", "nesterov"), ("DataConfig", "root"), ("TrackingConfig", "uri"),
    ("TeacherConfig", "assistants"), ("DistillConfig", "schedules"),
    ("DistillConfig", "inversion"), ("DistillConfig", "generator"),
}  # fmt: skip


def test_every_option_is_tried_here() -> None:
    known = {(made.__name__, key.rpartition(".")[2]) for made, key, *_ in RANGES}
    for made in {entry[0] for entry in RANGES}:
        for name in made.__dataclass_fields__:
            assert (made.__name__, name) in known | UNCHECKED | CROSS, (made.__name__, name)


@pytest.mark.parametrize("root", [None, ""])
def test_an_image_folder_needs_its_place(root: str | None) -> None:
    with pytest.raises(UserError, match=r"^data.root=.*: allowed is a folder that holds train/"):
        DataConfig(name="imagefolder", root=root)
    DataConfig(name="imagefolder", root="pictures")


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(UserError, match=r"^train.optimizer.momentum=0.0: .*nesterov=true$"):
        OptimizerConfig(name="sgd", momentum=0.0, nesterov=True)
    OptimizerConfig(name="sgd", momentum=0.9, nesterov=True)
    OptimizerConfig(name="sgd", momentum=0.0)


def test_a_server_needs_its_address() -> None:
    with pytest.raises(UserError, match=r"^tracking.uri=None: allowed is the server's address"):
        TrackingConfig(backend="server")
    TrackingConfig(backend="server", uri="http://127.0.0.1:5000")


def test_the_protocol_decides_about_validation_images() -> None:
    published = EvaluateConfig(protocol="published")
    with pytest.raises(UserError, match=r"^data.val_fraction=0.0: .*evaluate.protocol=published"):
        Config(data=DataConfig(val_fraction=0.0))
    with pytest.raises(UserError, match=r"^data.val_fraction=0.1: allowed is 0 with evaluate"):
        Config(evaluate=published)
    Config(data=DataConfig(val_fraction=0.0), evaluate=published)
    Config(data=DataConfig(val_fraction=0.1))


def test_a_pruner_judges_by_one_thing_that_every_epoch_gives() -> None:
    pruner = PrunerConfig(name="median")
    for objective in ("ece", ["accuracy", "nll"], "latency_ms"):
        with pytest.raises(UserError, match=r"^objective=.*: allowed is accuracy or nll alone"):
            Config(pruner=pruner, objective=objective)
        Config(objective=objective)
    for objective in ("accuracy", ["nll"]):
        Config(pruner=pruner, objective=objective)


def test_objectives_and_their_directions() -> None:
    several = Config(objective=["accuracy", "latency_ms", "nll"])
    assert several.objectives == ("accuracy", "latency_ms", "nll")
    assert several.directions == ("maximize", "minimize", "minimize")
    assert several.times_networks
    assert Config().objectives == ("accuracy",)
    assert not Config().times_networks
    assert Config(evaluate=EvaluateConfig(latency=True)).times_networks
    assert {name for name, up in OBJECTIVES.items() if up} == {
        "accuracy", "top5_accuracy", "agreement", "delta_vs_baseline", "efficiency"
    }  # fmt: skip


def test_the_defaults_stand() -> None:
    config = Config()
    assert (config.distill.temperature, config.distill.alpha) == (4.0, 0.7)
    assert config.data.val_fraction == 0.1
    assert not config.evaluate.test


def test_assistants_are_models() -> None:
    made = TeacherConfig(assistants=["resnet20", {"name": "cifar_student", "width": 2}])
    assert made.assistants == [
        ModelConfig(name="resnet20"),
        ModelConfig(name="cifar_student", width=2),
    ]
    for given in (
        3,
        {"width": 2.0},
        {"name": "resnet20", "depth": 3},
        {"name": "x", "width": "y"},
    ):
        with pytest.raises(UserError, match=r"^teacher.assistants=.*: allowed is a model's name"):
            TeacherConfig(assistants=[given])
    with pytest.raises(UserError, match=r"^pair.*width=-1: allowed is a number above 0$"):
        TeacherConfig(assistants=[{"name": "cifar_student", "width": -1}])


@pytest.mark.parametrize(
    "given",
    [
        {"checkpoint": "t.pt", "ensemble": 2},
        {"checkpoint": "t.pt", "generations": 1},
        {"ensemble": 2, "generations": 1},
        {"ensemble": 2, "assistants": ["resnet20"]},
        {"generations": 2, "assistants": ["resnet20"]},
    ],
)
def test_one_kind_of_teacher_at_a_time(given: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=r"^teacher\..*: allowed is one of them at a time$"
    ) as caught:
        TeacherConfig(**given)
    assert all(f"teacher.{key}=" in str(caught.value) for key in given)


def test_which_model_teaches_the_student() -> None:
    pair = PairConfig(teacher=ModelConfig(name="resnet56"), student=ModelConfig(name="resnet8"))
    for teacher, name in (
        (TeacherConfig(), "resnet56"),
        (TeacherConfig(ensemble=3), "resnet56"),
        (TeacherConfig(assistants=["resnet32", "resnet20"]), "resnet20"),
        (TeacherConfig(generations=2), "resnet8"),
    ):
        assert Config(pair=pair, teacher=teacher).teaching.name == name


def test_a_teacher_can_only_stop_early_in_its_own_training() -> None:
    with pytest.raises(UserError, match=r"^teacher.checkpoint_epoch=3: allowed is null with"):
        TeacherConfig(checkpoint="t.pt", checkpoint_epoch=3)
    with pytest.raises(UserError, match=r"^teacher.checkpoint_epoch=16: allowed is 1 to 15, the"):
        Config(teacher=TeacherConfig(checkpoint_epoch=16))
    with pytest.raises(UserError, match=r"allowed is 1 to 4, the"):
        Config(teacher=TeacherConfig(checkpoint_epoch=5, epochs=4))
    Config(teacher=TeacherConfig(checkpoint_epoch=4, epochs=4))


def test_schedules_of_hyperparameters() -> None:
    losses: dict[str, dict[str, Any]] = {"hinton": {"weight": 1.0}}
    linear = {"name": "linear", "end": 0.5}
    made = DistillConfig(losses=losses, schedules={"alpha": linear, "hinton": linear})
    assert {type(schedule) for schedule in made.schedules.values()} == {HyperSchedule}
    for name in ("lr", "dkd"):
        with pytest.raises(
            UserError, match=rf"^distill.schedules.{name}=.*schedule of alpha, temperature, hinton"
        ):
            DistillConfig(losses=losses, schedules={name: linear})
    with pytest.raises(UserError, match=r"^distill.learned_temperature=True: allowed is false"):
        DistillConfig(losses=losses, schedules={"temperature": linear}, learned_temperature=True)


HINTON: dict[str, dict[str, Any]] = {"hinton": {"weight": 1.0}}


@pytest.mark.parametrize("source", ["inversion", "generator"])
def test_images_that_are_made_need_a_loss_and_a_single_teacher(source: str) -> None:
    given: dict[str, Any] = {
        source: InversionConfig() if source == "inversion" else GeneratorConfig()
    }
    assert DistillConfig(losses=HINTON, **given).without_images == source
    with pytest.raises(UserError, match=rf"^distill.{source}=.*: allowed is null without a loss"):
        DistillConfig(**given)
    with pytest.raises(UserError, match=rf"^teacher.ensemble=2: .* 1 with distill.{source}"):
        Config(distill=DistillConfig(losses=HINTON, **given), teacher=TeacherConfig(ensemble=2))


def test_one_thing_makes_the_images() -> None:
    with pytest.raises(UserError, match=r"^distill.generator=.*: allowed is null beside"):
        DistillConfig(losses=HINTON, inversion=InversionConfig(), generator=GeneratorConfig())
    assert DistillConfig().without_images is None


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("data.image_size=30", DataConfig(image_size=30)),
        ("data.views.mixup=0.2", DataConfig(views=ViewsConfig(mixup=0.2))),
        ("data.views.erase=0.5", DataConfig(views=ViewsConfig(erase=0.5))),
    ],
)
def test_what_a_generator_can_not_make(key: str, data: DataConfig) -> None:
    Config(data=data, distill=DistillConfig(losses=HINTON, inversion=InversionConfig()))
    with pytest.raises(UserError, match=rf"^{key}: allowed is .* with distill.generator"):
        Config(data=data, distill=DistillConfig(losses=HINTON, generator=GeneratorConfig()))
