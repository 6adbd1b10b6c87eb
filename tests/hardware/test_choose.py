from __future__ import annotations

import pytest
import torch

from kdsweep.config import TrainConfig
from kdsweep.errors import UserError
from kdsweep.hardware import choose


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine of two cores; what torch's threads are set to."""
    threads: list[int] = []
    monkeypatch.setattr(choose, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    return threads


def test_threads_are_bounded_by_the_cores(two_cores: list[int]) -> None:
    choose.choose_hardware(TrainConfig(device="cpu", threads=8))
    choose.choose_hardware(TrainConfig(device="cpu"))
    assert two_cores == [8, 2]
    with pytest.raises(UserError, match=r"^train.threads=9: allowed is 1 to 8 on this machine"):
        choose.choose_hardware(TrainConfig(device="cpu", threads=9))
    assert two_cores == [8, 2]
