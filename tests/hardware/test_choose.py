from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kdsweep.config import TrainConfig
from kdsweep.errors import UserError
from kdsweep.hardware.choose import (
    Hardware,
    Machine,
    batch_of_cells,
    choose_hardware,
    configure,
    this_machine,
)

CPU = Machine(cores=4, gpus=0)
GPU = Machine(cores=4, gpus=2)


def chosen(machine: Machine, **train: object) -> Hardware:
    return choose_hardware(TrainConfig(**train), machine)


def test_auto_on_a_cpu() -> None:
    hardware = chosen(CPU)
    assert (hardware.device.type, hardware.precision, hardware.dtype) == (
        "cpu", "float32", torch.float32
    )  # fmt: skip
    assert (hardware.channels_last, hardware.grouped) == (True, False)
    assert (hardware.workers, hardware.threads) == (4, 4)
    assert chosen(CPU, threads=3).workers == 3
    assert chosen(CPU, fuse="loop").workers == 1
    assert chosen(CPU, fuse="grouped").grouped


def test_auto_on_a_gpu() -> None:
    hardware = chosen(GPU)
    assert (hardware.device.type, hardware.precision) == ("cuda", "bf16")
    assert (hardware.channels_last, hardware.grouped, hardware.workers) == (False, True, 1)
    assert chosen(GPU, device="cpu").device.type == "cpu"


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16", "float64"])
def test_a_precision_is_what_it_is_called(precision: str) -> None:
    hardware = chosen(GPU, precision=precision)
    assert hardware.precision == precision
    assert (hardware.tf32, hardware.bf16) == (precision == "tf32", precision == "bf16")
    assert (hardware.dtype == torch.float64) == (precision == "float64")


@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_memory_format_that_was_asked_for_is_had(machine: Machine, wanted: bool) -> None:
    hardware = chosen(machine, channels_last=wanted)
    images = hardware.layout(torch.zeros(2, 3, 4, 4))
    assert images.is_contiguous(memory_format=torch.channels_last) == wanted


@pytest.mark.parametrize(
    ("machine", "train", "line"),
    [
        (CPU, {"device": "cuda"}, "train.device=cuda: this machine has no usable GPU"),
        (GPU, {"device": "cuda:2"}, "train.device=cuda:2: allowed is cuda:0 to cuda:1 here"),
        (GPU, {"fuse": "workers"}, "train.fuse=workers: allowed on a CPU"),
        (CPU, {"precision": "tf32"}, "train.precision=tf32: allowed on a GPU"),
    ],
)
def test_what_a_machine_does_not_have_is_refused(
    machine: Machine, train: dict[str, str], line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        chosen(machine, **train)
    assert "\n" not in str(caught.value)


def test_choosing_changes_nothing_and_configuring_does() -> None:
    before = torch.get_num_threads()
    other = Machine(cores=before + 1, gpus=0)
    hardware = choose_hardware(TrainConfig(), other)
    assert torch.get_num_threads() == before
    try:
        configure(hardware)
        assert torch.get_num_threads() == before + 1
        assert hardware.describe() == f"cpu ({before + 1} threads)"
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def _backends() -> Iterator[None]:
    """Torch's switches, put back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.mark.usefixtures("_backends")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_float32_on_a_gpu_is_float32(precision: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "tf32"
    configure(chosen(GPU, precision=precision))
    assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
    assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")


@pytest.mark.parametrize(
    ("cores", "seeds", "on_gpu", "cells"),
    [
        (1, 1, False, 6),
        (64, 1, False, 128),
        (64, 3, False, 43),
        (8, 20, False, 6),
        (2, 1, True, 100),
    ],
)
def test_a_batch_fills_the_machine(cores: int, seeds: int, on_gpu: bool, cells: int) -> None:
    assert batch_of_cells(cores, seeds, on_gpu=on_gpu) == cells


def test_this_machine_has_a_core() -> None:
    assert this_machine().cores >= 1


def test_threads_are_bounded_by_the_cores() -> None:
    machine = Machine(cores=2, gpus=0)
    assert choose_hardware(TrainConfig(device="cpu", threads=8), machine).threads == 8
    with pytest.raises(UserError, match=r"^train.threads=9: allowed is 1 to 8 on this machine"):
        choose_hardware(TrainConfig(device="cpu", threads=9), machine)
