"""The paper's one-at-a-time rule ends where the paper ended."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonehpo.analysis.sweep import Choice, Combination, Score, SweptPoint, combinations, next_step
from bonehpo.errors import StudyError
from bonehpo.hyperparameters import Hyperparameters

BASELINE = Hyperparameters(layers=3, learning_rate=1e-4, kernel=5, batch=20)
SD = 0.017

# Made-up numbers that fit what §3.2 says of cortical bone: 0.988 ± 0.017 for batches of 10, everything else below 0.983,
# three layers best by a hair before four, falling with the kernel.
CB = {
    "layers": {1: 0.90, 2: 0.95, 3: 0.980, 4: 0.979, 5: 0.970, 6: 0.960},
    "learning_rate": {1e-5: 0.93, 1e-4: 0.980, 1e-3: 0.94, 1e-2: 0.50},
    "batch": {5: 0.975, 10: 0.988, 20: 0.980, 30: 0.976, 40: 0.978, 50: 0.979},
    "kernel": {3: 0.978, 5: 0.980, 7: 0.970, 9: 0.960, 11: 0.955},
}
TB = {
    "layers": {1: 0.70, 2: 0.76, 3: 0.82, 4: 0.84, 5: 0.86, 6: 0.85},
    "learning_rate": {1e-5: 0.74, 1e-4: 0.82, 1e-3: 0.85, 1e-2: 0.50},
    "batch": {5: 0.78, 10: 0.80, 20: 0.82, 30: 0.815, 40: 0.815, 50: 0.812},
    "kernel": {3: 0.84, 5: 0.82, 7: 0.81, 9: 0.80, 11: 0.78},
}
CB_BEST = replace(BASELINE, batch=10)
CB_FOUR = replace(CB_BEST, layers=4)


def points_of(series, sd=SD):
    return [SweptPoint(name, value, mean, sd) for name, means in series.items() for value, mean in means.items()]


def run(points, score_of):
    """Fit whatever is asked for until there is a choice; `score_of` is the mean of a combination."""
    fitted, asked = {}, []
    while isinstance(step := next_step(points, BASELINE, fitted), Combination):
        assert step.hyperparameters not in fitted
        asked.append(step.hyperparameters)
        fitted[step.hyperparameters] = Score(score_of(step.hyperparameters), SD)
    return asked, step


def test_cortical_bone_ends_at_four_layers_as_in_the_paper():
    asked, choice = run(points_of(CB), {CB_BEST: 0.950, CB_FOUR: 0.983}.get)
    assert asked == [CB_BEST, CB_FOUR]
    assert choice.hyperparameters == CB_FOUR
    assert choice.mean == 0.983
    assert choice.role == "second-best layers, the others best"
    assert (
        "0.983, which is within one standard deviation of the best swept point (batch 10: 0.988 ± 0.017)" in choice.rule
    )


def test_trabecular_bone_ends_at_the_first_combination_as_in_the_paper():
    best = Hyperparameters(layers=5, learning_rate=1e-3, kernel=3, batch=20)
    asked, choice = run(points_of(TB), {best: 0.901}.get)
    assert asked == [best]
    assert choice.hyperparameters == best
    assert choice.role == "best value of each parameter"
    assert "no worse than the best swept point (layers 5: 0.860 ± 0.017)" in choice.rule


def test_a_combination_that_repeats_a_swept_point_and_its_score_is_taken_at_once():
    asked, choice = run(points_of(CB), {CB_BEST: 0.988}.get)
    assert asked == [CB_BEST]
    assert choice.hyperparameters == CB_BEST


@pytest.mark.parametrize(("mean", "taken"), [(0.972, True), (0.970, False)])
def test_the_bar_is_one_standard_deviation_below_the_best_swept_point(mean, taken):
    step = next_step(points_of(CB), BASELINE, {CB_BEST: Score(mean, SD)})
    assert isinstance(step, Choice) == taken


def test_second_bests_are_tried_one_at_a_time_the_cheapest_first_and_only_within_one_standard_deviation():
    planned = combinations(points_of(CB), BASELINE)
    assert [c.hyperparameters for c in planned] == [
        CB_BEST,
        CB_FOUR,  # loses 0.001
        replace(CB_BEST, kernel=3),  # loses 0.002
        replace(CB_BEST, batch=20),  # loses 0.008; the second-best learning rate loses 0.040 and is out
    ]
    assert len(combinations(points_of(CB, sd=0.05), BASELINE)) == 5
    assert len(combinations(points_of(CB, sd=math.nan), BASELINE)) == 1


def test_a_loss_of_exactly_one_standard_deviation_is_within_it():
    """Of the better value's deviation, whatever that of the worse; scores are sums of powers of 2, so that all is exact."""
    points = [SweptPoint("layers", 3, 0.75, 0.25), SweptPoint("layers", 4, 0.5, 0.0)]
    first, second = combinations(points, BASELINE)
    assert (first.hyperparameters, second.hyperparameters) == (BASELINE, replace(BASELINE, layers=4))
    choice = next_step(points, BASELINE, {BASELINE: Score(0.5, SD)})
    assert choice.hyperparameters == BASELINE
    assert "within one standard deviation" in choice.rule
    assert "no worse than" in next_step(points, BASELINE, {BASELINE: Score(0.75, SD)}).rule


def test_when_every_combination_is_poor_the_best_of_everything_fitted_wins():
    asked, choice = run(points_of(CB), lambda _: 0.9)
    assert len(asked) == 4
    # the points of 0.988 and 0.980 were fitted again as combinations, and their new scores stand for them
    assert choice.hyperparameters == replace(BASELINE, layers=4)
    assert choice.mean == 0.979
    assert choice.role == "best swept point"
    assert "None of 4 combinations" in choice.rule


def test_a_poor_combination_can_still_be_the_best_of_everything():
    points = [SweptPoint("batch", 10, 0.9, 0.0), SweptPoint("batch", 20, 0.8, 0.0), SweptPoint("layers", 3, 0.8, 0.0)]
    _, choice = run(points, lambda _: 0.85)
    assert choice.hyperparameters == CB_BEST
    assert choice.mean == 0.85
    assert choice.role == "best value of each parameter"


def test_failed_points_and_failed_combinations_are_ignored():
    failed = points_of({**CB, "layers": {**CB["layers"], 3: math.nan, 4: math.nan}})
    assert combinations(failed, BASELINE)[0].hyperparameters.layers == 5
    asked, choice = run(points_of(CB), lambda h: math.nan if h == CB_BEST else 0.983)
    assert asked == [CB_BEST, CB_FOUR]
    assert choice.hyperparameters == CB_FOUR


def test_a_parameter_without_any_score_stays_at_the_baseline():
    points = points_of({**TB, "kernel": dict.fromkeys(TB["kernel"], math.nan)})
    assert combinations(points, BASELINE)[0].hyperparameters.kernel == BASELINE.kernel


def test_of_equal_values_the_baseline_is_better():
    flat = points_of({name: dict.fromkeys(means, 1.0) for name, means in CB.items()})
    assert combinations(flat, BASELINE)[0].hyperparameters == BASELINE


def test_a_sweep_without_any_score_is_refused():
    with pytest.raises(StudyError, match="no point of the sweep has a mean"):
        next_step(points_of({"layers": {1: math.nan}}), BASELINE, {})
    with pytest.raises(StudyError, match="no point of the sweep has a mean"):
        combinations(points_of({"layers": {1: math.nan}}), BASELINE)


def test_a_sweep_whose_only_point_fails_when_checked_is_refused():
    with pytest.raises(StudyError, match="kept its score"):
        next_step([SweptPoint("layers", 3, 0.9, 0.01)], BASELINE, {BASELINE: Score(math.nan, math.nan)})


def max_of(points):
    return max(point.mean for point in points if math.isfinite(point.mean))


means = st.one_of(st.floats(0.4, 1), st.just(math.nan))


@st.composite
def sweeps(draw):
    """A sweep like that of cortical bone with any scores; the baseline has one."""
    baseline = draw(st.floats(0.4, 1))
    return {
        name: {value: baseline if value == getattr(BASELINE, name) else draw(means) for value in values}
        for name, values in CB.items()
    }


@settings(deadline=None, max_examples=40)
@given(series=sweeps(), seed=st.integers(0, 999), sd=st.floats(0, 0.3))
def test_any_sweep_ends_after_at_most_five_fits_and_the_order_of_points_does_not_matter(series, seed, sd):
    points = points_of(series, sd)
    scores = random.Random(seed)
    known = {}

    def score_of(values):
        return known.setdefault(values, scores.uniform(0.3, 1))

    asked, choice = run(points, score_of)
    assert 1 <= len(asked) <= 5
    assert run(random.Random(seed).sample(points, len(points)), known.get) == (asked, choice)
    good = [known[values] for values in asked if known[values] >= max_of(points) - sd]
    swept = {values: p.mean for p in points if (values := replace(BASELINE, **{p.parameter: p.value})) not in known}
    assert choice.mean == (good[0] if good else max(m for m in [*known.values(), *swept.values()] if math.isfinite(m)))
