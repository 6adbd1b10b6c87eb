from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kdsweep.config import OptimizerConfig
from kdsweep.train.optimizer import StackedOptimizer, clip_gradients

MEMBERS, STEPS = 3, 20
SHAPES = ((4, 3, 2, 2), (5,), ())
LR = torch.tensor([1e-3, 0.05, 0.4], dtype=torch.float64)
DECAY = torch.tensor([0.0, 0.01, 0.3], dtype=torch.float64)


def start() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(MEMBERS, *s, generator=draw, dtype=torch.float64) for s in SHAPES]


def gradients(step: int) -> list[Tensor]:
    """Some large, some tiny, some zero, so that Adam's eps and the moments matter."""
    draw = torch.Generator().manual_seed(100 + step)
    scale = 10.0 ** (step % 5 * 3 - 9)
    return [scale * torch.randn(MEMBERS, *s, generator=draw, dtype=torch.float64) for s in SHAPES]


def rate(step: int) -> float:
    return 1.0 if step < STEPS // 2 else 0.3


CASES: list[tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = [
    ({"name": "adam"}, torch.optim.Adam, {}),
    (
        {"name": "adam", "beta1": 0.7, "beta2": 0.9, "eps": 1e-4},
        torch.optim.Adam,
        {"betas": (0.7, 0.9), "eps": 1e-4},
    ),
    ({"name": "adamw", "eps": 1e-6}, torch.optim.AdamW, {"eps": 1e-6}),
    ({"name": "sgd", "momentum": 0.0}, torch.optim.SGD, {}),
    ({"name": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    (
        {"name": "sgd", "momentum": 0.8, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True},
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_each_member_steps_as_torch_does(
    ours: dict[str, Any], theirs: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    params = start()
    stacked = StackedOptimizer(params, OptimizerConfig(**ours))
    for step in range(STEPS):
        stacked.step(gradients(step), LR * rate(step), DECAY, count=step + 1)
    for i in range(MEMBERS):
        own = [p[i].clone().requires_grad_() for p in start()]
        reference: Any = theirs(own, lr=1.0, weight_decay=float(DECAY[i]), **options)
        for step in range(STEPS):
            reference.param_groups[0]["lr"] = float(LR[i]) * rate(step)
            for p, g in zip(own, gradients(step), strict=True):
                p.grad = g[i].clone()
            reference.step()
        for p, expected in zip(params, own, strict=True):
            torch.testing.assert_close(p[i], expected.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_dense_rates_as_on_a_gpu_give_the_same_bits(name: str) -> None:
    broadcast, dense = start(), start()
    one = StackedOptimizer(broadcast, OptimizerConfig(name=name))
    other = StackedOptimizer(dense, OptimizerConfig(name=name)).members(slice(None))
    other.dense = True
    for step in range(3):
        one.step(gradients(step), LR, DECAY, count=step + 1)
        other.step(gradients(step), LR, DECAY, count=step + 1)
    for p, expected in zip(dense, broadcast, strict=True):
        assert torch.equal(p, expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_view_steps_its_own_members_in_the_same_storage(name: str) -> None:
    config = OptimizerConfig(name=name, nesterov=name == "sgd")
    whole, parts = start(), start()
    together = StackedOptimizer(whole, config)
    split = StackedOptimizer(parts, config)
    views = [split.members(slice(0, 1)), split.members(slice(1, 3))]
    for step in range(5):
        together.step(gradients(step), LR, DECAY, count=step + 1)
        for view, part in zip(views, (slice(0, 1), slice(1, 3)), strict=True):
            given = [g[part] for g in gradients(step)]
            view.step(given, LR[part], DECAY[part], count=step + 1)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(whole[0], start()[0])


def test_gradients_are_not_changed() -> None:
    given = gradients(1)
    kept = [g.clone() for g in given]
    config = OptimizerConfig(name="sgd", nesterov=True)
    StackedOptimizer(start(), config).step(given, LR, torch.zeros_like(DECAY), count=1)
    for one, other in zip(given, kept, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("max_norm", [0.1, 5.0, 1e6])
def test_clipping_is_torchs_for_each_member(max_norm: float) -> None:
    scale = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    given = [g * scale.reshape(-1, *[1] * (g.dim() - 1)) for g in gradients(3)]
    clipped = clip_gradients(given, max_norm)
    for i in range(MEMBERS):
        own = [torch.zeros_like(g[i]).requires_grad_() for g in given]
        for p, g in zip(own, given, strict=True):
            p.grad = g[i].clone()
        torch.nn.utils.clip_grad_norm_(own, max_norm)
        for got, p in zip(clipped, own, strict=True):
            assert p.grad is not None
            torch.testing.assert_close(got[i], p.grad, rtol=1e-12, atol=0)


def test_a_member_without_a_gradient_norm_is_its_own_trouble() -> None:
    given = [g.clone() for g in gradients(3)]
    given[0][1] = torch.nan
    clipped = clip_gradients(given, 0.1)
    clean = clip_gradients([g[[0, 2]] for g in given], 0.1)
    for got, expected in zip(clipped, clean, strict=True):
        assert torch.equal(got[[0, 2]], expected)
        assert bool(got[1].isnan().all())
