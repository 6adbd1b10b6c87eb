from __future__ import annotations

import logging

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from kdsweep.errors import UserError
from kdsweep.sweeper.axes import check_axes, distinct, refuse_categories


@pytest.mark.parametrize(
    "axis",
    ["study=a,b", "root=a,b", "storage=sqlite:///a,sqlite:///b", "trial=1,2",
     "tracking=local,none", "tracking.experiment=a,b", "search=tpe,random",
     "objective=accuracy,nll", "pruner=none,asha",
     "hydra.sweeper.n_trials=1,2", "hydra/launcher=fused,basic", "study=choice(a,b)",
     "trial=range(1,3)"],
)  # fmt: skip
def test_what_a_study_has_one_of_is_no_axis(axis: str) -> None:
    with pytest.raises(UserError) as caught:
        check_axes({}, ["train.epochs=1", axis], grid=True)
    assert str(caught.value).startswith(f"{axis}: is no axis of a sweep")
    key, _, values = axis.partition("=")
    with pytest.raises(UserError, match="is no axis of a sweep"):
        check_axes({key: values}, [], grid=True)
    check_axes({key: values}, [f"{key}=a"], grid=True)  # the command line wins


def test_the_first_seed_is_no_axis() -> None:
    with pytest.raises(UserError, match=r"^seed=1,2: is no axis of a sweep; seeds=3 trains every"):
        check_axes({}, ["seed=1,2"], grid=True)


def test_a_glob_is_no_axis() -> None:
    with pytest.raises(
        UserError, match=r"^distill.temperature=glob\(\*\): allowed is a list, suc"
    ):
        check_axes({}, ["distill.temperature=glob(*)"], grid=True)


def test_a_grid_has_its_limit() -> None:
    check_axes({}, ["a=range(0,1000)", "b=range(0,100)"], grid=True)
    with pytest.raises(UserError, match=r"^the grid has 100,100 cells; allowed are up to 100,000"):
        check_axes({"a": "range(0,1001)"}, ["b=range(0,10,0.1)"], grid=True)
    check_axes({"a": "range(0,1001)"}, ["b=range(0,10,0.1)"], grid=False)
    for axis in ("a=range(1,200000)", "a=shuffle(range(1,2000000000))", "a=range(0,1,0.000001)"):
        with pytest.raises(UserError, match=r": has .* values; allowed are up to 100,000: give"):
            check_axes({}, [axis], grid=False)
    check_axes({}, ["a=interval(0,1e9)", "b=1,2", "~c", "d=3"], grid=True)


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(UserError, match=r"^a=1,\[: can't be read as KEY=VALUES"):
        check_axes({"a": "1,["}, [], grid=True)


def test_equal_values_are_one_cell(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    axes: dict[str, BaseDistribution] = {
        "t": CategoricalDistribution((2, 1, 1.0, 2)),
        "flag": CategoricalDistribution((True, 1)),
        "a": FloatDistribution(0, 1),
    }
    kept = distinct(axes)
    assert kept == {**axes, "t": CategoricalDistribution((2, 1))}
    assert caplog.messages == ["t=2,1,1.0,2: equal values are one cell; what is left is 2,1"]


def test_samplers_of_intervals_take_no_categories() -> None:
    axes: dict[str, BaseDistribution] = {
        "n": IntDistribution(1, 3),
        "distill": CategoricalDistribution(("hinton", "dkd")),
    }
    for sampler in ("optuna.samplers.CmaEsSampler", "optuna.samplers.QMCSampler"):
        with pytest.raises(
            UserError, match=r"^distill=hinton,dkd: is a list, and (Cma|QMC)\w+ se"
        ):
            refuse_categories(sampler, axes)
        refuse_categories(sampler, {"n": axes["n"]})
    refuse_categories("optuna.samplers.TPESampler", axes)
