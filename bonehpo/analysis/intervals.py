"""Intervals over test sets: of the mean, and of the next set.

Sets are the unit: as many numbers as there are specimens (or donors), taken as independent and alike. Where they happen to
agree, or are few, their own spread says too little: it is never taken for smaller than chance alone makes it among as many
slices.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Values = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """Both ends of a two-sided 95 % interval."""

    lower: float
    upper: float


def lower_bound(scores: Values, confidence: float = 0.95, least_sd: float = 0.0) -> float:
    """Lower end of the one-sided Student interval of the mean of scores (set,), taken as independent; NaN below two.

    Args:
        scores: Of each set.
        confidence: Of the one side.
        least_sd: Standard deviation between sets that chance alone makes, see `binomial_sd`.
    """
    n = len(scores)
    if n < 2:
        return float("nan")
    sd = max(float(scores.std(ddof=1)), least_sd)
    return float(scores.mean() - stdtrit(n - 1, confidence) * sd / np.sqrt(n))


def mean_interval(scores: Values, least_sd: float = 0.0) -> Interval:
    """Student's two-sided 95 % interval of the mean of scores (set,), taken as independent; NaN for fewer than two.

    Approximate for accuracies of one cross-validation, whose sets share training specimens.

    Args:
        scores: Of each set.
        least_sd: As in `lower_bound`.
    """
    if len(scores) < 2:
        return Interval(float("nan"), float("nan"))
    lower = lower_bound(scores, 0.975, least_sd)
    return Interval(lower, 2 * float(scores.mean()) - lower)


def binomial_sd(accuracy: float, n_slices: float) -> float:
    """Standard deviation of the accuracy on n slices that are called right independently of one another.

    Slices of one specimen are not independent, so that it is the least there can be. Two slices of either kind are added,
    so that it is not 0 where all are right [1]_.

    Args:
        accuracy: Share of slices that are called right.
        n_slices: How many slices; NaN gives 0.

    References:
        .. [1] Agresti and Coull, Am. Stat. 52 (1998) 119, doi:10.1080/00031305.1998.10480550.
    """
    if not n_slices > 0:
        return 0.0
    share = (accuracy * n_slices + 2) / (n_slices + 4)
    return float(np.sqrt(share * (1 - share) / n_slices))


def next_set(scores: Values, luck_sd: float, n_lucks: int, least_sd: float = 0.0) -> Interval:
    """Two-sided 95 % prediction interval for the score of one network on the next set.

    The next set is taken to be exchangeable with those at hand: a bone of the same kind, scanned and prepared like them. Its
    score varies as theirs do, about a mean that is not known better than they tell; they are means over several networks,
    and it is judged by one.

    Args:
        scores: Of each set, means over `n_lucks` networks each.
        luck_sd: Standard deviation between networks on one set; NaN where each set was scored by one.
        n_lucks: Networks that scored each set.
        least_sd: As in `lower_bound`.

    Returns:
        NaN for fewer than two sets.

    References:
        Higgins, Thompson and Spiegelhalter, J. R. Stat. Soc. A 172 (2009) 137, doi:10.1111/j.1467-985X.2008.00552.x;
        degrees of freedom after Satterthwaite, Biometrics Bull. 2 (1946) 110.
    """
    n = len(scores)
    if n < 2:
        return Interval(float("nan"), float("nan"))
    between = max(float(scores.var(ddof=1)), least_sd**2) * (1 + 1 / n)
    within = luck_sd**2 * (1 - 1 / n_lucks) if n_lucks > 1 and np.isfinite(luck_sd) else 0.0
    total = between + within
    if total == 0:
        return Interval(float(scores.mean()), float(scores.mean()))
    freedom = total**2 / (between**2 / (n - 1) + within**2 / max(n * (n_lucks - 1), 1))
    half = float(stdtrit(freedom, 0.975)) * np.sqrt(total)
    return Interval(float(scores.mean() - half), float(scores.mean() + half))
