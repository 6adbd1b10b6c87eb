"""Labels, which are whole numbers, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsweep.errors import UserError


def as_labels(values: Sequence[Any] | NDArray[Any], given: str) -> NDArray[np.int64]:
    """Whole numbers [n] as int64.

    Args:
        values: one label for each image.
        given: where they are from, to begin the error.

    Raises:
        UserError: some are of another type.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        example = f", such as {array.flat[:1].tolist()[0]!r}" if array.size else ""
        raise UserError(
            f"{given}: labels are {array.dtype}{example}; allowed are whole numbers, which count "
            "the classes up from 0"
        )
    return array.astype(np.int64)
