from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.errors import UserError
from kdsweep.train.dropout import (
    DropoutClock,
    MemberKeys,
    SeededDepth,
    SeededDropout,
    refuse_other_randomness,
    seed_dropout,
)
from kdsweep.train.grouped import fold, unfold


def masks(seeds: list[int], step: int, layer: int, *shape: int, p: float = 0.5) -> Tensor:
    """The masks [N, B, F, ...] of members that run together."""
    clock = DropoutClock()
    clock.start(MemberKeys(torch.tensor(seeds)), step)
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


def test_the_keys_of_any_step_in_any_order() -> None:
    seeds = torch.tensor([3, 2**62])
    keys = MemberKeys(seeds)
    for step in (0, 255, 256, 1000, 255, 10**9):
        for layer in (0, 1):
            expected = streams.bits(seeds, streams.DROPOUT, step, layer)
            assert torch.equal(keys.at(step, layer), expected)


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


def test_all_is_dropped_at_a_rate_of_one() -> None:
    x = torch.ones(3, 4, requires_grad=True)
    out = SeededDropout(1.0, layer=0, clock=DropoutClock())(x)
    assert torch.equal(out, nn.Dropout(1.0)(x))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, torch.zeros(3, 4))


def test_a_layer_that_is_called_twice_has_two_masks() -> None:
    layer = nn.Dropout(0.5)
    network = nn.Sequential(layer, nn.Dropout(0.5))
    clock = seed_dropout(network)
    x = torch.ones(50, 8)
    for step in (0, 1):
        clock.start(clock.keys, step)
        first, second, other = network[0](x), network[0](x), network[1](x)
        assert not torch.equal(first, second)
        assert not torch.equal(second, other)
        clock.start(clock.keys, step)
        assert torch.equal(network[0](x), first)
        assert torch.equal(network[0](x), second)


@pytest.mark.parametrize(
    ("kind", "space"), [(nn.Dropout1d, 1), (nn.Dropout2d, 2), (nn.Dropout3d, 3)]
)
def test_dropout_of_channels_drops_whole_ones(kind: type[nn.Module], space: int) -> None:
    network = nn.Sequential(kind(0.25))
    clock = seed_dropout(network)
    ones = torch.ones(3, 200, 5, *[2] * space)
    clock.start(MemberKeys(torch.tensor([5, 1, 5])), 2)
    together = unfold(network(fold(ones)), 3)
    first = together.flatten(3)[..., 0]
    assert torch.equal(together.flatten(3), first[..., None].expand(-1, -1, -1, 2**space))
    assert set(first.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((first[0] == 0).double().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 1000)
    for seed, out in zip([5, 1, 5], together, strict=True):
        clock.start(MemberKeys(torch.tensor([seed])), 2)
        assert torch.equal(network(ones[0]), out)


class Functional(nn.Module):
    """Dropout without a layer of its own."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(images, self.p, self.training)


@pytest.mark.parametrize("layer", [Functional(0.01), nn.AlphaDropout(), nn.FeatureAlphaDropout()])
def test_what_draws_from_the_global_generator_is_refused(layer: nn.Module) -> None:
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=r"^pair.student.name=x: draws .* nn.Dropout2d$"):
        refuse_other_randomness(nn.Sequential(layer), 8, given="pair.student.name=x")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("layer", [Functional(0.0), nn.Dropout(), nn.Dropout2d(), nn.ReLU()])
def test_what_can_be_seeded_is_not_refused(layer: nn.Module) -> None:
    network = nn.Sequential(layer).eval()
    refuse_other_randomness(network, 8, given="")
    assert network[0] is layer
    assert not network.training


def depth(seeds: list[int], *, step: int = 0, layer: int = 0, **how: bool) -> Tensor:
    """What stochastic depth makes of ones [N, B, F, H, W], for p = 0.25."""
    clock = DropoutClock()
    clock.start(MemberKeys(torch.tensor(seeds)), step)
    options = {"by_image": True, "scaled": True, **how}
    drop = SeededDepth(0.25, layer=layer, clock=clock, **options)
    return unfold(drop(fold(torch.ones(len(seeds), 500, 6, 2, 2))), len(seeds))


def test_stochastic_depth_drops_whole_images() -> None:
    out = depth([3])[0]
    first = out[:, 0, 0, 0]
    assert torch.equal(out, first.reshape(-1, 1, 1, 1).expand_as(out))
    assert set(first.tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((first == 0).double().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 500)
    assert set(depth([3], scaled=False).unique().tolist()) == {0.0, 1.0}


def test_stochastic_depth_of_the_batch() -> None:
    out = depth([3], by_image=False)[0]
    assert torch.equal(out, out[0].expand_as(out))
    kept = [float(depth([3], step=step, by_image=False)[0, 0, 0, 0, 0]) for step in range(400)]
    assert abs(kept.count(0.0) / 400 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


def test_stochastic_depth_is_the_members_own() -> None:
    together = depth([5, 1, 5])
    for seed, out in zip([5, 1, 5], together, strict=True):
        assert torch.equal(out, depth([seed])[0])
    for other in (depth([6]), depth([5], step=1), depth([5], layer=1)):
        assert not torch.equal(other[0], together[0])


def test_torchvisions_stochastic_depth_is_replaced() -> None:
    from torchvision.ops import StochasticDepth

    network = nn.Sequential(nn.Dropout(0.1), StochasticDepth(0.2, "row"), nn.Dropout(0.3))
    network.append(StochasticDepth(0.4, "batch"))
    clock = seed_dropout(network)
    assert [layer.layer for layer in network] == [0, 1, 2, 3]
    assert [layer.p for layer in network] == [0.1, 0.2, 0.3, 0.4]
    assert [network[i].by_image for i in (1, 3)] == [True, False]
    clock.start(clock.keys, 3)
    torch.manual_seed(0)
    first = network.train()(torch.ones(4, 8))
    clock.start(clock.keys, 3)
    assert torch.equal(network(torch.ones(4, 8)), first)
    x = torch.ones(4, 8)
    assert network.eval()(x) is x


def test_timms_drop_path_is_replaced() -> None:
    class DropPath(nn.Module):  # by name and attributes, since timm is optional
        drop_prob: float | None = 0.3
        scale_by_keep = False

    network = nn.Sequential(DropPath())
    seed_dropout(network)
    (layer,) = network
    assert isinstance(layer, SeededDepth)
    assert (layer.p, layer.by_image, layer.scale) == (0.3, True, 1.0)
