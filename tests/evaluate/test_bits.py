from __future__ import annotations

import numpy as np
import pytest
import torch

from kdsweep.errors import KdsweepError
from kdsweep.evaluate.bits import pack_correctness, unpack_correctness


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 5000])
def test_round_trip(n: int) -> None:
    answers = torch.rand(n, generator=torch.Generator().manual_seed(n)) < 0.7
    packed = pack_correctness(answers)
    assert len(packed) == 8 + -(-n // 8)
    assert np.array_equal(unpack_correctness(packed), answers.numpy())


def test_format_by_hand() -> None:
    answers = torch.tensor([True, False, False, False, False, False, True, True, True])
    assert pack_correctness(answers) == bytes([9, 0, 0, 0, 0, 0, 0, 0, 0b10000011, 0b10000000])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_damaged_file_is_refused(change: int) -> None:
    packed = pack_correctness(torch.ones(20, dtype=torch.bool)) + b"\0"
    with pytest.raises(KdsweepError, match="20 images take 11"):
        unpack_correctness(packed[: len(packed) - 1 + change])
