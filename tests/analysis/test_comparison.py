"""Networks are compared by specimen, with a p that can be trusted and an interval that covers."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bonehpo.analysis.comparison import (
    N_EXACT,
    compare_by_set,
    compare_folds,
    corrected_resampled_t,
)
from bonehpo.domain import FoldScores
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


def test_twenty_sets_are_gone_through_exactly_and_twenty_one_are_drawn():
    exact, drawn = (compare_by_set(scores_of(np.ones(n)), scores_of(np.zeros(n))) for n in (20, 21))
    assert exact.p == exact.smallest_p == 2 / 2**20
    assert drawn.p == drawn.smallest_p == 1 / 10_000
    assert compare_by_set(scores_of(np.ones(21)), scores_of(np.ones(21))).p == 1


def test_of_equal_networks_no_more_than_one_in_ten_has_p_below_a_tenth():
    rng = np.random.default_rng(0)
    ps = np.array(
        [compare_by_set(scores_of(rng.normal(0, 1, 6)), scores_of(rng.normal(0, 1, 6))).p for _ in range(1000)]
    )
    assert 0.07 < (ps <= 0.1).mean() < 0.115  # exactly 6 / 64 are possible


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


differences = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=20).map(np.array)


@settings(deadline=None, max_examples=40)
@given(values=differences, seed=st.integers(0, 999))
def test_the_corrected_t_is_antisymmetric_and_blind_to_order(values, seed):
    found = corrected_resampled_t(values, 3, 1)
    assert corrected_resampled_t(np.random.default_rng(seed).permutation(values), 3, 1) == pytest.approx(
        found, abs=1e-9
    )
    back = corrected_resampled_t(-values, 3, 1)
    assert (back.t, back.p) == pytest.approx((-found.t, found.p), abs=1e-9)
    assert 0 <= found.p <= 1


@settings(deadline=None, max_examples=40)
@given(values=differences)
def test_without_overlap_the_corrected_t_is_students_and_with_it_more_careful(values):
    assume(np.ptp(values) > 0)
    plain = stats.ttest_1samp(values, 0)
    assert corrected_resampled_t(values, 3, 0)[1:3] == pytest.approx((plain.statistic, plain.pvalue), abs=1e-9)
    assert corrected_resampled_t(values, 3, 1).p >= plain.pvalue - 1e-9


def test_the_corrected_t_of_known_numbers():
    found = corrected_resampled_t(np.array([0.1, 0.3]), n_train=3, n_test=1)
    assert found.t == pytest.approx(0.2 / np.sqrt(0.02 * (1 / 2 + 1 / 3)))
    assert found.n_folds == 2
    assert corrected_resampled_t(np.zeros(4), 3, 1) == (0, 0, 1, 4)
    assert corrected_resampled_t(np.full(4, 0.5), 3, 1)[1:3] == (np.inf, 0)
    with pytest.raises(StudyError, match="two or more folds"):
        corrected_resampled_t(np.array([0.1]), 3, 1)
    with pytest.raises(StudyError, match="finite scores"):
        corrected_resampled_t(np.array([0.1, np.nan]), 3, 1)


def folds_with(scores):
    """Folds of the test scores (test, validation)."""
    return [
        FoldScores(
            test=f"TB{i}",
            validation=f"TB{j}",
            test_score=float(scores[i, j]),
            validation_score=float(scores[j, i]),
            score_by_plane={},
            details={},
        )
        for i in range(len(scores))
        for j in range(len(scores))
        if i != j
    ]


def test_networks_are_compared_over_the_same_folds_in_any_order():
    rng = np.random.default_rng(0)
    first, second = (folds_with(rng.uniform(0.5, 1, (5, 5))) for _ in range(2))
    found = compare_folds(first, second)
    differences = np.array([a.test_score - b.test_score for a, b in zip(first, second, strict=True)])
    assert found == pytest.approx(corrected_resampled_t(differences, n_train=3, n_test=1))
    assert compare_folds(list(reversed(first)), second) == found
    assert found.n_folds == 20
    three = [folds_with(rng.uniform(0.5, 1, (3, 3))) for _ in range(2)]  # each fold trains on one set
    differences = np.array([a.test_score - b.test_score for a, b in zip(*three, strict=True)])
    assert compare_folds(*three) == pytest.approx(corrected_resampled_t(differences, n_train=1, n_test=1))
    with pytest.raises(StudyError, match=r"one lacks TB4\|TB3: complete its folds"):
        compare_folds(first, second[:-1])


def test_of_equal_networks_that_share_their_folds_no_more_than_one_in_twenty_has_a_corrected_p_below_that():
    """Networks differ on each specimen by luck of their own, so that folds are far from independent."""
    rng = np.random.default_rng(2)
    ps, plain = [], []
    for _ in range(300):
        differences = (rng.normal(0, 1, (5, 1)) + rng.normal(0, 1, (5, 4))).ravel()
        ps.append(corrected_resampled_t(differences, n_train=3, n_test=1).p)
        plain.append(stats.ttest_1samp(differences, 0).pvalue)
    assert np.mean(np.array(ps) <= 0.05) < 0.05
    assert np.mean(np.array(plain) <= 0.05) > 0.15
