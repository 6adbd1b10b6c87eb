from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdsweep.config import ModelConfig
from kdsweep.evaluate import cost
from kdsweep.evaluate.cost import (
    Latency,
    compression,
    efficiency,
    flops_per_image,
    measure_latency,
    parameter_count,
    size_mib,
)
from kdsweep.models import create_model


class Counting(nn.Module):
    """A linear layer that notes how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 4 * 4, 10)
        self.calls: list[tuple[bool, bool, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled(), len(images)))
        logits: Tensor = self.linear(images.flatten(1))
        return logits


def test_parameters_and_size_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))
    learnt = (3 * 8 * 9 + 8) + 2 * 8 + (8 * 5 + 5)
    assert parameter_count(model) == learnt
    running = 2 * 8 * 4 + 8  # mean and variance in float32, the step counter in int64
    assert size_mib(model) == (4 * learnt + running) / 2**20


@pytest.mark.parametrize(
    ("name", "parameters", "mib"),
    [("cifar_teacher", 4_664_970, 17.81), ("cifar_student", 106_826, 0.41)],
)
def test_the_published_pair(name: str, parameters: int, mib: float) -> None:
    model = create_model(ModelConfig(name=name), classes=10, image_size=32)
    assert parameter_count(model) == parameters
    assert round(size_mib(model), 2) == mib


def test_size_follows_the_type_and_shared_tensors_count_once() -> None:
    first, second = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert parameter_count(model) == 256
    assert size_mib(model.double()) == 256 * 8 / 2**20


def test_flops_of_convolution_and_linear_in_closed_form() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 16 x 16 to 8 x 8
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
    )
    expected = 2 * (64 * 8 * 3 * 9 + 64 * 8 * 2 * 9 + 512 * 10)
    assert flops_per_image(model, torch.zeros(4, 3, 16, 16)) == expected
    assert flops_per_image(model, torch.zeros(1, 3, 16, 16)) == expected


def test_latency_calls_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Counting()
    # A clock by which the batches take 1, 2, ..., 20 ms.
    ticks = iter([t for ms in range(1, 21) for t in (10.0 * ms, 10.0 * ms + 1e-3 * ms)])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(ticks))
    got = measure_latency(model, torch.zeros(7, 3, 4, 4), warmup=4, batches=20)
    assert model.calls == [(False, False, 7)] * 24
    assert next(ticks, None) is None
    assert got.p50_ms == pytest.approx(10.5)
    assert got.p95_ms == pytest.approx(19.05)
    assert got.mean_ms == pytest.approx(10.5)
    assert (got.batch_size, got.batches, got.threads) == (7, 20, torch.get_num_threads())
    assert got.device == cost.device_name(torch.device("cpu")) != ""


def test_latency_by_default_and_by_the_real_clock() -> None:
    model = Counting()
    got = measure_latency(model, torch.zeros(1, 3, 4, 4))
    assert len(model.calls) == 110
    assert 0 < got.p50_ms <= got.p95_ms
    assert got.mean_ms > 0


def test_every_module_gets_its_own_mode_back() -> None:
    model = nn.Sequential(Counting(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(10)))
    model.train()
    model[1][1].eval()  # a frozen layer in a model that trains
    before = {name: module.training for name, module in model.named_modules()}
    running = model[1][1].running_mean.clone()
    assert flops_per_image(model, torch.ones(2, 3, 4, 4)) == 2 * 48 * 10
    measured = measure_latency(model, torch.ones(2, 3, 4, 4), warmup=1, batches=2)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(model[1][1].running_mean, running)
    assert measured.batch_size == 2


def test_metrics_carry_their_units() -> None:
    latency = Latency(
        p50_ms=2.0, p95_ms=3.0, mean_ms=2.5, batch_size=128, batches=100, device="cpu", threads=1
    )
    assert latency.metrics() == {
        "latency_ms_p50": 2.0,
        "latency_ms_p95": 3.0,
        "latency_ms_mean": 2.5,
        "latency_batch_size": 128,
        "latency_threads": 1,
    }


def test_compression_and_efficiency_of_the_published_pair() -> None:
    teacher = {"parameters": 4_664_970.0, "size_mib": 17.81, "latency_ms_p50": 111.29}
    student = {"parameters": 106_826.0, "size_mib": 0.41, "latency_ms_p50": 27.76}
    assert compression(teacher, student) == pytest.approx(
        {
            "compression_ratio_parameters": 43.669,
            "compression_ratio_size": 43.439,
            "compression_ratio_latency": 4.009,
        },
        rel=1e-4,
    )
    untimed = {k: v for k, v in student.items() if k != "latency_ms_p50"} | {"flops_per_image": 3}
    ratios = compression({**teacher, "flops_per_image": 9}, untimed)
    assert ratios["compression_ratio_flops"] == 3
    assert "compression_ratio_latency" not in ratios
    assert efficiency(83.13, teacher) == pytest.approx(0.041941, rel=1e-4)
    assert efficiency(72.70, student) == pytest.approx(6.3875, rel=1e-4)
