"""Components of variance are found where they are known, and words follow the numbers."""

import dataclasses
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bonehpo.analysis.estimates import nested_accuracy
from bonehpo.analysis.variance import (
    Variance,
    components_in_words,
    detectable_difference,
    variance_in_words,
    variance_of,
)

N_SETS = 5
OFF = ~np.eye(N_SETS, dtype=bool)


def table_of(test, names=tuple(f"TB{i}" for i in range(N_SETS))):
    """Folds of scores (trial, test, validation); fold (i, j) validates as (j, i) tests."""
    return pd.DataFrame(
        {"trial": k, "test": names[i], "validation": names[j], "test_score": t[i, j], "validation_score": t[j, i]}
        for k, t in enumerate(test)
        for i in range(len(names))
        for j in range(len(names))
        if i != j
    )


def draw(rng, n_trials=30, *, specimen=0.0, configuration=0.0, interaction=0.0, training=0.0, fit=0.0, fold=0.0):
    """Scores (trial, test, validation) with components of known standard deviation."""
    luck = np.triu(rng.normal(0, fit, (n_trials, N_SETS, N_SETS)), 1)
    return (
        rng.normal(0, specimen, (N_SETS, 1))
        + rng.normal(0, configuration, (n_trials, 1, 1))
        + rng.normal(0, interaction, (n_trials, N_SETS, 1))
        + rng.normal(0, training, (N_SETS, N_SETS))
        + luck
        + luck.transpose(0, 2, 1)
        + rng.normal(0, fold, (n_trials, N_SETS, N_SETS))
    )


TRUE = {"specimen": 0.5, "configuration": 0.3, "interaction": 0.2, "training": 0.15, "fit": 0.2, "fold": 0.1}


def test_each_component_is_found_as_large_as_it_is():
    rng = np.random.default_rng(0)
    found = [variance_of(table_of(draw(rng, **TRUE))).components for _ in range(60)]

    def variance(name):
        return np.mean([getattr(c, name) ** 2 for c in found])

    assert variance("specimen_sd") == pytest.approx(0.5**2, rel=0.25)
    assert variance("configuration_sd") == pytest.approx(0.3**2, rel=0.1)
    assert variance("interaction_sd") == pytest.approx(0.2**2, rel=0.1)
    assert variance("training_sd") == pytest.approx(0.15**2, rel=0.15)
    assert variance("within_sd") == pytest.approx(0.2**2 + 0.1**2, rel=0.05)
    assert np.mean([c.shared for c in found]) == pytest.approx(0.8, abs=0.03)


def effects(rng, n_trials=6):
    """Effects on (trial, test, validation) that sum to nothing over each of their axes: mean squares keep them apart."""

    def centred(values):
        values = np.where(OFF, values, 0)
        return np.where(OFF, values - values.sum(axis=-1, keepdims=True) / (N_SETS - 1), 0)

    interaction = rng.normal(0, 0.5, (n_trials, N_SETS, 1))
    interaction -= interaction.mean(axis=0)
    interaction -= interaction.mean(axis=1, keepdims=True)
    luck = rng.normal(0, 0.2, (n_trials, N_SETS, N_SETS))
    luck += 0.3 * luck.transpose(0, 2, 1)  # of which the two folds of a fit share a part
    return {
        "specimen": rng.normal(0, 1, (N_SETS, 1)),
        "configuration": rng.normal(0, 1, (n_trials, 1, 1)),
        "interaction": interaction,
        "training": centred(rng.normal(0, 0.3, (N_SETS, N_SETS))),
        "luck": centred(luck - luck.mean(axis=0)),
    }


def test_effects_without_chance_are_found_exactly_and_standard_errors_follow():
    """Expected mean squares of a crossed design; see Searle, Casella and McCulloch, ch. 4."""
    k, n = 6, N_SETS
    parts = effects(np.random.default_rng(0), k)
    scores = sum(parts.values())
    found = variance_of(table_of(scores))
    within = (parts["luck"] ** 2).sum() / ((k - 1) * n * (n - 2))
    mirrored = (parts["luck"] * parts["luck"].transpose(0, 2, 1)).sum() / (k * n * (n - 1))
    shared = mirrored * k / (k - 1) * ((n - 1) / (n - 2)) ** 2  # luck is centred over trials and within sets
    interaction = (parts["interaction"] ** 2).sum() / ((k - 1) * (n - 1))
    training = (parts["training"] ** 2).sum() / (n * (n - 2))
    expected = {
        "specimen_sd": parts["specimen"].var(ddof=1) - interaction / k - (training - within / k) / (n - 1),
        "configuration_sd": parts["configuration"].var(ddof=1) - interaction / n - shared / (n - 1) ** 2,
        "interaction_sd": interaction - within / (n - 1) + shared / (n - 1) ** 2,
        "training_sd": training - within / k,
        "within_sd": within,
    }
    assert {name: getattr(found.components, name) ** 2 for name in expected} == pytest.approx(expected)
    assert found.components.shared == pytest.approx(shared / within)
    assert 0 < shared < within
    assert (found.n_sets, found.n_trials) == (n, k)

    def variance_with(n_sets, within, shared):
        between = expected["specimen_sd"] + expected["interaction_sd"]
        return between / n_sets + (expected["training_sd"] + within + shared) / (n_sets * (n_sets - 1))

    assert found.standard_error**2 == pytest.approx(variance_with(n, within, shared))
    assert found.with_twice_the_sets**2 == pytest.approx(variance_with(2 * n, within, shared))
    assert found.with_twice_the_seeds**2 == pytest.approx(variance_with(n, within / 2, shared / 2))
    again = [table_of(scores[:1] + seed) for seed in np.random.default_rng(1).normal(0, 0.1, (2, n, n))]
    known = variance_of(table_of(scores), again)
    part = known.components.seed_sd**2 / within  # of the luck, which a second seed halves
    assert known.with_twice_the_seeds**2 == pytest.approx(
        variance_with(n, within * (1 - part / 2), shared * (1 - part / 2))
    )


def test_the_spread_of_two_repeats_is_that_of_their_differences():
    scores = draw(np.random.default_rng(13), 3, **TRUE)
    one, other = table_of(scores[:1]), table_of(scores[1:2])
    difference = (one["test_score"] - other["test_score"]).to_numpy()
    found = variance_of(table_of(scores), [one, other.sample(frac=1, random_state=0)])
    assert found.components.seed_sd == pytest.approx(difference.std(ddof=1) / np.sqrt(2))


def test_the_detectable_difference_is_that_of_the_differences_between_trials_over_the_sets():
    scores = draw(np.random.default_rng(14), 5, **TRUE)
    by_set = np.where(OFF, scores, 0).sum(axis=2) / (N_SETS - 1)
    variances = [(by_set[a] - by_set[b]).var(ddof=1) for a, b in combinations(range(5), 2)]
    expected = detectable_difference(np.sqrt(np.mean(variances)), N_SETS)
    assert variance_of(table_of(scores)).detectable == pytest.approx(expected)


@pytest.mark.parametrize("name", ["specimen", "configuration", "interaction", "training", "fold"])
def test_one_component_alone_is_taken_for_no_other(name):
    found = variance_of(table_of(draw(np.random.default_rng(1), 60, **({"fold": 0.01} | {name: 0.3})))).components
    sds = {
        "specimen": found.specimen_sd,
        "configuration": found.configuration_sd,
        "interaction": found.interaction_sd,
        "training": found.training_sd,
        "fold": found.within_sd,
    }
    assert max(sds, key=sds.get) == name
    assert sorted(sds.values())[-2] < 0.08


def test_luck_that_both_folds_of_a_fit_share_is_taken_neither_for_a_configuration_nor_from_the_interaction():
    rng = np.random.default_rng(9)
    luck = [variance_of(table_of(draw(rng, 60, fit=0.4))).components for _ in range(20)]
    assert np.mean([c.configuration_sd**2 for c in luck]) < 0.004  # 0.16 · 5/4 / 20 = 0.01 if it were
    both = [variance_of(table_of(draw(rng, 60, fit=0.4, interaction=0.2))).components for _ in range(20)]
    assert np.mean([c.interaction_sd**2 for c in both]) == pytest.approx(0.04, rel=0.12)


def test_the_standard_error_is_that_of_a_network_on_specimens_in_general():
    """Over many studies a configuration's mean strays from its worth as far as is said."""
    rng = np.random.default_rng(2)
    parts = {**TRUE, "specimen": 0.3, "configuration": 0.0}
    studies = [draw(rng, 8, **parts) for _ in range(150)]
    means = [np.mean(s[0][OFF]) for s in studies]
    said = [variance_of(table_of(s)).standard_error ** 2 for s in studies]
    assert np.sqrt(np.mean(said)) == pytest.approx(np.std(means), rel=0.15)


def test_seeds_are_told_from_the_rest_by_repeats_of_one_configuration():
    rng = np.random.default_rng(3)
    scores = draw(rng, 20, specimen=0.3, interaction=0.1, fold=0.2)
    again = [table_of(scores[:1] + lift + rng.normal(0, 0.1, scores[:1].shape)) for lift in (0.0, -0.5, 0.1)]
    found = variance_of(table_of(scores), again)
    assert found.components.seed_sd == pytest.approx(0.1, rel=0.25)  # the mean of a repeat is taken off
    assert variance_of(table_of(scores), again[:1]).components.seed_sd is None
    alone = variance_of(table_of(scores))
    assert alone.with_twice_the_seeds < found.with_twice_the_seeds < found.standard_error


def test_both_folds_of_a_fit_share_at_most_all_of_the_luck():
    """Where they share all of it, the estimate of the part strays to both sides of 1, which is cut off there."""
    rng = np.random.default_rng(11)
    shares = [variance_of(table_of(draw(rng, 8, fit=0.3))).components.shared for _ in range(20)]
    assert max(shares) == 1
    assert min(shares) > 0.8


def test_a_second_seed_takes_off_no_more_than_the_luck_there_is():
    """Repeats that vary more than the trials themselves: a seed is then all of the luck, and no more."""
    rng = np.random.default_rng(12)
    scores = draw(rng, 8, **TRUE)
    small, large = (
        [table_of(scores[:1] + rng.normal(0, sd, scores[:1].shape)) for _ in range(4)] for sd in (2.0, 20.0)
    )
    found, alone = variance_of(table_of(scores), small), variance_of(table_of(scores))
    assert found.components.seed_sd > found.components.within_sd
    assert found.with_twice_the_seeds == alone.with_twice_the_seeds
    assert variance_of(table_of(scores), large).with_twice_the_seeds == found.with_twice_the_seeds


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_names_of_sets_and_order_of_trials_and_rows_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    folds = table_of(draw(rng, 6, **TRUE))
    names = dict(zip((f"TB{i}" for i in range(N_SETS)), rng.permutation(N_SETS).astype(str).tolist(), strict=True))
    other = folds.replace(names).sample(frac=1, random_state=seed % 1000)
    other["trial"] = other["trial"].map(dict(enumerate(rng.permutation(6).tolist())))
    first, second = variance_of(folds), variance_of(other)
    assert dataclasses.astuple(second.components)[:-1] == pytest.approx(dataclasses.astuple(first.components)[:-1])
    for name in ("standard_error", "with_twice_the_sets", "with_twice_the_seeds", "last_doubling", "detectable"):
        assert getattr(second, name) == pytest.approx(getattr(first, name))


def test_perfect_scores_vary_by_nothing():
    found = variance_of(table_of(np.ones((5, N_SETS, N_SETS)) - np.arange(5)[:, None, None] / 10))
    assert found.components.specimen_sd == found.components.within_sd == found.detectable == 0
    assert found.components.shared == 0  # none of no luck
    assert found.components.configuration_sd == pytest.approx(np.std(np.arange(5) / 10, ddof=1))
    assert found.last_doubling > 0
    (said,) = variance_in_words(variance_of(table_of(np.ones((5, N_SETS, N_SETS)))))
    assert said.endswith("nothing varies.")
    (said,) = variance_in_words(variance_of(table_of(np.ones((5, N_SETS, N_SETS)))))
    assert said.endswith("nothing varies.")


def test_a_configuration_that_came_up_twice_counts_once():
    scores = draw(np.random.default_rng(4), 5, **TRUE)
    fits = [0, 1, 2, 3, 4, 1, 2]
    twice = table_of(scores[fits])
    twice["key"] = [
        f"{fits[k]} {sorted(pair)}" for k, *pair in zip(twice["trial"], twice["test"], twice["validation"], strict=True)
    ]
    assert variance_of(twice) == variance_of(table_of(scores))
    assert variance_of(twice.drop(columns="key")) != variance_of(table_of(scores))


def test_too_little_says_nothing():
    scores = draw(np.random.default_rng(5), 3, **TRUE)
    assert variance_of(table_of(scores[:1])) is None
    assert variance_of(table_of(scores).iloc[:0]) is None
    assert variance_of(table_of(scores)).last_doubling is None
    assert variance_of(table_of(scores[:2])).n_trials == 2
    assert variance_of(table_of(scores, names=("TB1", "TB2", "TB3"))).n_sets == 3
    assert variance_of(table_of(scores, names=("TB1", "TB2"))) is None


def test_the_last_doubling_is_the_mean_over_all_halves():
    scores = draw(np.random.default_rng(6), 4, **TRUE)
    halves = [nested_accuracy(table_of(scores[list(half)])).mean for half in combinations(range(4), 2)]
    expected = nested_accuracy(table_of(scores)).mean - np.mean(halves)
    assert variance_of(table_of(scores)).last_doubling == pytest.approx(expected)


def test_of_trials_that_validation_cannot_tell_apart_every_half_takes_its_earliest():
    """The smallest of a random half h of n numbers from 0 is (n − h) / (h + 1) on average."""
    scores = np.broadcast_to(np.arange(20.0)[:, None, None], (20, N_SETS, N_SETS))
    folds = table_of(scores).assign(validation_score=0.5)
    assert variance_of(folds).last_doubling == pytest.approx(0 - 10 / 11)
    unknown = folds.assign(validation_score=folds["validation_score"].where(folds["trial"] < 19))
    assert variance_of(unknown).last_doubling == pytest.approx(0 - 10 / 11)  # comes after all others


@pytest.mark.parametrize("n_sets", [3, 5, 6, 20])
def test_the_power_of_the_detectable_difference_is_that_of_the_noncentral_t(n_sets):
    critical = stats.t.ppf(0.975, n_sets - 1)
    effect = detectable_difference(0.2, n_sets) / 0.2 * np.sqrt(n_sets)
    assert stats.nct.sf(critical, n_sets - 1, effect) == pytest.approx(0.8, rel=1e-6)


@pytest.mark.parametrize("n_sets", [3, 5, 6, 20])
def test_a_detectable_difference_is_detected_in_four_of_five_studies(n_sets):
    rng = np.random.default_rng(7)
    differences = detectable_difference(0.2, n_sets) + rng.normal(0, 0.2, (4000, n_sets))
    assert np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.02)


def variance(**changes):
    scores = draw(np.random.default_rng(8), 8, **TRUE)
    return dataclasses.replace(variance_of(table_of(scores)), **changes)


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({"standard_error": 0.1, "with_twice_the_sets": 0.05, "with_twice_the_seeds": 0.09}, "specimens"),
        ({"standard_error": 0.1, "with_twice_the_sets": 0.08, "with_twice_the_seeds": 0.07}, "seeds"),
        ({"standard_error": 0.1, "with_twice_the_sets": 0.07, "last_doubling": 0.2}, "trials"),
    ],
)
def test_what_would_help_most_is_said_with_its_number(changes, most):
    found: Variance = variance(**({"last_doubling": 0.001} | changes))
    first, second = variance_in_words(found)
    assert first.startswith(f"More {most} would help most")
    assert "0.100" in first
    assert f"{found.detectable:.3f}" in second
    assert "it needs 6" in second
    assert "exact" not in variance_in_words(dataclasses.replace(found, n_sets=6))[1]
    few = variance_in_words(dataclasses.replace(found, last_doubling=None))[0]
    assert "too few trials" in few
    assert not few.startswith("More trials")
    assert " %" in variance_in_words(found, " %")[0]
    known = dataclasses.replace(found, components=dataclasses.replace(found.components, seed_sd=0.1))
    assert "and no less than " in first  # where the seeds' part is not known
    assert "no less than" not in variance_in_words(known)[0]
    fallen = variance_in_words(dataclasses.replace(found, last_doubling=-0.0104))[0]
    assert fallen.endswith("changed the nested score by −0.010.")


def test_components_are_said_with_their_numbers():
    found = variance()
    parts = found.components
    said = components_in_words(found)
    for sd in (parts.specimen_sd, parts.configuration_sd, parts.interaction_sd, parts.training_sd, parts.within_sd):
        assert f"{sd:.3f}" in said
    assert "seed" not in said
    known = dataclasses.replace(found, components=dataclasses.replace(parts, seed_sd=0.123))
    assert components_in_words(known, " %").endswith("of which the seed 0.123 %.")
