"""What is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError
from kdsweep.jobs.plan import plan, refuse_idle_axes
from kdsweep.models import create_model
from tests.jobs.trained import job

pytestmark = pytest.mark.usefixtures("composing")


def test_a_temperature_may_be_idle_for_some_of_the_losses(tmp_path: Path) -> None:
    idle = [job(tmp_path, "distill=attention", f"distill.temperature={t}") for t in (2, 3)]
    read = [job(tmp_path, "distill=hinton", f"distill.temperature={t}") for t in (2, 3)]
    refuse_idle_axes(plan([*idle, *read]))
    with pytest.raises(
        UserError, match=r"distill.temperature=2,3: changes nothing with attention"
    ):
        refuse_idle_axes(plan(idle))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ("distill=label_smoothing", "objective=agreement"),
            "agreement: allowed with a loss that",
        ),
        (("distill=none", "objective=[accuracy,delta_vs_baseline]"), "delta_vs_baseline: allowed"),
        (("distill=none", "objective=fidelity_kl"), "fidelity_kl: allowed with a loss that has"),
    ],
)
def test_an_objective_that_will_not_be_measured(
    tmp_path: Path, overrides: tuple[str, ...], line: str
) -> None:
    with pytest.raises(UserError, match=f"^objective={line}"):
        plan([job(tmp_path, *overrides)])
    plan([job(tmp_path, "distill=hinton", overrides[1])])


def test_a_checkpoint_is_of_the_first_teacher_of_a_chain(tmp_path: Path) -> None:
    first = create_model(ModelConfig(name="cifar_student"), classes=10, image_size=32)
    save_file(first.state_dict(), tmp_path / "first.safetensors")
    given = (
        "distill=progressive", "pair.teacher={name: cifar_student, width: 1.0}",
        f"teacher.checkpoint={tmp_path}/first.safetensors",
    )  # fmt: skip
    plan([job(tmp_path, *given, "teacher.assistants=[resnet8]")])
    with pytest.raises(UserError, match=r"teacher.checkpoint=.*first.safetensors"):
        plan([job(tmp_path, *given, "teacher.assistants=[resnet8]", "pair.teacher.width=0.5")])


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["pair.student={name: timm/ghostnet_050, width: 1.0}"], "pair.student.name"),
        (["pair.teacher={name: timm/ghostnet_050, width: 1.0}"], "pair.teacher.name"),
        (["teacher.assistants=[timm/ghostnet_050]"], "teacher.assistants.name"),
    ],
)
def test_a_network_with_randomness_of_its_own(
    tmp_path: Path, overrides: list[str], key: str
) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=f"^{key}=timm/ghostnet_050: draws random numbers"):
        plan([job(tmp_path, "distill=hinton", *overrides)])
