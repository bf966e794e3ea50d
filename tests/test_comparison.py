"""Networks are compared by specimen, with a p that can be trusted and an interval that covers."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bonehpo.analysis.comparison import N_EXACT, compare_by_set, mean_interval
from bonehpo.errors import StudyError

accuracies = st.floats(0, 1).map(lambda x: round(x, 3))
pairs = st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=8)


def scores_of(values):
    return {f"TB{i}": float(value) for i, value in enumerate(values)}


@settings(deadline=None, max_examples=40)
@given(pairs=pairs)
def test_swapping_the_networks_turns_the_sign_and_nothing_else(pairs):
    first, second = (scores_of(column) for column in zip(*pairs, strict=True))
    there, back = compare_by_set(first, second), compare_by_set(second, first)
    assert back.difference == pytest.approx(-there.difference, abs=1e-12)
    assert (back.lower, back.upper) == pytest.approx((-there.upper, -there.lower), abs=1e-12, nan_ok=True)
    assert back.p == there.p


@settings(deadline=None, max_examples=40)
@given(pairs=pairs, seed=st.integers(0, 999))
def test_names_and_order_of_sets_do_not_matter(pairs, seed):
    first, second = (scores_of(column) for column in zip(*pairs, strict=True))
    order = np.random.default_rng(seed).permutation(len(pairs))
    mixed = [scores_of([column[i] for i in order]) for column in zip(*pairs, strict=True)]
    assert compare_by_set(*mixed) == pytest.approx(compare_by_set(first, second), nan_ok=True)
    backwards = dict(reversed(second.items()))
    assert compare_by_set(first, backwards) == pytest.approx(compare_by_set(first, second), nan_ok=True)


@settings(deadline=None, max_examples=40)
@given(pairs=pairs)
def test_p_is_between_the_smallest_that_can_be_and_one(pairs):
    found = compare_by_set(*(scores_of(column) for column in zip(*pairs, strict=True)))
    assert 0 < found.smallest_p <= found.p <= 1
    assert found.smallest_p == 2 / 2**found.n_sets


@settings(deadline=None, max_examples=15)
@given(pairs=st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=7))
def test_p_agrees_with_the_exact_test_of_scipy(pairs):
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    assume(np.abs((first - second).sum()) > 1e-9)  # scipy counts sums that differ by rounding alone as different
    expected = stats.permutation_test(
        (first, second), lambda a, b: np.mean(np.round(a - b, 9)), permutation_type="samples", n_resamples=np.inf
    )
    assert compare_by_set(scores_of(first), scores_of(second)).p == pytest.approx(expected.pvalue)


def test_five_sets_that_all_agree_reach_the_smallest_p_and_no_less():
    found = compare_by_set(scores_of([0.9, 0.95, 0.99, 0.97, 1.0]), scores_of([0.8, 0.9, 0.9, 0.9, 0.6]))
    assert found.p == found.smallest_p == 0.0625
    assert found.difference == pytest.approx(0.142)
    assert found.n_sets == 5


def test_a_network_compared_with_itself_has_p_one():
    scores = scores_of([0.9, 0.8, 0.7])
    assert compare_by_set(scores, scores) == (0, 0, 0, 1, 0.25, 3)


def test_one_set_says_nothing():
    found = compare_by_set({"TB5": 1.0}, {"TB5": 0.5})
    assert found.p == found.smallest_p == 1
    assert np.isnan([found.lower, found.upper]).all()


def test_above_the_exact_number_of_sets_random_signs_say_nearly_the_same():
    rng = np.random.default_rng(3)
    differences = rng.normal(0.04, 0.1, N_EXACT + 4)
    found = compare_by_set(scores_of(differences), scores_of(0 * differences))
    assert found == compare_by_set(scores_of(differences), scores_of(0 * differences))
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert found.smallest_p == 1e-4
    sure = compare_by_set(scores_of(np.ones(30)), scores_of(np.zeros(30)))
    assert sure.p == sure.smallest_p


def test_of_equal_networks_no_more_than_one_in_ten_has_p_below_a_tenth():
    rng = np.random.default_rng(0)
    ps = np.array(
        [compare_by_set(scores_of(rng.normal(0, 1, 6)), scores_of(rng.normal(0, 1, 6))).p for _ in range(1000)]
    )
    assert 0.07 < (ps <= 0.1).mean() < 0.115  # exactly 6 / 64 are possible


def test_the_interval_is_students_and_covers():
    values = np.array([0.8, 0.9, 1.0])
    expected = stats.t.interval(0.95, 2, loc=0.9, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(0.3, 1, 5)) for _ in range(2000)]
    assert np.mean([i.lower <= 0.3 <= i.upper for i in intervals]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"TB5": 1.0, "TB6": 1.0}, {"TB5": 1.0}, "one lacks TB6"),
        ({}, {}, "one lacks all sets"),
        ({"TB5": np.nan}, {"TB5": 1.0}, "test set TB5 is no finite number"),
    ],
)
def test_scores_that_cannot_be_paired_are_refused(first, second, reason):
    with pytest.raises(StudyError, match=reason):
        compare_by_set(first, second)
