"""What verdicts promise, by simulation; ``python -m kdsweep.bench.verdicts`` has the figures."""

import math

import numpy as np
import pytest

from kdsweep.bench.verdicts import README, SD, WORLDS, World, main, planned, simulate, undropped
from kdsweep.errors import UserError


def most(level, maps):
    """The share of maps that a true share of level exceeds once in a thousand."""
    return level + 3.1 * math.sqrt(level * (1 - level) / maps)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("axes", "maps"), [((2,), 2000), ((5,), 1500), ((5, 5), 400)])
def test_family_wise_error(world, axes, maps):
    for design in (undropped(planned(axes)), planned(axes, rounds=1)):
        assert simulate(design, WORLDS[world], maps=maps).missed.mean() < most(0.055, maps)


def test_the_error_is_of_the_level_and_not_far_below():
    wide = simulate(undropped(planned((5,))), World(), maps=3000).missed.mean()
    assert wide > 0.025


def test_intervals_hold_the_truth_where_cells_differ():
    found = simulate(planned((5, 5)), World(), README, maps=400)
    assert found.missed.mean() < most(0.055, 400)


def test_25_cells_one_of_them_better():
    truth = np.zeros(25)
    truth[7] = 1.5
    found = simulate(planned((5, 5)), World(), truth, maps=800)
    assert found.better[:, 7].mean() > 0.85  # .888 of 10,000 maps
    assert found.trainings.mean() < 134  # 131


def test_the_readmes_map():
    measured = World(cells=0.6 / SD, baseline=1.0 / SD)
    found = simulate(planned((5, 5)), measured, README, maps=300)
    assert found.better.sum(axis=1).mean() > 16.5  # 17.5 of 10,000 maps
    assert found.trainings.mean() < 184  # 180
    assert not found.worse.any()


def test_5_cells_one_of_them_better():
    truth = np.array([1.0, 0, 0, 0, 0])
    found = simulate(planned((5,)), World(), truth, maps=2500)
    assert found.better[:, 0].mean() > 0.57  # .602 of 30,000 maps
    assert found.trainings.mean() < 47.5  # 46.4


def test_a_race_finds_more_than_one_round_of_the_same_price():
    truth = np.zeros(25)
    truth[0] = 1.5
    race = simulate(planned((5, 5)), World(), truth, maps=300)
    single = simulate(planned((5, 5), rounds=1, seeds=5), World(), truth, maps=300)
    assert single.trainings.mean() > race.trainings.mean()
    assert race.better[:, 0].mean() > single.better[:, 0].mean() + 0.2


def test_averages_find_what_no_cell_shows():
    truth = np.full(25, 0.8)
    found = simulate(planned((5, 5), rounds=1), World(), truth, maps=300)
    assert found.better.mean() < 0.1
    assert (found.averages[:, -1] == 1).mean() > 0.3


def test_the_share_of_a_seed_in_the_variance_is_what_was_asked_for():
    scores, baselines = World(shared=0.6, first=3.0).draw(
        np.random.default_rng(0), 4000, planned((3,))
    )
    one = scores[:, :, 0].T
    correlation = np.corrcoef(one)
    np.testing.assert_allclose(correlation[np.triu_indices(3, 1)], 0.6, atol=0.05)
    np.testing.assert_allclose(one.std(axis=1), SD * np.array([3.0, 1.0, 1.0]), rtol=0.05)
    assert abs(np.corrcoef(one[1], baselines[:, 0, 0])[0, 1]) < 0.06
    tails = World(tails=5.0).draw(np.random.default_rng(0), 4000, planned((3,)))[0]
    assert tails.std() == pytest.approx(SD, rel=0.05)


def test_the_command_prints_its_tables(capsys):
    main(["maps=4"])
    text = capsys.readouterr().out
    assert text.count("| cells share seeds, r") == 3
    assert "| README | 4 |" in text
    assert "one at +1.5" in text
    with pytest.raises(UserError, match="maps=N"):
        main(["map=4"])
