"""How accurate the optimum is: as the paper reports it, and as it can be believed.

All is computed from recorded folds, a table with one row for each fold of each complete trial and the columns `trial`,
`test`, `validation`, `test_score`, `validation_score` (see `domain.shown`). The unit of independence is the specimen: slices
of one specimen, and folds that share specimens, are not independent, so every interval here has n = number of test sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from bonehpo.analysis.bootstrap import bootstrap_corrected
from bonehpo.analysis.scores import FoldArrays, Indices, Values, first_best, fold_arrays, mean
from bonehpo.domain import Task

CHANCE = 0.5


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
        by_set: For each test set the mean test score of the trials chosen for its folds.
        chosen: For each test set the trial that was chosen for most of its folds, the earliest of equals.
        n_agreed: For how many of its folds that was.
    """

    mean: float
    lower: float
    by_set: Mapping[str, float]
    chosen: Mapping[str, int]
    n_agreed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """How good one trial of a study is, and how good it can be believed to be. For scores see `domain.shown`.

    Attributes:
        trial: Its number.
        paper_score: Mean test score over its folds, which the search maximised.
        sd: Standard deviation of the same.
        n_folds: Number of those folds.
        nested_score: Estimate for a set that the choice of the trial has not seen.
        nested_score_bound: Its one-sided 95 % bound on the bad side.
        nested_score_worse_end: The bad end of its two-sided 95 % interval, Student's t over the test sets.
        nested_score_better_end: The good end; it may lie beyond what a score can be.
        nested_score_by_set: The same for each test set, in natural order.
        chosen_by_set: The trial that is chosen for each test set, for most of its folds.
        n_agreed_by_set: For how many of the folds of that set it is chosen.
        bootstrap_score: The bias-corrected score, see `bootstrap.bootstrap_corrected`.
        bootstrap_score_worse_end: The bad end of its 95 % percentile interval over specimens.
        bootstrap_score_better_end: The good end.
        gap: Paper score minus nested score: the optimism.
    """

    trial: int
    paper_score: float
    sd: float
    n_folds: int
    nested_score: float
    nested_score_bound: float
    nested_score_worse_end: float
    nested_score_better_end: float
    nested_score_by_set: Mapping[str, float]
    chosen_by_set: Mapping[str, int]
    n_agreed_by_set: Mapping[str, int]
    bootstrap_score: float
    bootstrap_score_worse_end: float
    bootstrap_score_better_end: float
    gap: float


def estimate(folds: pd.DataFrame, trial: int) -> Estimates:
    """The estimates for a trial that was chosen among those of `folds`."""
    best = next(e for e in trial_estimates(folds) if e.trial == trial)
    nested = nested_accuracy(folds)
    worse_end = lower_bound(np.array(list(nested.by_set.values())), confidence=0.975)
    bootstrap = bootstrap_corrected(fold_arrays(folds).by_set)
    return Estimates(
        trial=trial,
        paper_score=best.mean,
        sd=best.sd,
        n_folds=int((folds["trial"] == trial).sum()),
        nested_score=nested.mean,
        nested_score_bound=nested.lower,
        nested_score_worse_end=worse_end,
        nested_score_better_end=2 * nested.mean - worse_end,
        nested_score_by_set=nested.by_set,
        chosen_by_set=nested.chosen,
        n_agreed_by_set=nested.n_agreed,
        bootstrap_score=bootstrap.mean,
        bootstrap_score_worse_end=bootstrap.lower,
        bootstrap_score_better_end=bootstrap.upper,
        gap=best.mean - nested.mean,
    )


def trial_estimates(folds: pd.DataFrame) -> tuple[TrialEstimate, ...]:
    """Each trial's paper score, in order of trial number."""
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
    0.25 of them (docs/estimates.md).

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
    values = mean(arrays.test[chosen, i, j], (1,))
    by_set = _by_name(arrays.sets, values)
    most, agreed = {}, {}
    for position, name in enumerate(arrays.sets):
        if name in by_set:
            here = np.delete(chosen[position], position)
            numbers, counts = np.unique(here, return_counts=True)
            most[name], agreed[name] = arrays.trials[numbers[counts.argmax()]], int(counts.max())
    known = np.array(list(by_set.values()))
    return NestedEstimate(
        mean=float(known.mean()), lower=lower_bound(known), by_set=by_set, chosen=most, n_agreed=agreed
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


class Span(NamedTuple):
    """Both ends of an interval as people read it, the smaller number first."""

    low: float
    high: float


def span_as_shown(worse_end: float, better_end: float, task: Task) -> Span:
    """An interval of scores as one of accuracies, or of errors in % strain, cut where they end.

    Examples:
        >>> span_as_shown(0.75, 1.125, "damage")
        Span(low=0.75, high=1.0)
        >>> span_as_shown(-1.5, 0.25, "strain")
        Span(low=0.0, high=1.5)
    """
    if task == "damage":
        return Span(max(worse_end, 0.0), min(better_end, 1.0))
    return Span(max(-better_end, 0.0), -worse_end)


def lower_bound(accuracies: np.ndarray, confidence: float = 0.95) -> float:
    """Lower end of the one-sided Student interval of the mean of accuracies (set,), taken as independent; NaN below two."""
    n = len(accuracies)
    if n < 2:
        return float("nan")
    return float(accuracies.mean() - stats.t.ppf(confidence, n - 1) * accuracies.std(ddof=1) / np.sqrt(n))


def choose_optimum(folds: pd.DataFrame, rule: str, n_parameters: Mapping[int, int]) -> int:
    """The number of the trial that ends a study.

    Args:
        folds: Recorded folds of complete trials.
        rule: "best": the highest mean validation score, the earlier trial of equals. "one-se": of the trials within one
            standard error (over test sets) of the best, the one with the fewest parameters.
        n_parameters: Of each trial's network.
    """
    estimates = trial_estimates(folds)
    best = estimates[int(first_best(np.array([e.validation_mean for e in estimates])))]
    if rule == "best":
        return best.trial
    values = np.array(list(best.by_set.values()))
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    close = [e for e in estimates if e.validation_mean >= best.validation_mean - error]
    return min(close, key=lambda e: (n_parameters[e.trial], -e.validation_mean, e.trial)).trial
