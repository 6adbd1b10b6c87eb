from __future__ import annotations

import numpy as np
import pytest

from kdsweep.sweeper.standing import trainings_at_most
from kdsweep.verdict import RaceDesign, judge

BASE = np.array([70.0, 71.0, 69.5, 70.2, 70.4, 69.9, 70.1, 70.6, 69.8, 70.3])
UP, SAME = BASE[:3] + 20, BASE[3:6] + 0.4


def test_cells_that_have_left_lower_what_may_come() -> None:
    design = RaceDesign.create(cells=3, seeds=3, rounds=4, axes=(3,))
    empty = np.array([])
    before = judge(design, [empty] * 3, [empty])
    assert trainings_at_most(design, before, 4) == design.trainings(4)
    first = BASE[: design.baseline_seeds(1)]
    after = judge(design, [UP, UP, SAME], [first])
    assert after.pending == (2,)
    expected = design.trainings(1) + 9 + design.baseline_seeds(4) - design.baseline_seeds(1)
    assert trainings_at_most(design, after, 4) == expected
    assert trainings_at_most(design, after, 1) == design.trainings(1)


def test_a_race_that_is_over_comes_to_what_was_trained() -> None:
    design = RaceDesign.create(cells=2, seeds=3, rounds=4, axes=(2,))
    over = judge(design, [UP, UP], [BASE[: design.baseline_seeds(1)]])
    assert over.finished
    assert trainings_at_most(design, over, 4) == over.trainings == design.trainings(1)
    with pytest.raises(IndexError):
        trainings_at_most(design, over, 9)
