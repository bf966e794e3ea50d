"""Components of the variance of fold scores, and what would make a study say more.

The score of configuration k on fold (test i, validation j) is taken as a sum of what specimen i makes easy, what k is worth,
what k is worth on i alone, what training without i and j costs every configuration, and the rest: the luck of a fit, half
or more of which its two folds may share. Components come from mean squares (method of moments); what comes out negative
is 0. A standard deviation is in the unit of the scores: a fraction of slices, or % strain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from scipy import optimize, special

from bonehpo.analysis.estimates import TIE, FoldArrays, fold_arrays, mean, nested_estimate, validation_means
from bonehpo.analysis.intervals import Values

POWER, LEVEL = 0.8, 0.05
N_EXACT_TEST = 6
"""Sets that an exact two-sided test at 5 % needs at least: with fewer, 2 / 2^n is above."""

MIN_TRIALS = 4
"""Trials below which nothing is said of what more of them would give."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Standard deviations of what makes a fold's score.

    Attributes:
        specimen_sd: Between test sets, for every configuration alike.
        configuration_sd: Between configurations, on average over all sets.
        interaction_sd: Configuration × specimen: what a configuration is worth on one set alone.
        training_sd: Between the sets that were trained on, for every configuration alike.
        within_sd: The rest: seeds, and configuration × sets that were trained on.
        shared: Part of the rest's variance that the two folds of a fit have in common, 0 to 1.
        seed_sd: Between repeats of the optimum with other seeds, a part of the rest; None where it was fitted but once.
    """

    specimen_sd: float
    configuration_sd: float
    interaction_sd: float
    training_sd: float
    within_sd: float
    shared: float
    seed_sd: float | None


@dataclass(frozen=True, kw_only=True)
class Variance:
    """Variance of the scores of a study, and what limits it.

    Attributes:
        components: Where the variance comes from.
        n_sets: Test sets.
        n_trials: Different complete trials that this is computed from.
        standard_error: Of one configuration's mean score over the folds, as an estimate for specimens in general.
        with_twice_the_sets: The same with twice as many specimens.
        with_twice_the_seeds: The same with every fit done with two seeds; a lower limit where the seeds' part is not known.
        last_doubling: What the last doubling of the number of trials added to the nested score, on average over which half
            came first; None for fewer than `MIN_TRIALS` trials.
        detectable: Smallest difference of two networks that a paired t-test over the sets finds in 80 % of such studies.
    """

    components: Components
    n_sets: int
    n_trials: int
    standard_error: float
    with_twice_the_sets: float
    with_twice_the_seeds: float
    last_doubling: float | None
    detectable: float


class _Squares:
    """Mean squares of scores (trial, set, fold of the set), and the variance that mirrored folds share."""

    def __init__(self, test: Values) -> None:
        n_trials, n, _ = test.shape
        off = ~np.eye(n, dtype=bool)
        y = test[:, off].reshape(n_trials, n, n - 1)
        cells, folds = y.mean(axis=2), y.mean(axis=0)
        trials, sets, grand = cells.mean(axis=1), cells.mean(axis=0), y.mean()
        rest = y - folds - cells[:, :, None] + sets[:, None]
        interaction = cells - sets - trials[:, None] + grand
        more = n_trials - 1
        self.set = n_trials * (n - 1) * ((sets - grand) ** 2).sum() / (n - 1)
        self.trial = n * (n - 1) * ((trials - grand) ** 2).sum() / more
        self.interaction = (n - 1) * (interaction**2).sum() / (more * (n - 1))
        self.fold = n_trials * ((folds - sets[:, None]) ** 2).sum() / (n * (n - 2))
        self.within = (rest**2).sum() / (more * n * (n - 2))
        square = np.zeros(test.shape)
        square[:, off] = rest.reshape(n_trials, -1)
        products = (square * square.transpose(0, 2, 1))[:, off].mean()
        shared = products / (((n - 2) / (n - 1)) ** 2 * more / n_trials)
        self.shared = min(max(shared, 0.0), self.within)


def variance_of(folds: pd.DataFrame, repeats: Sequence[pd.DataFrame] = ()) -> Variance | None:
    """Components of the fold scores of a study, and what follows from them.

    Args:
        folds: Recorded folds of complete trials; columns as in `estimates`. Where there is a column `key`, the address of
            the fit, a configuration that came up twice counts once.
        repeats: Folds of the optimum with other seeds, a table for each repeat: `test`, `validation`, `test_score`. That
            of the search itself belongs to them; each repeat's own mean is taken off, which the search maximised.

    Returns:
        None for fewer than two different complete trials, or fewer than three sets.

    References:
        Searle, Casella and McCulloch, Variance Components (1992), ch. 4; Nadeau and Bengio, Mach. Learn. 52 (2003) 239.
    """
    different = folds.drop_duplicates(["key", "test"]) if "key" in folds else folds
    arrays = fold_arrays(different).complete() if len(folds) else None
    if arrays is None or len(arrays.trials) < 2 or len(arrays.sets) < 3:
        return None
    squares, n = _Squares(arrays.test), len(arrays.sets)
    seed_sd = _seed_sd(repeats)
    found = _components(squares, len(arrays.trials), n, seed_sd)
    part = 1.0 if seed_sd is None else min(seed_sd**2 / max(squares.within, 1e-300), 1.0)
    luck = (squares.within + squares.shared) / (n * (n - 1))
    now = _variance_of_mean(found, squares.shared, n)
    return Variance(
        components=found,
        n_sets=n,
        n_trials=len(arrays.trials),
        standard_error=float(np.sqrt(now)),
        with_twice_the_sets=float(np.sqrt(_variance_of_mean(found, squares.shared, 2 * n))),
        with_twice_the_seeds=float(np.sqrt(max(now - part * luck / 2, 0.0))),
        last_doubling=last_doubling(arrays),
        detectable=detectable_difference(float(np.sqrt(2 * squares.interaction / (n - 1))), n),
    )


def _components(squares: _Squares, n_trials: int, n: int, seed_sd: float | None) -> Components:
    """From expected mean squares. What the folds of a fit share adds to the mean square of trials, and is taken off."""
    within, shared = squares.within, squares.shared
    variances = {
        "specimen_sd": (squares.set - squares.interaction - squares.fold + within) / (n_trials * (n - 1)),
        "configuration_sd": (squares.trial - squares.interaction - shared * n / (n - 1)) / (n * (n - 1)),
        "interaction_sd": (squares.interaction - within + shared / (n - 1)) / (n - 1),
        "training_sd": (squares.fold - within) / n_trials,
        "within_sd": within,
    }
    sds = {name: float(np.sqrt(max(value, 0.0))) for name, value in variances.items()}
    return Components(**sds, shared=float(shared / within) if within > 0 else 0.0, seed_sd=seed_sd)


def _variance_of_mean(found: Components, shared: float, n: int) -> float:
    """Of a configuration's mean over the folds of n sets, as an estimate for specimens in general."""
    between = found.specimen_sd**2 + found.interaction_sd**2
    return between / n + (found.training_sd**2 + found.within_sd**2 + shared) / (n * (n - 1))


def _seed_sd(repeats: Sequence[pd.DataFrame]) -> float | None:
    """Standard deviation between repeats of the same folds, each repeat's mean taken off."""
    if len(repeats) < 2:
        return None
    table = pd.concat([r.set_index(["test", "validation"])["test_score"] for r in repeats], axis=1).to_numpy()
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    n_folds, n_repeats = table.shape
    return float(np.sqrt((rest**2).sum() / ((n_folds - 1) * (n_repeats - 1))))


def last_doubling(arrays: FoldArrays) -> float | None:
    """Nested score of all trials minus its mean over all halves of them; see `Variance.last_doubling`.

    Which trials came first is luck, so that the mean goes over all halves: the trial of rank r (from 0) in the validation
    of a fold is the best of a random half of size h of n with probability C(n − 1 − r, h − 1) / C(n, h).
    """
    n = len(arrays.trials)
    if n < MIN_TRIALS:
        return None
    half = n // 2
    chances = np.array([comb(n - 1 - rank, half - 1) / comb(n, half) for rank in range(n)])
    validation = np.round(validation_means(arrays) / TIE)  # ties go to the earlier trial, as in the nested score
    ranked = np.argsort(-np.where(np.isnan(validation), -np.inf, validation), axis=0, kind="stable")
    by_rank = np.take_along_axis(arrays.test, ranked, axis=0)
    expected = np.tensordot(chances, by_rank, axes=1)
    return float(nested_estimate(arrays).mean - mean(mean(expected, (1,)), (0,)))


def detectable_difference(sd: float, n_sets: int) -> float:
    """Smallest mean difference that a paired t-test over sets (two-sided, 5 %) finds with a power of 80 %.

    Args:
        sd: Standard deviation of the differences of two networks between sets.
        n_sets: Number of sets.
    """
    if not sd > 0:
        return 0.0
    critical = special.stdtrit(n_sets - 1, 1 - LEVEL / 2)

    def lacking(effect: float) -> float:
        return 1 - float(special.nctdtr(n_sets - 1, effect, critical)) - POWER

    upper = 2.0
    while lacking(upper) < 0:
        upper *= 1.5
    effect = optimize.brentq(lacking, 0.0, upper)
    return float(effect) * sd / float(np.sqrt(n_sets))


def components_in_words(found: Variance, unit: str = "", of: str = "specimen") -> str:
    """Components of the variance, in one sentence; `unit` and `of` as in `variance_in_words`."""
    parts = found.components
    seed = "" if parts.seed_sd is None else f", of which the seed {parts.seed_sd:.3f}{unit}"
    return (
        f"Scores of folds vary by (sd) {parts.specimen_sd:.3f}{unit} between test {of}s, "
        f"{parts.configuration_sd:.3f}{unit} between configurations, {parts.interaction_sd:.3f}{unit} by configuration × "
        f"{of}, {parts.training_sd:.3f}{unit} by the {of}s trained on, {parts.within_sd:.3f}{unit} by luck{seed}."
    )


def variance_in_words(found: Variance, unit: str = "", of: str = "specimen") -> tuple[str, ...]:
    """Conclusions from a study's variance, in words.

    Args:
        found: Of the study.
        unit: What a score counts in, set behind numbers: "" for fractions, " %" for strain.
        of: What a set is, "specimen" or "donor".
    """
    if found.standard_error == 0:
        return (f"All folds of all {found.n_trials} different trials have the same score: nothing varies.",)
    gains = {
        f"{of}s": found.standard_error - found.with_twice_the_sets,
        "seeds": found.standard_error - found.with_twice_the_seeds,
        "trials": found.last_doubling or 0.0,
    }
    most = max(gains, key=lambda name: gains[name])

    def say(value: float) -> str:
        return f"{value:.3f}{unit}"

    least = "no less than " if found.components.seed_sd is None else ""
    doubling = (
        "too few trials to say what more of them would give"
        if found.last_doubling is None
        else f"the last doubling of the trials changed the nested score by {found.last_doubling:+.3f}{unit}"
    ).replace("-", "−")
    exact = (
        f"; an exact test cannot reach 5 % with {found.n_sets} sets: it needs {N_EXACT_TEST}"
        if found.n_sets < N_EXACT_TEST
        else ""
    )
    return (
        f"More {most} would help most: the standard error of a network's mean is {say(found.standard_error)}, "
        f"{say(found.with_twice_the_sets)} with twice as many {of}s and {least}{say(found.with_twice_the_seeds)} with "
        f"two seeds for each fit; {doubling}.",
        f"The smallest difference between two networks that this study could detect is {say(found.detectable)} (paired t "
        f"over {found.n_sets} sets, 80 % power, two-sided 5 %{exact}).",
    )
