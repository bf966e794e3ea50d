"""Estimates are right where the truth is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_folds import SETS, folds_of, scored_folds
from scipy import stats

from bonehpo.analysis.calibration import summarise_scan
from bonehpo.analysis.estimates import (
    N_EXACT,
    bootstrap_corrected,
    choices,
    choose_optimum,
    estimate,
    first_best,
    fold_arrays,
    mean,
    nested_accuracy,
    nested_estimate,
    trial_estimates,
)

tables = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).uniform(0.4, 1, (6, 5)))


any_scores = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 12, (6, 5, 5)) / 12)


@pytest.mark.parametrize("shared", [0.0, 0.5], ids=["luck-of-folds", "luck-of-fits"])
def test_of_equal_trials_the_best_flatters_itself_and_the_nested_estimate_does_not(shared):
    """50 equal configurations whose folds differ by luck, half of it shared by the two folds of a fit or none."""
    rng = np.random.default_rng(0)
    naive, nested, careless = [], [], []
    for _ in range(100):
        fit = np.triu(rng.normal(0, 1, (50, 5, 5)), 1)
        luck = np.sqrt(shared) * (fit + fit.transpose(0, 2, 1)) + np.sqrt(1 - shared) * rng.normal(0, 1, (50, 5, 5))
        specimen = rng.normal(0, 1, 5)
        arrays = fold_arrays(scored_folds(specimen[:, None] + 0.3 * luck))
        naive.append(np.nanmean(arrays.test, axis=(1, 2)).max() - specimen.mean())
        nested.append(nested_estimate(arrays).mean - specimen.mean())
        careless.append(nested_estimate(arrays, spare_fit=False).mean - specimen.mean())
    assert np.mean(naive) / 0.3 > 0.45
    assert abs(np.mean(nested)) / 0.3 < 0.1
    if shared:
        assert np.mean(careless) / 0.3 > 0.4  # the fit under test must not choose


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
    accuracy[1, 1:3] = 0.65
    found = nested_accuracy(folds_of(accuracy))
    assert (found.chosen["TB5"], found.n_agreed["TB5"]) == (1, 4)
    assert found.by_set["TB5"] == pytest.approx(0.6)


def test_the_trial_of_a_fold_is_chosen_without_its_fit():
    test = np.full((2, 5, 5), 0.6)
    test[1, 0, 1] = test[1, 1, 0] = 1.0  # one lucky network of trial 1, good on both sets that it never saw
    found = nested_accuracy(scored_folds(test))
    assert found.by_set["TB5"] == pytest.approx(0.6)
    assert (found.chosen["TB5"], found.n_agreed["TB5"]) == (1, 3)
    arrays = fold_arrays(scored_folds(test))
    assert nested_estimate(arrays, spare_fit=False).by_set["TB5"] == pytest.approx(0.7)
    assert choices(arrays)[0].tolist()[1:] == [0, 1, 1, 1]
    assert choices(arrays, spare_fit=False)[0].tolist()[1:] == [1, 1, 1, 1]


def test_with_three_sets_too_the_trial_of_a_fold_is_chosen_without_its_fit():
    test = np.full((2, 5, 5), 0.6)
    test[1, 0, 1] = test[1, 1, 0] = 1.0
    folds = scored_folds(test)
    folds = folds[folds["test"].isin(SETS[:3]) & folds["validation"].isin(SETS[:3])]
    assert nested_accuracy(folds).by_set == pytest.approx(dict.fromkeys(SETS[:3], 0.6))
    assert nested_estimate(fold_arrays(folds), spare_fit=False).by_set["TB5"] == pytest.approx(0.8)
    two = folds[folds["test"].isin(SETS[:2]) & folds["validation"].isin(SETS[:2])]  # no other fit is left to choose by
    assert nested_accuracy(two).by_set == {"TB5": 1, "TB6": 1}


def test_what_is_said_of_a_trial_is_of_its_own_folds():
    accuracy = np.array([[0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.4, 0.4, 0.4, 0.4], [0.3, 0.3, 0.3, 0.3, 0.3]])
    found = estimate(folds_of(accuracy), 0)
    assert (found.trial, found.n_folds) == (0, 20)
    assert found.apparent_score == pytest.approx(0.7)
    assert found.sd == pytest.approx(np.std(np.repeat(accuracy[0], 4), ddof=1))
    two, one = (trial_estimates(folds_of(accuracy[:1]).iloc[3 : 3 + n])[0] for n in (2, 1))  # of two sets, and of one
    assert two.sd == pytest.approx(np.std([accuracy[0][SETS.index(name)] for name in two.by_set], ddof=1))
    assert np.isnan(one.sd)


@settings(deadline=None, max_examples=20)
@given(scores=any_scores, seed=st.integers(0, 1000))
def test_the_order_of_folds_and_names_of_sets_do_not_matter(scores, seed):
    folds = scored_folds(scores)
    found = estimate(folds, 2)
    assert estimate(folds.sample(frac=1, random_state=seed), 2) == found
    names = dict(zip(SETS, np.random.default_rng(seed).permutation(SETS).tolist(), strict=True))
    renamed = estimate(folds.replace(names), 2)
    assert renamed.nested_score == pytest.approx(found.nested_score)
    assert renamed.nested_score_worse_end == pytest.approx(found.nested_score_worse_end)
    assert renamed.chosen_by_set == {names[name]: trial for name, trial in found.chosen_by_set.items()}
    for end in ("bootstrap_score", "bootstrap_score_worse_end", "bootstrap_score_better_end"):
        assert getattr(renamed, end) == pytest.approx(getattr(found, end))


def test_estimates_so_far_are_those_of_a_search_that_had_ended_there():
    folds = scored_folds(np.random.default_rng(4).uniform(0.4, 1, (6, 5, 5)))
    found = estimate(folds, choose_optimum(folds, "best", {}))
    assert [row.n_trials for row in found.so_far] == [1, 2, 3, 4, 5, 6]
    for row in found.so_far:
        first = folds[folds["trial"] < row.n_trials]
        assert row.nested_score == pytest.approx(nested_accuracy(first).mean)
        assert row.apparent_score == pytest.approx(max(e.mean for e in trial_estimates(first)))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_numbers_of_trials_do_not_matter_where_none_are_equal(seed):
    rng = np.random.default_rng(seed)
    folds = scored_folds(rng.uniform(0.4, 1, (6, 5, 5)))
    numbers = dict(enumerate((3 * rng.permutation(6)).tolist()))
    found, other = estimate(folds, 2), estimate(folds.assign(trial=folds["trial"].map(numbers)), numbers[2])
    assert other.nested_score_by_set == found.nested_score_by_set
    assert other.apparent_score == found.apparent_score
    assert other.bootstrap_score == pytest.approx(found.bootstrap_score)


@pytest.mark.parametrize("n_sets", [3, 5, N_EXACT + 2])
def test_perfect_data_has_perfect_estimates(n_sets):
    rows = [
        {"trial": k, "test": f"TB{i}", "validation": f"TB{j}", "test_score": score, "validation_score": score}
        for k, score in enumerate([0.5, 1.0, 1.0])
        for i in range(n_sets)
        for j in range(n_sets)
        if i != j
    ]
    found = estimate(pd.DataFrame(rows), 1)
    ends = (found.nested_score_worse_end, found.nested_score_better_end, found.nested_score_bound)
    bootstrap = (found.bootstrap_score, found.bootstrap_score_worse_end, found.bootstrap_score_better_end)
    assert (found.apparent_score, found.nested_score, found.gap) == (1, 1, 0)
    assert (*ends, *bootstrap) == pytest.approx((1,) * 6)
    assert set(found.chosen_by_set.values()) == {1}


def test_chance_data_have_estimates_at_chance_although_the_best_trial_is_above():
    """Slices are guessed: 50 trials, 40 slices of each set."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(40):
        folds = scored_folds(rng.binomial(40, 0.5, (50, 5, 5)) / 40)
        found.append(estimate(folds, choose_optimum(folds, "best", {})))
    assert np.mean([e.apparent_score for e in found]) > 0.53
    assert np.mean([e.nested_score for e in found]) == pytest.approx(0.5, abs=0.01)
    assert np.mean([e.bootstrap_score for e in found]) == pytest.approx(0.5, abs=0.01)
    covered = [e.nested_score_worse_end <= 0.5 <= e.nested_score_better_end for e in found]
    assert np.mean(covered) > 0.85


@settings(deadline=None, max_examples=5)
@given(accuracy=tables)
def test_the_bootstrap_is_that_of_many_random_draws(accuracy):
    found = bootstrap_corrected(accuracy)
    rng, scores = np.random.default_rng(0), []
    for _ in range(4000):
        drawn = rng.integers(0, 5, 5)
        left = np.setdiff1d(np.arange(5), drawn)
        if len(left):
            scores.append(accuracy[accuracy[:, drawn].mean(axis=1).argmax(), left].mean())
    assert found.mean == pytest.approx(np.mean(scores), abs=0.012)
    assert found.lower <= found.mean <= found.upper
    assert accuracy.min() <= found.lower
    assert found.upper <= accuracy.max()


def test_names_of_many_sets_do_not_matter_to_random_draws():
    rng = np.random.default_rng(3)
    table = rng.uniform(0.4, 1, (6, N_EXACT + 2))
    assert bootstrap_corrected(table[:, rng.permutation(N_EXACT + 2)]) == pytest.approx(bootstrap_corrected(table))


def test_one_trial_has_nothing_to_be_corrected():
    table = np.array([[0.5, 0.6, 0.7, 0.8, 0.9]])
    assert bootstrap_corrected(table).mean == pytest.approx(0.7)
    eight = np.random.default_rng(0).uniform(0.4, 1, (1, 8))  # still by every draw, none of them random
    assert bootstrap_corrected(eight).mean == pytest.approx(eight.mean())
    assert bootstrap_corrected(np.vstack([table, np.full(5, np.nan)])) == bootstrap_corrected(table)
    assert np.isnan(bootstrap_corrected(table[:, :1]).mean)


@settings(deadline=None, max_examples=5)
@given(accuracy=tables)
def test_the_bootstrap_goes_through_every_draw(accuracy):
    draws = [np.bincount(draw, minlength=5) for draw in product(range(5), repeat=5)]
    scores = [accuracy[(accuracy @ n).argmax(), n == 0].mean() for n in draws if (n == 0).any()]
    ends = np.quantile(scores, (0.025, 0.975), method="inverted_cdf")
    assert bootstrap_corrected(accuracy) == pytest.approx((np.mean(scores), *ends))


def test_the_bootstrap_over_two_sets_chooses_on_one_and_scores_on_the_other():
    found = bootstrap_corrected(np.array([[0.9, 0.5], [0.6, 0.8]]))
    assert found == pytest.approx((0.55, 0.5, 0.6))


def test_the_interval_of_the_nested_score_is_students_over_sets():
    folds = folds_of(np.array([[0.5, 0.6, 0.7, 0.8, 0.9]]))
    found = estimate(folds, 0)
    expected = stats.t.interval(0.95, 4, loc=0.7, scale=stats.sem([0.5, 0.6, 0.7, 0.8, 0.9]))
    assert (found.nested_score_worse_end, found.nested_score_better_end) == pytest.approx(expected)


@settings(deadline=None, max_examples=20)
@given(accuracy=tables)
def test_with_a_fixed_number_of_epochs_the_objective_is_the_paper_accuracy(accuracy):
    for found in trial_estimates(folds_of(accuracy)):
        assert found.validation_mean == pytest.approx(found.mean)


@settings(deadline=None, max_examples=20)
@given(accuracy=tables)
def test_the_nested_accuracy_never_beats_the_best_choice_for_each_set(accuracy):
    assert nested_accuracy(folds_of(accuracy)).mean <= accuracy.max(axis=0).mean() + 1e-12


def test_one_standard_error_takes_the_smallest_network_that_is_close():
    accuracy = np.array([[0.80, 0.84, 0.88, 0.92, 0.96], [0.79, 0.84, 0.88, 0.92, 0.96], [0.5, 0.5, 0.5, 0.5, 0.5]])
    folds, n_parameters = folds_of(accuracy), {0: 900, 1: 100, 2: 10}
    assert choose_optimum(folds, "best", n_parameters) == 0
    assert choose_optimum(folds, "one-se", n_parameters) == 1
    off = 0.01 * np.array([-2, -1, 0, 1, 2])  # of which the standard error is sqrt(0.00025 / 5) = 0.0071
    near = np.vstack([accuracy[0], accuracy[0] + off - 0.0072, accuracy[0] + off - 0.0070, accuracy[0] + off - 0.0069])
    folds = folds_of(near)
    assert choose_optimum(folds, "one-se", {0: 900, 1: 10, 2: 100, 3: 101}) == 2
    assert choose_optimum(folds, "one-se", {0: 900, 1: 10, 2: 100, 3: 100}) == 3  # of equal size the better
    always = np.vstack([accuracy[0], accuracy[0] - 0.01])
    assert choose_optimum(folds_of(always), "one-se", {0: 900, 1: 10}) == 0  # however much specimens differ


def test_the_baseline_is_the_optimum_where_it_is_asked_for_and_there():
    folds = folds_of(np.array([[0.9] * 5, [0.8] * 5]))
    assert choose_optimum(folds, "baseline", {}, 1) == 1
    assert choose_optimum(folds, "baseline", {}, None) == choose_optimum(folds, "baseline", {}, 7) == 0


def test_a_score_that_is_not_known_is_the_lowest_and_in_no_mean():
    scores = np.array([[np.nan, 0.2, np.nan], [0.1, 0.2 + 1e-12, np.nan]])
    assert first_best(scores).tolist() == [1, 0, 0]
    assert mean(scores, (0,)) == pytest.approx([0.1, 0.2, np.nan], nan_ok=True)


def test_a_trial_that_lacks_a_fold_is_not_complete_and_a_set_that_is_never_tested_has_no_choice():
    folds = folds_of(np.array([[0.9] * 5, [0.8] * 5, [0.7] * 5]))
    arrays = fold_arrays(folds.drop(index=folds.index[folds["trial"] == 1][0]))
    assert arrays.trials == (0, 1, 2)
    assert arrays.complete().trials == (0, 2)
    assert arrays.complete().by_set == pytest.approx(np.array([[0.9] * 5, [0.7] * 5]))
    found = nested_accuracy(folds[folds["test"] != "TB5"])
    assert found.by_set.keys() == found.chosen.keys() == found.n_agreed.keys() == set(SETS[1:])
    assert trial_estimates(folds[folds["test"] != "TB5"])[0].by_set.keys() == set(SETS[1:])


def test_of_equal_trials_the_earlier_is_the_optimum():
    same = folds_of(np.full((3, 5), 0.8))
    assert choose_optimum(same, "best", {}) == 0
    assert choose_optimum(same, "one-se", {0: 900, 1: 100, 2: 100}) == 1


def test_a_scan_is_judged_by_planes_that_weigh_the_same():
    p_failed = {"XY": np.array([0.9, 0.8], np.float32), "XZ": np.array([0.2, 0.1, 0.6, 0.1], np.float32)}
    found = summarise_scan(p_failed, {"XY": np.array([3.0, 9.0]), "XZ": np.arange(4.0)})
    assert [plane.verdict for plane in found.planes] == ["failed", "pristine"]
    assert [plane.share_failed for plane in found.planes] == [1.0, 0.25]
    assert found.mean == pytest.approx((0.85 + 0.25) / 2)
    assert found.verdict == "failed"
    assert list(found.slices.columns) == ["plane", "position", "p_pristine", "p_failed", "verdict"]
    assert len(found.slices) == 6
