import json
import math

import numpy as np
import pytest

from kdsweep.verdict import RaceDesign, Slice, baseline_seeds
from kdsweep.verdict.design import slices
from kdsweep.verdict.spending import round_levels


@pytest.mark.parametrize(
    ("n", "cells", "expected"),
    [(3, 25, 15), (3, 5, 7), (3, 1, 3), (5, 5, 12), (20, 3, 35), (3, 125, 34), (4, 16, 16)],
)
def test_baseline_seeds(n, cells, expected):
    assert baseline_seeds(n, cells) == expected


@pytest.mark.parametrize("cells", [4, 25, 100])
def test_baseline_seeds_make_the_error_least_for_what_they_cost(cells):
    def variance(n0, trainings=10_000):
        return cells / (trainings - n0) + 1 / n0

    n = 10_000 / (cells + math.sqrt(cells))
    best = baseline_seeds(round(n), cells)
    assert variance(best) <= min(variance(0.8 * best), variance(1.2 * best))


def test_the_default_race_of_25_cells():
    design = RaceDesign.create(cells=25, seeds=3, rounds=4, axes=(5, 5))
    assert design.seeds == (3, 6, 9, 12)
    assert design.baselines == (15, 24, 33, 42)
    assert [design.cell_seeds(r) for r in (1, 4)] == [3, 12]
    assert [design.baseline_seeds(r) for r in (1, 4)] == [15, 42]
    assert (design.trainings(1), design.trainings(4)) == (90, 342)
    assert (design.rounds, design.margin, design.futility) == (4, 0.5, 1.5)
    assert design.cell_levels == pytest.approx((2.7775e-4, 3.941e-4, 5.767e-4, 8.378e-4), rel=1e-3)


def test_few_cells_are_dropped_later():
    assert RaceDesign.create(cells=10, seeds=3).futility == 1.0
    assert RaceDesign.create(cells=11, seeds=3).futility == 1.5
    assert RaceDesign.create(cells=11, seeds=3, futility=0.3).futility == 0.3


def test_a_single_look_without_averages_is_sidaks():
    design = RaceDesign.create(cells=7, seeds=3, level=0.9)
    assert 1 - (1 - design.cell_levels[0]) ** 7 == pytest.approx(0.1)


def test_cells_and_averages_have_the_error_together():
    design = RaceDesign.create(cells=25, seeds=3, axes=(5, 5), level=0.95)
    inside = (1 - design.cell_levels[0]) ** 25 * (1 - design.average_level) ** 11
    assert inside == pytest.approx(0.95)
    assert design.average_level == pytest.approx(0.5 * design.cell_levels[0], rel=1e-2)


def test_levels_of_the_rounds_are_those_of_the_cells_error():
    one = RaceDesign.create(cells=25, seeds=3)
    race = RaceDesign.create(cells=25, seeds=3, rounds=4)
    expected = round_levels(one.cell_levels[0], (0.25, 0.5, 0.75, 1.0))
    assert race.cell_levels == pytest.approx(expected)
    assert sorted(race.cell_levels) == list(race.cell_levels)


def test_places():
    assert slices(None) == ()
    assert slices((1, 1)) == ()
    assert slices((5,)) == (Slice(None, 0),)
    assert slices((1, 5)) == (Slice(None, 0),)
    assert slices((2, 3)) == (
        Slice(0, 0), Slice(0, 1), Slice(1, 0), Slice(1, 1), Slice(1, 2), Slice(None, 0)
    )  # fmt: skip
    assert len(slices((5, 5, 5))) == 16


def test_place_of_a_grid():
    grid = np.arange(6).reshape(2, 3)
    assert Slice(0, 1).of(grid).tolist() == [3, 4, 5]
    assert Slice(1, 2).of(grid).tolist() == [2, 5]
    assert Slice(None, 0).of(grid).sum() == 15


def test_several_baselines_are_for_their_own_cells():
    design = RaceDesign.create(cells=8, seeds=3, groups=(0, 0, 0, 0, 1, 1, 1, 1))
    assert design.baseline_count == 2
    assert design.baselines == (6,)
    assert design.trainings(1) == 8 * 3 + 2 * 6


def test_a_design_survives_json():
    design = RaceDesign.create(cells=6, seeds=3, rounds=3, axes=(2, 3), groups=[0, 0, 0, 1, 1, 1])
    assert RaceDesign.from_dict(json.loads(json.dumps(design.to_dict()))) == design
    plain = RaceDesign.create(cells=6, seeds=2)
    assert RaceDesign.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


def test_what_is_no_design():
    with pytest.raises(AssertionError):
        RaceDesign.create(cells=6, seeds=1, rounds=2)
    with pytest.raises(AssertionError):
        RaceDesign.create(cells=6, seeds=3, axes=(2, 2))
    with pytest.raises(AssertionError):
        RaceDesign.create(cells=3, seeds=3, groups=(0, 2, 2))
