"""Estimates are right where the truth is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonehpo.analysis.estimates import choose_optimum, lower_bound, nested_accuracy, trial_estimates
from bonehpo.analysis.prediction import summarise_scan
from bonehpo.analysis.promotion import check_gate
from bonehpo.data.folds import nested_folds
from bonehpo.errors import PromotionRefused

SETS = ("TB5", "TB6", "TB9", "TB11", "TB12")


def folds_of(accuracy: np.ndarray) -> pd.DataFrame:
    """Folds of trials whose accuracy (trial, set) does not depend on the other held-out set."""
    index = {name: i for i, name in enumerate(SETS)}
    return pd.DataFrame(
        [
            {
                "trial": trial,
                "test": fold.test,
                "validation": fold.validation,
                "test_score": accuracy[trial, index[fold.test]],
                "validation_score": accuracy[trial, index[fold.validation]],
            }
            for trial in range(len(accuracy))
            for fold in nested_folds(SETS)
        ]
    )


tables = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).uniform(0.4, 1, (6, 5)))


def test_equal_trials_have_no_optimism_on_average_and_the_best_of_them_has():
    """50 equal configurations, standard deviation 0.3 per specimen: the best flatters itself, the nested estimate not."""
    rng = np.random.default_rng(0)
    naive, nested = [], []
    for _ in range(60):
        specimen = rng.normal(0, 1, 5)
        accuracy = specimen + rng.normal(0, 0.3, (50, 5))
        folds = folds_of(accuracy)
        naive.append(max(e.mean for e in trial_estimates(folds)) - specimen.mean())
        nested.append(nested_accuracy(folds).mean - specimen.mean())
    assert np.mean(naive) / 0.3 > 0.5
    assert abs(np.mean(nested)) / 0.3 < 0.15


def test_a_trial_that_is_best_everywhere_is_chosen_for_every_set():
    accuracy = np.full((3, 5), 0.7)
    accuracy[1] = [0.9, 0.8, 0.95, 0.85, 1.0]
    found = nested_accuracy(folds_of(accuracy))
    assert set(found.chosen.values()) == {1}
    assert found.mean == pytest.approx(0.9)
    assert found.by_set["TB12"] == 1.0


def test_the_trial_of_a_set_is_chosen_without_that_set():
    accuracy = np.full((2, 5), 0.6)
    accuracy[0, 0] = 1.0  # trial 0 is better on TB5 alone, and nothing else tells the two apart but TB6
    accuracy[1, 1] = 0.65
    found = nested_accuracy(folds_of(accuracy))
    assert found.chosen["TB5"] == 1
    assert found.by_set["TB5"] == pytest.approx(0.6)


@settings(deadline=None, max_examples=20)
@given(accuracy=tables, seed=st.integers(0, 1000))
def test_the_order_of_folds_and_names_of_sets_do_not_matter(accuracy, seed):
    folds = folds_of(accuracy)
    shuffled = folds.sample(frac=1, random_state=seed)
    assert nested_accuracy(shuffled) == nested_accuracy(folds)
    renamed = folds.replace(dict(zip(SETS, reversed(SETS), strict=True)))
    assert nested_accuracy(renamed).mean == pytest.approx(nested_accuracy(folds).mean)


@settings(deadline=None, max_examples=20)
@given(accuracy=tables)
def test_with_a_fixed_number_of_epochs_the_objective_is_the_paper_accuracy(accuracy):
    for found in trial_estimates(folds_of(accuracy)):
        assert found.validation_mean == pytest.approx(found.mean)


@settings(deadline=None, max_examples=20)
@given(accuracy=tables)
def test_the_nested_accuracy_never_beats_the_best_choice_for_each_set(accuracy):
    assert nested_accuracy(folds_of(accuracy)).mean <= accuracy.max(axis=0).mean() + 1e-12


def test_the_lower_bound_is_students():
    assert lower_bound(np.array([0.8, 0.9, 1.0])) == pytest.approx(0.9 - 2.91999 * 0.1 / np.sqrt(3), abs=1e-5)
    assert np.isnan(lower_bound(np.array([0.9])))


def test_one_standard_error_takes_the_smallest_network_that_is_close():
    accuracy = np.array([[0.80, 0.84, 0.88, 0.92, 0.96], [0.79, 0.84, 0.87, 0.92, 0.96], [0.5, 0.5, 0.5, 0.5, 0.5]])
    folds, n_parameters = folds_of(accuracy), {0: 900, 1: 100, 2: 10}
    assert choose_optimum(folds, "best", n_parameters) == 0
    assert choose_optimum(folds, "one-se", n_parameters) == 1


def test_of_equal_trials_the_earlier_is_the_optimum():
    assert choose_optimum(folds_of(np.full((3, 5), 0.8)), "best", {}) == 0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folds: folds.iloc[:-1], "trial 0 has 19 of 20 folds"),
        (lambda folds: folds.assign(test_score=folds["test_score"].where(folds.index != 3)), "no finite number"),
        (lambda folds: folds.assign(validation_score=np.inf), "no finite number"),
        (lambda folds: folds.assign(test_score=0.5), "does not beat chance"),
        (
            lambda folds: folds.assign(test_score=np.where(folds["test"] == "TB5", 0.0, 0.7)),
            r"does not beat chance: nested accuracy 0\.560",
        ),
    ],
)
def test_the_gate_refuses_and_says_why(spoil, reason):
    folds = folds_of(np.full((1, 5), 0.9))
    check_gate(folds, 0, 20)
    with pytest.raises(PromotionRefused, match=reason):
        check_gate(spoil(folds), 0, 20)


def test_a_scan_is_judged_by_planes_that_weigh_the_same():
    p_failed = {"XY": np.array([0.9, 0.8], np.float32), "XZ": np.array([0.2, 0.1, 0.6, 0.1], np.float32)}
    found = summarise_scan(p_failed, {"XY": np.array([3.0, 9.0]), "XZ": np.arange(4.0)})
    assert [plane.verdict for plane in found.planes] == ["failed", "pristine"]
    assert [plane.share_failed for plane in found.planes] == [1.0, 0.25]
    assert found.mean == pytest.approx((0.85 + 0.25) / 2)
    assert found.verdict == "failed"
    assert list(found.slices.columns) == ["plane", "position", "p_pristine", "p_failed", "verdict"]
    assert len(found.slices) == 6
