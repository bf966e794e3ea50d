"""Errors of predicted strain are right where they are known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonehpo.errors import StudyError
from bonehpo.results.strain import (
    constant_predictions,
    errors_by_configuration,
    errors_by_specimen,
    errors_by_state,
    regression_line,
)

SPECIMENS = ("TB5", "TB6", "TB11")
N_SLICES = 4


def table_of(predict, strain_of=lambda _, state: 2.0 * (state - 1)):
    """Slices of three specimens in three states, each specimen tested in two folds; `predict` of the true strain."""
    rows = [
        (specimen, validation, state, strain_of(specimen, state))
        for specimen in SPECIMENS
        for validation in SPECIMENS
        if validation != specimen
        for state in (1, 2, 3)
        for _ in range(N_SLICES)
    ]
    table = pd.DataFrame(rows, columns=["specimen", "validation", "state", "strain_percent"])
    return table.assign(test=table["specimen"], predicted_percent=predict(table["strain_percent"].to_numpy()))


def noisy(seed):
    rng = np.random.default_rng(seed)
    return table_of(lambda true: true + rng.normal(0, 1, len(true)), lambda s, state: state * (1 + len(s) / 7))


seeds = st.integers(0, 2**32 - 1)


def test_perfect_predictions_have_no_error():
    table = table_of(lambda true: true)
    assert (errors_by_state(table)["error_percent"] == 0).all()
    assert (errors_by_specimen(table)["error_percent"] == 0).all()
    assert errors_by_configuration(table)["error_percent"].iloc[0] == 0
    assert regression_line(table) == pytest.approx((1, 0, 6))


def test_predictions_that_are_off_by_one_percent_have_that_error_everywhere():
    table = table_of(lambda true: true + np.where(np.arange(len(true)) % 2, 1, -1))
    by_state, by_specimen = errors_by_state(table), errors_by_specimen(table)
    assert by_state["error_percent"].tolist() == pytest.approx([1, 1, 1])
    assert by_state["strain_percent"].tolist() == [0, 2, 4]
    assert by_state["n_slices"].tolist() == [6 * N_SLICES] * 3
    assert by_state["sd"].tolist() == pytest.approx([0, 0, 0])
    assert by_specimen["specimen"].tolist() == ["TB5", "TB6", "TB11"]
    assert by_specimen["error_percent"].tolist() == pytest.approx([1, 1, 1])
    assert by_specimen["n_folds"].tolist() == [2, 2, 2]
    assert errors_by_configuration(table)["error_percent"].iloc[0] == pytest.approx(1)


def test_the_constant_says_the_mean_strain_of_the_specimens_that_were_trained_on():
    table = table_of(lambda true: true, lambda specimen, state: {"TB5": 0.0, "TB6": 3.0, "TB11": 7.0}[specimen] + state)
    said = constant_predictions(table).groupby(["specimen", "validation"])["predicted_percent"].unique()
    assert said["TB5", "TB6"] == [9]
    assert said["TB6", "TB5"] == [9]
    assert said["TB6", "TB11"] == [2]
    errors = errors_by_configuration(table).set_index("configuration")
    # |mean of the third specimen − state strains of the tested one|, over the six folds
    assert errors.loc["mean of the training strains", "error_percent"] == pytest.approx((3 + 7 + 3 + 4 + 7 + 4) / 6)
    assert errors.loc["network", "error_percent"] == 0
    assert errors["n_folds"].tolist() == [6, 6]


def test_a_network_that_says_the_mean_is_as_good_as_the_constant_and_has_no_slope():
    table = table_of(lambda true: np.full(len(true), 2.0))
    configurations = errors_by_configuration(table)
    assert configurations["error_percent"].iloc[0] == pytest.approx(configurations["error_percent"].iloc[1])
    assert regression_line(table) == pytest.approx((0, 2, 6))


def test_chance_is_no_better_than_the_constant():
    rng = np.random.default_rng(0)
    configurations = errors_by_configuration(table_of(rng.permutation))
    assert configurations["error_percent"].iloc[0] > configurations["error_percent"].iloc[1]


def test_each_fold_weighs_the_same_however_many_slices_it_has():
    table = table_of(lambda true: true + 1)
    heavy = pd.concat(
        [table, *[table[table["specimen"] == "TB5"].assign(predicted_percent=lambda t: t["strain_percent"])] * 3]
    )
    fold_error = 1 / 4  # of TB5: one slice in four is off by 1
    assert errors_by_configuration(heavy)["error_percent"].iloc[0] == pytest.approx((2 * fold_error + 4) / 6)
    assert errors_by_state(heavy)["error_percent"].tolist() == pytest.approx([(2 * fold_error + 4) / 6] * 3)


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_the_order_of_slices_does_not_matter(seed):
    table = noisy(seed)
    shuffled = table.sample(frac=1, random_state=seed % 1000)
    for errors in (errors_by_state, errors_by_specimen, errors_by_configuration):
        pd.testing.assert_frame_equal(errors(shuffled), errors(table))
    assert regression_line(shuffled) == pytest.approx(regression_line(table))


@settings(deadline=None, max_examples=15)
@given(seed=seeds, slope=st.floats(-2, 2), intercept=st.floats(-5, 5))
def test_a_straight_line_is_found_and_unequal_specimens_do_not_hide_it(seed, slope, intercept):
    table = noisy(seed)
    table["predicted_percent"] = slope * table["strain_percent"] + intercept
    assert regression_line(table) == pytest.approx((slope, intercept, 6), abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_where_all_folds_have_the_same_slices_the_overall_error_is_the_mean_over_states_and_over_specimens(seed):
    table = noisy(seed)
    overall = errors_by_configuration(table)["error_percent"].iloc[0]
    assert errors_by_state(table)["error_percent"].mean() == pytest.approx(overall)
    assert errors_by_specimen(table)["error_percent"].mean() == pytest.approx(overall)


def test_one_strain_has_no_line_and_two_specimens_no_constant():
    table = table_of(lambda true: true)
    assert regression_line(table[table["state"] == 2])[2] == 0
    assert np.isnan(regression_line(table[table["state"] == 2]).slope)
    two = table[table["specimen"].isin(["TB5", "TB6"]) & table["validation"].isin(["TB5", "TB6"])]
    with pytest.raises(StudyError, match="test TB5, validation TB6: no third specimen"):
        errors_by_configuration(two)


def test_one_fold_has_an_error_and_no_standard_deviation():
    table = table_of(lambda true: true + 1)
    one = table[(table["specimen"] == "TB5") & (table["validation"] == "TB6")]
    for found in (errors_by_state(one), errors_by_specimen(one)):
        assert found["error_percent"].tolist() == pytest.approx([1] * len(found))
        assert found["sd"].isna().all()
