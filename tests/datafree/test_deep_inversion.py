from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.config import InversionConfig
from kdsweep.datafree.deep_inversion import (
    distances,
    draw_labels,
    dream,
    inversion_loss,
    normalised_layers,
    statistics_distance,
    total_variation,
)
from tests.losses.toy import f64
from tests.train.setting import CLASSES, SIZE, Net

CONFIG = InversionConfig(images=12, batch_size=6, iterations=40, lr=0.1, bn_weight=1.0)
LIMITS = (torch.full((3, 1, 1), -2.0).double(), torch.full((3, 1, 1), 2.5).double())


def teacher() -> Net:
    """Random parameters, and running statistics of noise."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Net(6).double().requires_grad_(False)
        for _ in range(30):
            net(torch.randn(32, 3, SIZE, SIZE).double())
    return net.eval()


def dreamt(config: InversionConfig = CONFIG, *, batch: int = 0, net: Net | None = None) -> Tensor:
    net = net or teacher()
    labels = draw_labels(config, CLASSES, torch.device("cpu"))[:6]
    return dream(
        net, net, labels, config, batch=batch, image_size=SIZE, limits=LIMITS, step=lambda: None
    )


def test_the_statistics_distance_by_hand() -> None:
    x = f64([[[0.0], [1.0]], [[4.0], [1.0]]]).permute(0, 1, 2)  # channel 0: 0, 4; channel 1: 1, 1
    assert float(statistics_distance(x, f64([2.0, 1.0]), f64([4.0, 0.0]))) == 0
    off = statistics_distance(x, f64([-1.0, 5.0]), f64([1.0, 4.0]))
    assert float(off) == pytest.approx(math.hypot(3, 4) + math.hypot(3, 4), rel=1e-14)


def test_a_batch_with_the_running_statistics_is_at_no_distance() -> None:
    net, images = teacher(), torch.randn(9, 3, SIZE, SIZE).double()
    with distances(net) as away:
        net(images)
    assert len(away) == 2
    assert all(float(value) > 0.01 for value in away)
    seen: list[Tensor] = []
    for layer in normalised_layers(net):  # shallow to deep: each sees what the last one left
        with torch.no_grad():
            handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
            net(images)
            handle.remove()
            assert layer.running_mean is not None
            assert layer.running_var is not None
            variance, mean = torch.var_mean(seen[-1], (0, 2, 3), correction=0)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
    with distances(net) as none:
        net(images)
    assert all(float(value) < 1e-12 for value in none)


def test_total_variation_by_hand() -> None:
    image = f64([[0.0, 1.0], [2.0, 4.0]])[None, None]
    expected = math.hypot(1, 2) + math.hypot(2, 3) + 4 + 1
    assert float(total_variation(image)) == pytest.approx(expected, rel=1e-14)
    assert float(total_variation(torch.ones(2, 3, 4, 4).double())) == 0


def test_the_loss_is_the_sum_of_its_parts() -> None:
    net, images = teacher(), torch.randn(6, 3, SIZE, SIZE).double()
    labels = torch.arange(6) % CLASSES
    config = dataclasses.replace(CONFIG, bn_weight=3.0, tv_weight=0.2, l2_weight=0.1)
    with distances(net) as each:
        expected = F.cross_entropy(net(images), labels)
    expected = expected + 3 * (each[0] + each[1]) + 0.2 * total_variation(images)
    expected = expected + 0.1 * images.square().sum().sqrt()
    torch.testing.assert_close(inversion_loss(net, net, images, labels, config), expected)


def test_gradients_match_finite_differences() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten())
        net = net.double().eval().requires_grad_(False)
        images = torch.randn(3, 3, 4, 4).double().requires_grad_()
    config = dataclasses.replace(CONFIG, tv_weight=0.2, l2_weight=0.1)
    labels = torch.tensor([0, 3, 7])
    assert torch.autograd.gradcheck(
        lambda x: inversion_loss(net, net, x, labels, config), images, fast_mode=True
    )


def test_dreams_raise_the_teachers_confidence_in_their_targets() -> None:
    net, config = teacher(), dataclasses.replace(CONFIG, bn_weight=0.1)
    labels = draw_labels(CONFIG, CLASSES, torch.device("cpu"))[:6]
    place = torch.arange(6)
    noise = dreamt(dataclasses.replace(config, iterations=1, lr=1e-9), net=net)
    sure = [net(x).softmax(-1)[place, labels] for x in (noise, dreamt(config, net=net))]
    assert (sure[1] > sure[0] + 0.05).all()


def test_dreams_come_near_the_running_statistics() -> None:
    net = teacher()
    config = dataclasses.replace(CONFIG, bn_weight=10.0)
    away = []
    for images in (dreamt(dataclasses.replace(config, iterations=1, lr=1e-9)), dreamt(config)):
        with distances(net) as each:
            net(images)
        away.append(float(torch.stack(each).sum()))
    assert away[1] < 0.7 * away[0]


def test_dreams_are_a_function_of_seed_and_batch() -> None:
    first = dreamt()
    torch.manual_seed(99)
    assert torch.equal(first, dreamt())
    assert not torch.equal(first, dreamt(batch=1))
    assert not torch.equal(first, dreamt(dataclasses.replace(CONFIG, seed=1)))
    assert not torch.equal(first, dreamt(dataclasses.replace(CONFIG, jitter=0)))


def test_dreams_stay_within_the_limits() -> None:
    images = dreamt(dataclasses.replace(CONFIG, lr=5.0))
    assert float(images.min()) == -2.0
    assert float(images.max()) == 2.5


def test_targets_are_drawn_and_each_class_is_as_frequent() -> None:
    device = torch.device("cpu")
    labels = draw_labels(dataclasses.replace(CONFIG, images=100), 7, device)
    assert set(labels.bincount().tolist()) == {14, 15}
    assert labels.tolist() != sorted(labels.tolist())
    other = draw_labels(dataclasses.replace(CONFIG, images=100, seed=1), 7, device)
    assert not torch.equal(labels, other)
