"""Intervals over test sets: of the mean, of the next set, and no narrower than chance allows."""

import numpy as np
import pytest
from scipy import stats

from bonehpo.analysis.intervals import Interval, binomial_sd, lower_bound, mean_interval, next_set

SCORES = np.array([0.7, 0.8, 0.95])


def test_the_lower_bound_is_students():
    assert lower_bound(np.array([0.8, 0.9, 1.0])) == pytest.approx(0.9 - 2.91999 * 0.1 / np.sqrt(3), abs=1e-5)
    assert np.isnan(lower_bound(np.array([0.9])))


def test_the_interval_is_students_and_covers():
    values = np.array([0.8, 0.9, 1.0])
    expected = stats.t.interval(0.95, 2, loc=0.9, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(0.3, 1, 5)) for _ in range(2000)]
    assert np.mean([i.lower <= 0.3 <= i.upper for i in intervals]) == pytest.approx(0.95, abs=0.015)
    assert np.isnan([*mean_interval(values[:1]), *mean_interval(values[:0])]).all()


def test_of_sets_that_were_scored_once_the_next_lies_within_the_textbooks_interval():
    low, high = next_set(SCORES, luck_sd=np.nan, n_lucks=1)
    half = stats.t.ppf(0.975, 2) * SCORES.std(ddof=1) * np.sqrt(1 + 1 / 3)
    assert (low, high) == pytest.approx((SCORES.mean() - half, SCORES.mean() + half))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("luck", [0.0, 1.0, 3.0])
def test_one_network_on_the_next_set_lies_outside_in_about_one_case_of_twenty(n, luck):
    """Sets differ by 1; of each there are the scores of n - 1 networks."""
    rng = np.random.default_rng(n)
    outside = 0.0
    for _ in range(1500):
        folds = rng.normal(0, 1, (n, 1)) + rng.normal(0, luck, (n, n - 1))
        own = folds.std(axis=1, ddof=1) if n > 2 else np.full(n, np.nan)
        low, high = next_set(folds.mean(axis=1), float(np.sqrt(np.mean(own**2))), n - 1)
        sd = np.hypot(1, luck)
        outside += stats.norm.cdf(low, scale=sd) + stats.norm.sf(high, scale=sd)
    assert outside / 1500 == pytest.approx(0.05, abs=0.035)


def test_the_spread_between_sets_is_no_less_than_chance_makes_it():
    """37 of 72 slices right on each of three specimens is no evidence of anything."""
    scores, least = np.full(3, 37 / 72), binomial_sd(37 / 72, 72)
    assert lower_bound(scores) == pytest.approx(37 / 72)
    assert lower_bound(scores, least_sd=least) < 0.45
    low, high = next_set(scores, 0.0, 2, least)
    assert low < 0.35
    assert high > 0.65
    assert mean_interval(SCORES, least_sd=0.001) == mean_interval(SCORES)


def test_the_least_spread_is_binomial_and_not_nothing_where_all_are_right():
    assert binomial_sd(0.5, 100) == pytest.approx(0.05)
    assert 0.01 < binomial_sd(1.0, 72) < 0.03
    assert binomial_sd(0.7, float("nan")) == 0


def test_one_set_tells_nothing_of_the_next():
    assert np.isnan(next_set(np.array([0.9]), 0.1, 1)).all()
    assert next_set(np.array([0.9, 0.9]), 0.0, 1) == Interval(0.9, 0.9)
