"""Two networks compared where it counts: specimen by specimen.

Slices of one specimen are not independent, nor are folds that share specimens, so that a comparison has as many pairs as
there are test sets. With five of them no two-sided exact p can be below 2 / 2^5 = 0.0625: the smallest p that could have
come out is part of every answer. The corrected resampled t-test over folds, which many expect, stands beside it as a second
opinion; docs/explanation/estimates.md has how often each is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from bonehpo.analysis.estimates import TIE
from bonehpo.analysis.intervals import Values, lower_bound, mean_interval
from bonehpo.domain import FoldScores
from bonehpo.errors import StudyError

N_EXACT = 20
"""Up to so many sets all 2^n signs are gone through, a million at most; above, `N_RESAMPLES` random ones."""

N_RESAMPLES = 9_999


class Comparison(NamedTuple):
    """Difference of two networks over test sets.

    Attributes:
        difference: Mean over sets of first − second, in the unit of the scores.
        lower: Lower end of its two-sided 95 % interval, Student's t over the sets; NaN for one set.
        upper: Upper end.
        p: Two-sided p of the sign-flip test, 0 < p <= 1.
        smallest_p: The smallest p that this many sets allow.
        n_sets: How many sets.
    """

    difference: float
    lower: float
    upper: float
    p: float
    smallest_p: float
    n_sets: int


class CorrectedT(NamedTuple):
    """The corrected resampled t-test.

    Attributes:
        difference: Mean difference over the folds.
        t: The statistic, with `n_folds` − 1 degrees of freedom; infinite where all folds differ by the same.
        p: Two-sided; 1 where no fold differs.
        n_folds: How many folds.
    """

    difference: float
    t: float
    p: float
    n_folds: int


def compare_by_set(first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    """Compare two networks by their scores on the same test sets.

    If both were equally good, the difference on each set could as well have had the other sign. p is the share of all
    2^n ways to choose signs in which the mean is at least as far from zero as it is [1]_. Above `N_EXACT` sets the
    signs are drawn at random, always the same.

    Args:
        first: Score of each test set.
        second: The same sets.

    Raises:
        StudyError: The sets differ, there is none, or a score is not a finite number.

    References:
        .. [1] Fisher, The Design of Experiments (1935), §21; Good, Permutation, Parametric and Bootstrap Tests (2005).
    """
    if not first or first.keys() != second.keys():
        lost = ", ".join(sorted(first.keys() ^ second.keys())) or "all sets"
        raise StudyError(f"networks can be compared on the same test sets only, one lacks {lost}: complete its folds")
    broken = [name for name in first if not np.isfinite(first[name] - second[name])]
    if broken:
        raise StudyError(f"the score on test set {', '.join(broken)} is no finite number: fit its folds again")
    differences = np.sort(np.array([first[name] - second[name] for name in first]))
    interval, n = mean_interval(differences), len(differences)
    return Comparison(
        difference=float(differences.mean()),
        lower=interval.lower,
        upper=interval.upper,
        p=sign_flip_p(differences),
        smallest_p=2 / 2**n if n <= N_EXACT else 1 / (N_RESAMPLES + 1),
        n_sets=n,
    )


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """The outcome of a search against the baseline that it began with.

    Attributes:
        score: Mean score of the baseline over test sets.
        score_difference: Mean over sets of the nested score minus the baseline's.
        error: Its standard error, n = number of sets; NaN for one set, of which nothing is found better.
        is_better: Whether the baseline is the better one, as the difference is below 0 by more than its error explains:
            its one-sided 92 % bound is.
    """

    score: float
    score_difference: float
    error: float
    is_better: bool


CONFIDENCE = 0.92
"""Of the bound by which a baseline is found better: so, of studies of equal configurations, 6 to 10 % are found worse
(docs/explanation/estimates.md)."""


def against_baseline(nested: Mapping[str, float], baseline: Mapping[str, float]) -> AgainstBaseline:
    """Compare the nested score of a study with the score of its baseline, set by set.

    The nested score is what a choice among all trials comes to, the baseline was chosen by nobody: neither flatters.

    Args:
        nested: Nested score of each test set.
        baseline: Mean score of the baseline's trial on the same sets.
    """
    differences = np.array([nested[name] - baseline[name] for name in nested])
    n = len(differences)
    error = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return AgainstBaseline(
        score=float(np.mean([baseline[name] for name in nested])),
        score_difference=float(differences.mean()),
        error=error,
        is_better=bool(lower_bound(-differences, CONFIDENCE) > TIE),
    )


def sign_flip_p(differences: Values) -> float:
    """Two-sided p of the sign-flip test of differences (set,); see `compare_by_set`."""
    sizes = np.sort(np.abs(differences))
    reached = abs(differences.sum()) - 1e-9 * sizes.sum()  # sums that differ by rounding alone are equal
    if len(sizes) <= N_EXACT:
        sums = sizes[:1]  # the first sign may stay: all sums come in pairs of opposite sign
        for size in sizes[1:]:
            sums = np.concatenate([sums + size, sums - size])
        return float((np.abs(sums) >= reached).mean())
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(N_RESAMPLES, len(sizes)))
    return float((1 + (np.abs(signs @ sizes) >= reached).sum()) / (1 + N_RESAMPLES))


def compare_folds(first: Sequence[FoldScores], second: Sequence[FoldScores]) -> CorrectedT:
    """The corrected resampled t-test of two networks over the folds of one nested cross-validation.

    Args:
        first: Its folds, in any order; each trains on all sets but the two that it holds out.
        second: The same folds of another network.

    Raises:
        StudyError: The folds differ, or there are too few.
    """
    scores = [{(fold.test, fold.validation): fold.test_score for fold in folds} for folds in (first, second)]
    if scores[0].keys() != scores[1].keys():
        lost = ", ".join(f"{test}|{validation}" for test, validation in sorted(scores[0].keys() ^ scores[1].keys()))
        raise StudyError(f"networks can be compared on the same folds only, one lacks {lost}: complete its folds")
    differences = np.array([scores[0][fold] - scores[1][fold] for fold in sorted(scores[0])])
    n_sets = len({test for test, _ in scores[0]})
    return corrected_resampled_t(differences, n_train=max(n_sets - 2, 1), n_test=1)


def corrected_resampled_t(differences: Values, n_train: int, n_test: int) -> CorrectedT:
    """Compare two networks over folds that share training sets.

    The variance of the mean of n folds is taken as var · (1 / n + n_test / n_train) and not var / n, since folds that train
    on the same data do not err independently [1]_. Made for random resampling, so that for nested folds it is a second
    opinion beside `compare_by_set`.

    Args:
        differences: First − second for each fold, (fold,).
        n_train: Sets that a fold trains on.
        n_test: Sets that it tests.

    Raises:
        StudyError: Fewer than two folds, or a difference that is not a finite number.

    References:
        .. [1] Nadeau and Bengio, Machine Learning 52 (2003) 239, doi:10.1023/A:1024068626366.
    """
    n = len(differences)
    if n < 2 or not np.isfinite(differences).all():
        raise StudyError(
            f"the corrected t-test needs two or more folds with finite scores, got {n}: complete the folds"
        )
    difference = float(differences.mean())
    if np.ptp(differences) == 0:
        t = float(np.sign(difference) * np.inf) if difference else 0.0
    else:
        t = difference / float(np.sqrt(differences.var(ddof=1) * (1 / n + n_test / n_train)))
    return CorrectedT(difference=difference, t=t, p=float(2 * stdtr(n - 1, -abs(t))), n_folds=n)
