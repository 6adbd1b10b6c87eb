from __future__ import annotations

import pytest
import torch

from kdsweep.train.memory import RESERVE, measure_fit, members_that_fit


@pytest.mark.parametrize(("one", "two", "n"), [(100, 150, 1), (100, 150, 7), (3, 5, 1000)])
def test_the_largest_population_that_fits_is_found(one: int, two: int, n: int) -> None:
    slope = two - one
    exactly = one + (n - 1) * slope
    free = exactly / (1 - RESERVE)
    assert members_that_fit(one, two, int(free) + 1) == n
    assert members_that_fit(one, two, int((exactly - 1) / (1 - RESERVE))) == max(n - 1, 1)


def test_one_member_is_always_tried() -> None:
    assert members_that_fit(1000, 2000, 10) == 1


class Gpu:
    """The part of torch.cuda that is asked, of a device that holds so many members."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.peak = 0

    def step(self, members: int) -> None:
        if members > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = 20 + 10 * members

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.peak)
        free = round((20 + 10 * self.holds) / (1 - RESERVE)) + 1
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))


@pytest.mark.parametrize(("holds", "fit"), [(7, 7), (2, 2), (1, 1), (0, 1)])
def test_what_fits_is_measured_even_where_two_do_not(
    holds: int, fit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(holds)
    gpu.install(monkeypatch)
    assert measure_fit(gpu.step, torch.device("cuda")) == fit
