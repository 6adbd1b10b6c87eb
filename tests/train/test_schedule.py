from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from kdsweep.config import ScheduleConfig
from kdsweep.train.schedule import anneals, learning_rate_factor

EPOCHS, STEPS = 20, 50  # steps in an epoch


def torchs(scheduler: type[Any], steps: int, **options: Any) -> list[float]:
    """The learning rates of a torch scheduler over a base of 1, before each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    made = scheduler(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return rates


def ours(config: ScheduleConfig, times: list[float]) -> list[float]:
    return [learning_rate_factor(config, time, EPOCHS) for time in times]


def whole() -> list[float]:
    return [float(epoch) for epoch in range(EPOCHS)]


def test_constant() -> None:
    assert ours(ScheduleConfig(name="constant"), whole()) == [1.0] * EPOCHS


@pytest.mark.parametrize(("size", "gamma"), [(5, 0.5), (1, 0.9), (7, 0.1), (30, 0.1)])
def test_step(size: int, gamma: float) -> None:
    config = ScheduleConfig(name="step", step_size=size, gamma=gamma)
    expected = torchs(lr_scheduler.StepLR, EPOCHS, step_size=size, gamma=gamma)
    assert ours(config, whole()) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["step", "multistep"])
def test_steps_change_at_whole_epochs_only(name: str) -> None:
    config = ScheduleConfig(name=name, step_size=5, gamma=0.5, milestones=[5.0, 10.0, 15.0])
    for epoch in range(EPOCHS):
        rates = ours(config, [epoch + step / STEPS for step in range(STEPS)])
        assert len(set(rates)) == 1


@pytest.mark.parametrize("milestones", [[3, 9, 15], [1], [], [5, 5]])
def test_multistep(milestones: list[int]) -> None:
    config = ScheduleConfig(name="multistep", milestones=[float(m) for m in milestones], gamma=0.2)
    expected = torchs(lr_scheduler.MultiStepLR, EPOCHS, milestones=milestones, gamma=0.2)
    assert ours(config, whole()) == pytest.approx(expected)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final: float) -> None:
    config = ScheduleConfig(name="cosine", final_factor=final)
    expected = torchs(lr_scheduler.CosineAnnealingLR, EPOCHS, T_max=EPOCHS, eta_min=final)
    assert ours(config, whole()) == pytest.approx(expected)
    assert ours(config, [EPOCHS]) == pytest.approx([final])


@pytest.mark.parametrize("peak", [0.3, 0.5])
@pytest.mark.parametrize("final", [4e-6, 0.02])
def test_one_cycle(peak: float, final: float) -> None:
    """torch counts steps to the ends of its two halves; ours is the same line in time."""
    total = EPOCHS * STEPS
    expected = torchs(
        lr_scheduler.OneCycleLR,
        total,
        max_lr=1.0,
        total_steps=total,
        pct_start=peak,
        div_factor=25,
        final_div_factor=0.04 / final,
        cycle_momentum=False,
    )
    config = ScheduleConfig(
        name="onecycle", initial_factor=0.04, final_factor=final, peak_fraction=peak
    )
    top = peak * total - 1
    stretched = [
        peak * step / top if step <= top else peak + (1 - peak) * (step - top) / (total - 1 - top)
        for step in range(total)
    ]
    assert ours(config, [EPOCHS * time for time in stretched]) == pytest.approx(expected)
    in_step = ours(config, [step / STEPS for step in range(total)])
    apart = max(abs(a - b) for a, b in zip(in_step, expected, strict=True))
    assert apart < math.pi / 2 / (peak * total)  # at most the rise of one step


def test_a_warm_up_is_a_line_from_zero() -> None:
    config = ScheduleConfig(name="constant", warmup_epochs=2.0)
    assert ours(config, [0.0, 0.5, 1.0, 2.0, 9.0]) == pytest.approx([0.0, 0.25, 0.5, 1.0, 1.0])


def test_a_warm_up_before_a_cosine_leaves_the_whole_cosine() -> None:
    config = ScheduleConfig(name="cosine", warmup_epochs=5.0)
    rates = ours(config, whole())
    assert rates[:5] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    expected = torchs(lr_scheduler.CosineAnnealingLR, EPOCHS - 5, T_max=EPOCHS - 5)
    assert rates[5:] == pytest.approx(expected)


def test_a_warm_up_before_steps_multiplies_them() -> None:
    plain = ScheduleConfig(name="step", step_size=2, gamma=0.5)
    warm = ScheduleConfig(name="step", step_size=2, gamma=0.5, warmup_epochs=4.0)
    ramp = [min(1.0, epoch / 4) for epoch in whole()]
    expected = [r * f for r, f in zip(ramp, ours(plain, whole()), strict=True)]
    assert ours(warm, whole()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ScheduleConfig(name="constant"), False),
        (ScheduleConfig(name="constant", warmup_epochs=5.0), False),
        (ScheduleConfig(name="step", step_size=5, gamma=0.5), False),  # 1/8 of the highest
        (ScheduleConfig(name="step", step_size=5, gamma=0.1), True),  # 1/1000
        (ScheduleConfig(name="step", step_size=20, gamma=0.01), False),  # falls when all is over
        (ScheduleConfig(name="multistep", milestones=[10.0, 15.0], gamma=0.1), True),
        (ScheduleConfig(name="multistep", milestones=[10.0], gamma=0.1), False),
        (ScheduleConfig(name="cosine"), True),
        (ScheduleConfig(name="cosine", final_factor=0.2), False),
        (ScheduleConfig(name="onecycle"), True),
        (ScheduleConfig(name="onecycle", final_factor=0.2), False),
    ],
)
def test_a_schedule_anneals_where_its_last_rate_is_small(
    config: ScheduleConfig, expected: bool
) -> None:
    assert anneals(config, EPOCHS) is expected
