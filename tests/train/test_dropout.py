from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.train.dropout import DropoutClock, SeededDropout, seed_dropout
from kdsweep.train.grouped import fold, unfold


def masks(seeds: list[int], step: int, layer: int, *shape: int, p: float = 0.5) -> Tensor:
    """The masks [N, B, F, ...] of members that run together."""
    clock = DropoutClock()
    clock.seeds, clock.step = torch.tensor(seeds), step
    ones = torch.ones(len(seeds), *shape, dtype=torch.float64)
    out = SeededDropout(p, layer=layer, clock=clock)(fold(ones))
    return unfold(out, len(seeds))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3, 2)])
def test_the_mask_is_a_function_of_seed_step_and_layer(shape: tuple[int, ...]) -> None:
    mask = masks([3], 7, 1, *shape)
    position = torch.arange(mask.numel()).reshape(shape)
    draws = streams.uniform(torch.tensor(3), streams.DROPOUT, 7, 1, position)
    assert torch.equal(mask[0], (draws >= 0.5) * 2.0)
    torch.manual_seed(0)
    assert torch.equal(masks([3], 7, 1, *shape), mask)
    for other in (masks([4], 7, 1, *shape), masks([3], 8, 1, *shape), masks([3], 7, 2, *shape)):
        assert not torch.equal(other, mask)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3, 2)])
def test_members_together_have_the_masks_that_each_has_alone(shape: tuple[int, ...]) -> None:
    together = masks([5, 1, 5, 9], 2, 0, *shape)
    for seed, mask in zip([5, 1, 5, 9], together, strict=True):
        assert torch.equal(mask, masks([seed], 2, 0, *shape)[0])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_rate(p: float) -> None:
    n = 40_000
    mask = masks([1], 0, 0, 200, 200, p=p)
    dropped = float((mask == 0).double().mean())
    assert abs(dropped - p) < 4 * math.sqrt(p * (1 - p) / n)
    kept = mask[mask != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)))


def test_identity_in_evaluation_and_without_a_rate() -> None:
    x = torch.randn(3, 4)
    layer = SeededDropout(0.5, layer=0, clock=DropoutClock())
    assert layer.eval()(x) is x
    assert SeededDropout(0.0, layer=0, clock=DropoutClock())(x) is x


def test_gradients_pass_where_the_mask_is_open() -> None:
    clock = DropoutClock()
    x = torch.ones(8, 16, dtype=torch.float64, requires_grad=True)
    out = SeededDropout(0.25, layer=0, clock=clock)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, out.detach())


def test_every_dropout_of_a_network_is_replaced() -> None:
    network = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.ReLU(), nn.Dropout(0.3)))
    clock = seed_dropout(network)
    found = [layer for layer in network.modules() if isinstance(layer, SeededDropout)]
    assert [(layer.p, layer.layer) for layer in found] == [(0.1, 0), (0.3, 1)]
    assert not any(isinstance(layer, nn.Dropout) for layer in network.modules())
    twin = copy.deepcopy(network)
    assert all(
        layer.clock is clock for layer in twin.modules() if isinstance(layer, SeededDropout)
    )
