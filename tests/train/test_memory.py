from __future__ import annotations

import pytest

from kdsweep.train.memory import RESERVE, members_that_fit


@pytest.mark.parametrize(("one", "two", "n"), [(100, 150, 1), (100, 150, 7), (3, 5, 1000)])
def test_the_largest_population_that_fits_is_found(one: int, two: int, n: int) -> None:
    slope = two - one
    exactly = one + (n - 1) * slope
    free = exactly / (1 - RESERVE)
    assert members_that_fit(one, two, int(free) + 1) == n
    assert members_that_fit(one, two, int((exactly - 1) / (1 - RESERVE))) == max(n - 1, 1)


def test_one_member_is_always_tried() -> None:
    assert members_that_fit(1000, 2000, 10) == 1
