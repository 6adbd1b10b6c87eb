import dataclasses
import math
import time

import numpy as np
import pytest
from scipy import stats

from kdsweep.bench.verdicts import World, simulate
from kdsweep.verdict import RaceDesign, forecast

RACE = RaceDesign.create(cells=25, seeds=3, rounds=4, axes=(5, 5))


def test_trainings():
    told = forecast(RACE, sd=0.8)
    assert (told.now, told.most) == (90, 342)
    low, high = told.usual
    assert 90 < low < 130 < high < 250


def test_one_round_costs_what_it_costs():
    told = forecast(RaceDesign.create(cells=5, seeds=5))
    assert told.now == told.most == told.usual[0] == told.usual[1] == 5 * 5 + 12


def test_the_effect_of_one_cell_in_one_round_is_that_of_welchs_test():
    design = RaceDesign.create(cells=1, seeds=10)
    n0 = design.baseline_seeds(1)
    assert n0 == 10
    effect = forecast(design).effect
    df, limit = 18, stats.t.isf(0.025, 18)
    assert stats.nct.sf(limit, df, effect / math.sqrt(0.2)) == pytest.approx(0.9, abs=0.015)


def test_the_effect_is_found_as_often_as_is_said():
    told = forecast(RACE, sd=0.8)
    assert told.effect_points == pytest.approx(0.8 * told.effect)
    truth = np.zeros(25)
    truth[::5] = told.effect_points
    found = simulate(RACE, World(), truth, maps=300, seed=9).better[:, ::5]
    assert found.mean() == pytest.approx(0.9, abs=0.03)


def test_the_usual_cost_is_of_nothing_to_much():
    told = forecast(RACE, sd=0.8)
    null = simulate(RACE, World(), 0.0, maps=500, seed=4).trainings
    assert (null < told.usual[0]).mean() == pytest.approx(0.1, abs=0.06)
    assert (null < told.usual[1]).mean() > 0.95


def test_more_seeds_find_less_and_cost_more():
    more = forecast(RaceDesign.create(cells=25, seeds=5, rounds=4))
    less = forecast(RaceDesign.create(cells=25, seeds=3, rounds=4))
    assert more.effect < less.effect
    assert more.usual[0] > less.usual[0]


def test_what_a_sd_changes():
    assert forecast(RACE).effect_points is None
    tight = forecast(RACE, sd=0.1)  # most cells are soon equivalent
    assert tight.usual[1] < forecast(RACE, sd=5.0).usual[1]


def test_an_effect_that_is_out_of_reach():
    strict = dataclasses.replace(RACE, cell_levels=(1e-300,) * 4)
    assert forecast(strict).effect == math.inf
    assert forecast(RaceDesign.create(cells=6, seeds=1)).effect == math.inf


def test_it_is_reproducible():
    assert forecast(RACE, sd=0.8) == forecast(RACE, sd=0.8)


@pytest.mark.parametrize("cells", [1, 25, 400])
def test_it_takes_no_time(cells):
    design = RaceDesign.create(cells=cells, seeds=3, rounds=4)
    start = time.process_time()
    told = forecast(design, sd=0.8)
    assert time.process_time() - start < 5.0  # half a second on an idle machine
    assert told.now < told.usual[1] <= told.most
