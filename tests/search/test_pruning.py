"""Pruning stops trials that fall behind, early, and hardly ever one that would have won."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonehpo.folds import holdout_pairs
from bonehpo.search.pruners import FIRST_LOOK, SignedRank, adjusted_score, fit_blocks

RNG = np.random.default_rng(0)
SIGNED_RANK = SignedRank()
decide = SIGNED_RANK.decide


@given(n_sets=st.integers(3, 13))
def test_blocks_hold_every_pair_once_and_every_set_equally_often(n_sets):
    sets = [f"bone-{i}" for i in range(n_sets)]
    blocks = fit_blocks(sets)
    assert Counter(pair for block in blocks for pair in block) == Counter(holdout_pairs(sets))
    for block in blocks:
        n_held_out = Counter(name for pair in block for name in pair)
        assert set(n_held_out) == set(sets)
        assert set(n_held_out.values()) == {2 if n_sets % 2 else 1}


@pytest.mark.parametrize("n_sets", [3, 5, 7])
def test_an_odd_number_of_sets_is_pruned_in_the_order_in_which_it_is_fitted_without_pruning(n_sets):
    sets = [f"bone-{i}" for i in range(n_sets)]
    assert [pair for block in fit_blocks(sets) for pair in block] == list(holdout_pairs(sets))


def fits(n, mean, sd=0.0):
    return mean + sd * RNG.standard_normal((n, 2))


def test_a_trial_that_is_behind_in_every_fold_is_stopped_as_soon_as_that_is_significant():
    verdict = decide(fits(5, 0.6), fits(10, 0.8), 10)
    assert (verdict.n_fits, verdict.p, verdict.stops) == (4, 1 / 2**8, True)
    assert verdict.difference == pytest.approx(-0.2)


@given(n_done=st.integers(0, 10))
def test_a_trial_that_equals_the_best_is_never_stopped(n_done):
    best = fits(10, 0.8, 0.1)
    assert not decide(best[:n_done], best, 10).stops


@given(n_done=st.integers(0, FIRST_LOOK - 1))
def test_nothing_is_said_before_a_level_can_be_reached(n_done):
    verdict = decide(fits(n_done, 0.0), fits(10, 1.0), 10)
    assert (verdict.stops, verdict.p) == (False, 1.0)


def test_a_trial_that_has_all_its_fits_is_complete_however_bad_it_is():
    """Of three sets there are three fits: the first look would be the end."""
    assert not decide(fits(3, 0.0), fits(3, 1.0), 3).stops


@given(n_more=st.integers(0, 7), seed=st.integers(0, 99))
def test_fits_that_came_after_the_deciding_look_change_nothing(n_more, seed):
    rng = np.random.default_rng(seed)
    best, scores = 0.8 + 0.1 * rng.standard_normal((10, 2)), 0.7 + 0.1 * rng.standard_normal((10, 2))
    verdict = decide(scores[:9], best, 10)
    if verdict.stops:
        assert decide(scores[: verdict.n_fits + min(n_more, 9 - verdict.n_fits)], best, 10) == verdict


def test_neither_one_disaster_among_small_gains_nor_one_triumph_among_small_losses_stops_a_trial():
    best = np.full((10, 2), 0.5)
    disaster, triumph = best + 0.01, best - 0.01
    disaster[0, 0], triumph[0, 0] = 0.0, 1.0
    assert not decide(disaster[:9], best, 10).stops
    assert SIGNED_RANK.p_worse(triumph[:9] - best[:9]) < SIGNED_RANK.alpha(
        10
    )  # the ranks speak against it, the mean for it
    assert not decide(triumph[:9], best, 10).stops


def test_the_level_falls_with_the_number_of_looks():
    assert [SIGNED_RANK.alpha(n) for n in (3, 6, 10, 45)] == pytest.approx([0.1 / 3, 0.1 / 6, 0.01, 0.1 / 45])


def test_what_the_sampler_is_told_does_not_depend_on_which_sets_came_first():
    easy_first = np.linspace(0.95, 0.6, 20).reshape(10, 2)
    verdict = decide(easy_first[:4] - 0.1, easy_first, 10)
    assert verdict.stops
    assert adjusted_score(verdict, easy_first) == pytest.approx(easy_first.mean() - 0.1)


def test_scores_that_are_errors_are_pruned_alike():
    """For strain a score is minus the error."""
    assert decide(-fits(9, 2.0), -fits(10, 1.0), 10).stops
    assert not decide(-fits(9, 1.0), -fits(10, 2.0), 10).stops
