"""Which images were classified rightly, one bit each, for paired tests without retraining.

Format: n as 8 bytes, little-endian, then ``numpy.packbits`` of the n answers in the dataset's
order, the first in the highest bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.errors import KdsweepError

_HEADER = 8  # bytes


def pack_correctness(correct: Tensor) -> bytes:
    """One member's bool [n], on any device, as bytes."""
    assert correct.ndim == 1, correct.shape
    n = len(correct).to_bytes(_HEADER, "little")
    return n + np.packbits(correct.cpu().numpy()).tobytes()


def unpack_correctness(data: bytes) -> NDArray[np.bool_]:
    """The bool [n] that was packed.

    Raises:
        KdsweepError: the bytes are fewer or more than their n calls for.
    """
    n = int.from_bytes(data[:_HEADER], "little")
    expected = _HEADER + (n + 7) // 8
    if len(data) != expected:
        raise KdsweepError(
            f"correctness bits: {len(data)} bytes where {n} images take {expected}: "
            "the file is damaged; evaluate the run again"
        )
    packed = np.frombuffer(data, dtype=np.uint8, offset=_HEADER)
    return np.unpackbits(packed, count=n).astype(np.bool_)
