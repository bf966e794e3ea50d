"""Estimates of accuracy from recorded folds: apparent, nested and bootstrapped.

All is computed from recorded folds, a table with one row for each fold of each complete trial and the columns `trial`,
`test`, `validation`, `test_score`, `validation_score` (see `task.Measure`), and `n_slices` of the test set where a score is
a share of slices. The unit of independence is the specimen: slices of one specimen, and folds that share specimens, are not
independent, so every interval here has n = number of test sets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from natsort import natsorted

from bonehpo.analysis.intervals import Interval, Values, binomial_sd, lower_bound, mean_interval, next_set

Indices = npt.NDArray[np.intp]

TIE = 1e-9
"""Scores closer than this are equal: the order in which a mean was summed must not choose a trial."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldArrays:
    """Scores of all folds of some trials; NaN where there is no fold, and so wherever a set would be held out twice.

    Attributes:
        trials: Numbers of the trials, ascending.
        sets: Names of the sets, in natural order.
        test: Score on the test set, (trial, test, validation).
        validation: Score on the validation set, of the same shape.
        n_slices: Slices of the smallest set; NaN where the score is no share of slices.
    """

    trials: tuple[int, ...]
    sets: tuple[str, ...]
    test: Values
    validation: Values
    n_slices: float = float("nan")

    @property
    def by_set(self) -> Values:
        """Mean score of each trial on each test set, (trial, set)."""
        return mean(self.test, (2,))

    def complete(self) -> "FoldArrays":
        """Only those trials that have a finite score for every fold."""
        off = ~np.eye(len(self.sets), dtype=bool)
        kept = np.all(np.isfinite(self.test[:, off]), axis=1)
        return FoldArrays(
            trials=tuple(t for t, keep in zip(self.trials, kept.tolist(), strict=True) if keep),
            sets=self.sets,
            test=self.test[kept],
            validation=self.validation[kept],
            n_slices=self.n_slices,
        )


def fold_arrays(folds: pd.DataFrame) -> FoldArrays:
    """Arrange folds by trial, test set and validation set.

    Args:
        folds: A row for each fold: `trial`, `test`, `validation`, `test_score`, `validation_score`; in any order.
    """
    trials = sorted({int(number) for number in folds["trial"]})
    sets = natsorted({str(name) for column in ("test", "validation") for name in folds[column].unique()})
    at = (_positions(folds["trial"], trials), _positions(folds["test"], sets), _positions(folds["validation"], sets))
    scores = np.full((2, len(trials), len(sets), len(sets)), np.nan)
    for values, column in zip(scores, ("test_score", "validation_score"), strict=True):
        values[at] = folds[column].to_numpy(dtype=np.float64)
    n_slices = float(folds["n_slices"].min()) if "n_slices" in folds else float("nan")
    return FoldArrays(trials=tuple(trials), sets=tuple(sets), test=scores[0], validation=scores[1], n_slices=n_slices)


def _positions(column: Iterable[object], known: Sequence[object]) -> Indices:
    place = {value: i for i, value in enumerate(known)}
    return np.array([place[value] for value in column], dtype=np.intp)


def mean(values: Values, axes: tuple[int, ...]) -> Values:
    """Mean over some axes of what is not NaN; NaN where there is nothing."""
    there = ~np.isnan(values)
    n = there.sum(axis=axes)
    total = np.where(there, values, 0.0).sum(axis=axes)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def first_best(scores: Values) -> Indices:
    """Along the first axis, the first position whose score is the highest, up to `TIE`. NaN is the lowest score."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    found: Indices = np.argmax(known >= known.max(axis=0) - TIE, axis=0)
    return found


N_EXACT = 8
"""Up to so many sets every way to draw them is gone through (6,435 of them); above, `N_DRAWS` random ones."""

N_DRAWS = 10_000


class Draws(NamedTuple):
    """Ways to draw n of n sets with replacement: how often each set is drawn, (draw, set), and how likely that is."""

    counts: Values
    shares: Values


class BootstrapEstimate(NamedTuple):
    """Bias-corrected score, and both ends of its 95 % percentile interval over draws of specimens."""

    mean: float
    lower: float
    upper: float


def bootstrap_corrected(by_set: Values) -> BootstrapEstimate:
    """Choose a trial on sets drawn with replacement, score it on the sets that were not drawn, average over all draws.

    Up to `N_EXACT` sets the average is exact: no draw is random. The trial with the highest mean over drawn sets is chosen,
    the earlier of equals [1]_.

    Its own bias, measured in docs/explanation/estimates.md with five specimens and 50 configurations, in standard
    deviations of the luck of a fold: −0.00 ± 0.00 where configurations are equal and luck is of single folds; +0.22 where
    half of it is shared by the two folds of a fit, as a drawn and an undrawn set may share a fit; −0.10 to +0.02 where
    configurations differ, as 3.4 different sets of five choose worse than five. Its interval, about from the worst specimen
    to the best, covered the truth in 95 to 97 of 100 of those studies.

    Args:
        by_set: Mean score of each trial on each test set, (trial, set). A trial that lacks one is left out.

    Returns:
        NaN where no trial is whole, or there is only one set.

    References:
        .. [1] Tsamardinos, Greasidou and Borboudakis, Machine Learning 107 (2018) 1895, doi:10.1007/s10994-018-5714-4.
    """
    table = by_set[np.isfinite(by_set).all(axis=1)]
    n = table.shape[1]
    if not len(table) or n < 2:
        return BootstrapEstimate(float("nan"), float("nan"), float("nan"))
    draws = _all_draws(n) if n <= N_EXACT else _random_draws(n)
    table = table[:, np.lexsort(np.sort(table, axis=0))]  # whatever the sets are called
    chosen = first_best(table @ draws.counts.T / n)
    undrawn = draws.counts == 0
    scores = (table[chosen] * undrawn).sum(axis=1) / undrawn.sum(axis=1)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(draws.shares[order])
    lower, upper = (scores[order][min(int(np.searchsorted(reached, q)), len(order) - 1)] for q in (0.025, 0.975))
    return BootstrapEstimate(float(draws.shares @ scores), float(lower), float(upper))


@lru_cache(maxsize=4)
def _all_draws(n: int) -> Draws:
    """Every draw of n sets that leaves at least one out; shares add up to 1."""
    counts = np.array([np.bincount(draw, minlength=n) for draw in combinations_with_replacement(range(n), n)])
    counts = counts[(counts == 0).any(axis=1)]
    ways = np.array([factorial(n) / prod(map(factorial, row)) for row in counts.tolist()])
    return Draws(counts.astype(np.float64), ways / ways.sum())


@lru_cache(maxsize=4)
def _random_draws(n: int) -> Draws:
    """The same random draws for every study of n sets."""
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=N_DRAWS)
    counts = counts[(counts == 0).any(axis=1)]
    return Draws(counts.astype(np.float64), np.full(len(counts), 1 / len(counts)))


@dataclass(frozen=True, kw_only=True)
class TrialEstimate:
    """One trial over its folds.

    Attributes:
        trial: Number of the trial.
        mean: Mean test score; what the paper calls the accuracy of a structure.
        sd: Standard deviation over the folds (n - 1).
        validation_mean: Mean validation score, the objective.
        by_set: Mean test score for each test set.
    """

    trial: int
    mean: float
    sd: float
    validation_mean: float
    by_set: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class NestedEstimate:
    """The score of the whole procedure, choice of the trial included, on a set that it has not seen.

    Attributes:
        mean: The nested score.
        lower: Lower bound of its one-sided 95 % interval, Student's t over the test sets. Approximate: the sets share
            training specimens.
        interval: Its two-sided 95 % interval, likewise.
        next_set: Prediction interval for one network on the next set, see `intervals.next_set`.
        by_set: For each test set the mean test score of the trials chosen for its folds.
        chosen: For each test set the trial that was chosen for most of its folds, the earliest of equals.
        n_agreed: For how many of its folds that was.
    """

    mean: float
    lower: float
    interval: Interval
    next_set: Interval
    by_set: Mapping[str, float]
    chosen: Mapping[str, int]
    n_agreed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class EstimatesSoFar:
    """Estimates from the first trials alone, by number: what a search of so many would have said.

    Attributes:
        n_trials: How many.
        apparent_score: Of the best of them.
        nested_score: Of a choice among them.
    """

    n_trials: int
    apparent_score: float
    nested_score: float


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Estimates of one trial of a study: as it seems, and as it can be believed. For scores see `task.Measure`.

    Attributes:
        trial: Its number.
        apparent_score: Mean test score over its folds, which the search maximised.
        sd: Standard deviation of the same.
        n_folds: Number of those folds.
        nested_score: Estimate for a set that the choice of the trial has not seen.
        nested_score_bound: Its one-sided 95 % bound on the bad side.
        nested_score_worse_end: The bad end of its two-sided 95 % interval, Student's t over the test sets.
        nested_score_better_end: The good end; it may lie beyond what a score can be.
        next_score_worse_end: The bad end of the 95 % prediction interval for one network on the next specimen.
        next_score_better_end: The good end.
        nested_score_by_set: The nested score of each test set, in natural order.
        chosen_by_set: The trial that is chosen for each test set, for most of its folds.
        n_agreed_by_set: For how many of the folds of that set it is chosen.
        bootstrap_score: The bias-corrected score, see `bootstrap.bootstrap_corrected`.
        bootstrap_score_worse_end: The bad end of its 95 % percentile interval over specimens.
        bootstrap_score_better_end: The good end.
        gap: Apparent score minus nested score: the optimism.
        so_far: Both after each trial. Where the nested score falls while the apparent one rises, the search overtunes [1]_.

    References:
        .. [1] Schneider, Bischl and Feurer, Overtuning in hyperparameter optimization, PMLR 293 (2025) 17.
    """

    trial: int
    apparent_score: float
    sd: float
    n_folds: int
    nested_score: float
    nested_score_bound: float
    nested_score_worse_end: float
    nested_score_better_end: float
    next_score_worse_end: float
    next_score_better_end: float
    nested_score_by_set: Mapping[str, float]
    chosen_by_set: Mapping[str, int]
    n_agreed_by_set: Mapping[str, int]
    bootstrap_score: float
    bootstrap_score_worse_end: float
    bootstrap_score_better_end: float
    gap: float
    so_far: tuple[EstimatesSoFar, ...] = ()

    @property
    def has_second_opinion(self) -> bool:
        """False where the bootstrap chose one trial in all draws: then it is the apparent score over again."""
        return abs(self.bootstrap_score - self.apparent_score) > TIE


def estimate(folds: pd.DataFrame, trial: int) -> Estimates:
    """The estimates for a trial that was chosen among those of `folds`."""
    best = next(e for e in trial_estimates(folds) if e.trial == trial)
    nested = nested_accuracy(folds)
    arrays = fold_arrays(folds)
    bootstrap = bootstrap_corrected(arrays.by_set)
    return Estimates(
        trial=trial,
        apparent_score=best.mean,
        sd=best.sd,
        n_folds=int((folds["trial"] == trial).sum()),
        nested_score=nested.mean,
        nested_score_bound=nested.lower,
        nested_score_worse_end=nested.interval.lower,
        nested_score_better_end=nested.interval.upper,
        next_score_worse_end=nested.next_set.lower,
        next_score_better_end=nested.next_set.upper,
        nested_score_by_set=nested.by_set,
        chosen_by_set=nested.chosen,
        n_agreed_by_set=nested.n_agreed,
        bootstrap_score=bootstrap.mean,
        bootstrap_score_worse_end=bootstrap.lower,
        bootstrap_score_better_end=bootstrap.upper,
        gap=best.mean - nested.mean,
        so_far=estimates_so_far(arrays),
    )


def estimates_so_far(arrays: FoldArrays) -> tuple[EstimatesSoFar, ...]:
    """The apparent and the nested score of the first trial, of the first two, and so on."""
    i, j = np.indices((len(arrays.sets), len(arrays.sets)))
    best, validation = np.maximum.accumulate(mean(arrays.test, (1, 2))), validation_means(arrays)
    found = []
    for n, apparent in enumerate(best.tolist(), start=1):
        by_set = mean(arrays.test[first_best(validation[:n]), i, j], (1,))
        found.append(EstimatesSoFar(n_trials=n, apparent_score=apparent, nested_score=float(mean(by_set, (0,)))))
    return tuple(found)


def trial_estimates(folds: pd.DataFrame) -> tuple[TrialEstimate, ...]:
    """Each trial's apparent score, in order of trial number."""
    arrays = fold_arrays(folds)
    means, validation_means = mean(arrays.test, (1, 2)), mean(arrays.validation, (1, 2))
    found = []
    for k, number in enumerate(arrays.trials):
        scores = arrays.test[k][~np.isnan(arrays.test[k])]
        found.append(
            TrialEstimate(
                trial=number,
                mean=float(means[k]),
                sd=float(scores.std(ddof=1)) if len(scores) > 1 else float("nan"),
                validation_mean=float(validation_means[k]),
                by_set=_by_name(arrays.sets, arrays.by_set[k]),
            )
        )
    return tuple(found)


def _by_name(sets: Sequence[str], values: Values) -> dict[str, float]:
    """Values of the sets that have one, by name."""
    return {name: value for name, value in zip(sets, values.tolist(), strict=True) if not np.isnan(value)}


def nested_accuracy(folds: pd.DataFrame) -> NestedEstimate:
    """Choose a trial for each test set without looking at it, and average what those choices achieve on it.

    For the fold (test i, validation j) the trial is the one with the highest mean of validation(i, ·) without (i, j)
    itself; its test(i, j) counts; the nested accuracy is the mean over j, then over i. Ties go to the earlier trial.

    Why not choose by all of validation(i, ·) and average test(i, ·)? Both folds of a fit are scored by one network, and a
    network that came out well is better on both its sets: on the trabecular phantom they share 0.6 of the variance of
    their luck. Choosing by validation(i, j) then picks lucky *networks*, and their test(i, j) flatters a trial that will be
    fitted again with fresh seeds. In 2,000 simulated studies of 50 equal configurations with such luck that was too high
    by 0.57 standard deviations of the luck, hardly less than the best trial's own accuracy (0.62); this estimate by
    0.01 ± 0.01. Its price: where configurations differ, three folds choose worse than twenty, and it is too low by about
    0.25 of them (docs/explanation/estimates.md).

    Args:
        folds: Recorded folds of complete trials; every trial with the same folds.

    References:
        Varma and Simon, BMC Bioinformatics 7 (2006) 91, doi:10.1186/1471-2105-7-91.
    """
    return nested_estimate(fold_arrays(folds))


def nested_estimate(arrays: FoldArrays, *, spare_fit: bool = True) -> NestedEstimate:
    """`nested_accuracy` of folds as arrays; without `spare_fit` by the fit under test too, to show what that does."""
    chosen = choices(arrays, spare_fit=spare_fit)
    n = len(arrays.sets)
    i, j = np.indices((n, n))
    scores = arrays.test[chosen, i, j]
    values = mean(scores, (1,))
    by_set = _by_name(arrays.sets, values)
    most, agreed = {}, {}
    for position, name in enumerate(arrays.sets):
        if name in by_set:
            here = np.delete(chosen[position], position)
            numbers, counts = np.unique(here, return_counts=True)
            most[name], agreed[name] = arrays.trials[numbers[counts.argmax()]], int(counts.max())
    known = np.array(list(by_set.values()))
    least_sd = binomial_sd(float(known.mean()), arrays.n_slices)
    luck = float(np.sqrt(mean((scores - values[:, None]) ** 2, (0, 1)) * (n - 1) / (n - 2))) if n > 2 else float("nan")
    return NestedEstimate(
        mean=float(known.mean()),
        lower=lower_bound(known, least_sd=least_sd),
        interval=mean_interval(known, least_sd),
        next_set=next_set(known, luck, n - 1, least_sd),
        by_set=by_set,
        chosen=most,
        n_agreed=agreed,
    )


def choices(arrays: FoldArrays, *, spare_fit: bool = True) -> Indices:
    """For each fold the position of the trial that is chosen for it, (test, validation); see `nested_accuracy`."""
    return first_best(validation_means(arrays, spare_fit=spare_fit))


def validation_means(arrays: FoldArrays, *, spare_fit: bool = True) -> Values:
    """For each fold (i, j), mean validation score of each trial over the folds of i but (i, j), (trial, i, j)."""
    n = len(arrays.sets)
    if not spare_fit or n < 3:
        return np.repeat(mean(arrays.validation, (2,))[:, :, None], n, axis=2)
    spared = np.repeat(arrays.validation[:, :, None, :], n, axis=2)  # (trial, i, j, ·)
    spared[:, :, np.arange(n), np.arange(n)] = np.nan
    return mean(spared, (3,))


def choose_optimum(folds: pd.DataFrame, rule: str, n_parameters: Mapping[int, int], baseline: int | None = None) -> int:
    """The number of the trial that ends a study.

    Args:
        folds: Recorded folds of complete trials.
        rule: "best": the highest mean validation score, the earlier trial of equals. "one-se": of the trials that are worse
            than the best by no more than one standard error of the difference, paired by test set, the one with the fewest
            parameters. "baseline": that of the baseline's hyperparameters; as "best" where there is none.
        n_parameters: Of each trial's network.
        baseline: Number of the baseline's trial.
    """
    estimates = trial_estimates(folds)
    if rule == "baseline" and baseline in {e.trial for e in estimates}:
        return int(baseline)
    best = estimates[int(first_best(np.array([e.validation_mean for e in estimates])))]
    if rule != "one-se":
        return best.trial
    close = [e for e in estimates if best.validation_mean - e.validation_mean <= _paired_error(best, e) + TIE]
    return min(close, key=lambda e: (n_parameters[e.trial], -e.validation_mean, e.trial)).trial


def _paired_error(first: TrialEstimate, second: TrialEstimate) -> float:
    """Standard error of the mean difference of two trials over test sets; 0 for one set."""
    differences = np.array([first.by_set[name] - second.by_set[name] for name in first.by_set])
    return float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else 0.0
