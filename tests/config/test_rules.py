"""What options ask of each other."""

from __future__ import annotations

import math
import re
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
    TeacherConfig,
    TrackingConfig,
    ViewsConfig,
)
from kdsweep.config.schedules import HyperSchedule
from kdsweep.errors import UserError


@pytest.mark.parametrize("root", [None, ""])
def test_an_image_folder_needs_its_place(root: str | None) -> None:
    with pytest.raises(UserError, match=r"^data.root=.*: allowed is a folder that holds train/"):
        DataConfig(name="imagefolder", root=root)
    DataConfig(name="imagefolder", root="pictures")


def test_arrays_need_their_file() -> None:
    with pytest.raises(UserError, match=r"^data.root=None: allowed is a .npz file that holds"):
        DataConfig(name="arrays")
    DataConfig(name="arrays", root="a.npz")


@pytest.mark.parametrize("source", ["torchvision", "huggingface", "registered"])
def test_a_source_needs_a_name(source: str) -> None:
    with pytest.raises(UserError, match=r"^data.name=: allowed is "):
        DataConfig(source=source, name="")
    assert DataConfig(source=source, name="a").kind == source


@pytest.mark.parametrize(
    ("key", "value", "source"),
    [
        ("subset", "a", "huggingface"),
        ("image_column", "a", "huggingface"),
        ("label_column", "a", "huggingface"),
        ("options", {"a": 1}, "registered"),
    ],
)
def test_what_one_source_alone_reads(key: str, value: Any, source: str) -> None:
    DataConfig(source=source, name="a", **{key: value})
    for other in ("kdsweep", "torchvision"):
        with pytest.raises(UserError, match=rf"^data.{key}=.* without data={source}$"):
            DataConfig(source=other, **{key: value})


@pytest.mark.parametrize(("key", "value"), [("download", False), ("mirror", "https://a")])
def test_what_the_hub_reads_from_the_environment(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^data.{key}=.* data=huggingface, which reads HF_HUB"):
        DataConfig(source="huggingface", name="a", **{key: value})


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
    with pytest.raises(UserError, match=r"^teacher.assistants: width=-1: allowed is 0.01 to 100"):
        TeacherConfig(assistants=[{"name": "cifar_student", "width": -1}])


@pytest.mark.parametrize("width", [0.0, -1.0, 100.5, math.nan, math.inf])
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_widths_are_positive(role: str, width: float) -> None:
    with pytest.raises(UserError, match=rf"^pair.{role}.width={width}: allowed is 0.01 to 100$"):
        PairConfig(**{role: ModelConfig(width=width)})
    PairConfig(**{role: ModelConfig(width=0.25)})
    PairConfig(**{role: ModelConfig(width=100)})


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


@pytest.mark.parametrize("name", ["a/b", "", "-x", "a b", "..", "a..b", "../esc", "été", "a\n"])
def test_a_study_has_a_name_that_folders_can_hold(name: str) -> None:
    shown = re.escape(name.replace("\n", r"\n"))
    with pytest.raises(UserError, match=rf"^study={shown}: allowed are letters, digits"):
        Config(study=name)
    Config(study="a.b_c+d-1")


def test_names_are_as_long_as_files_can_be() -> None:
    Config(study="s" * 100)
    with pytest.raises(UserError, match=r"^study=s{60}\.\.\.: has 101 letters; allowed are up to"):
        Config(study="s" * 101)
    Config(root="/".join(["d" * 255] * 7))
    for root in ("d" * 256, "a/" + "é" * 128, "/".join(["d" * 200] * 10)):
        with pytest.raises(UserError, match=r"names have up to 255 bytes each, and its path up"):
            Config(root=root)


@pytest.mark.parametrize("root", ["", "  ", "a?b", "50%", "a\nb", "a\0b"])
def test_a_root_is_part_of_addresses(root: str) -> None:
    with pytest.raises(UserError, match=r"^root=.*: allowed is a folder whose path holds no"):
        Config(root=root)


@pytest.mark.parametrize(
    "storage",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://:memory:", "sqlite+pysqlite://",
     "sqlite:///?mode=ro", " sqlite:// "],
)  # fmt: skip
def test_a_study_in_memory_would_be_lost(storage: str) -> None:
    with pytest.raises(UserError, match=r"^storage=.*: has no file, .* give sqlite:///FILE$"):
        Config(storage=storage)
    for kept in ("sqlite:///a.db", "sqlite:////tmp/a.db", "postgresql+psycopg2://host/a"):
        Config(storage=kept)


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
