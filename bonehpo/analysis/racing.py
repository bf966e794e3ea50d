"""Whether a trial can be stopped: its first fits against the same fits of the best trial so far.

A race saves fits on trials that would not win. It must hardly ever stop one that would have: the level here was chosen so
that with five sets at most 1.6 % of those were stopped, in simulated studies and in recorded ones, and with ten sets, where
0.8 of all luck is of the fit, 2.9 % (docs/race.md).

References:
    Maron and Moore, Artificial Intelligence Review 11 (1997) 193, doi:10.1023/A:1006556606079: racing on paired scores.
    Wilcoxon, Biometrics Bulletin 1 (1945) 80, doi:10.2307/3001968.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from bonehpo.domain import HoldoutPair

Scores = npt.NDArray[np.float64]

FIRST_LOOK = 3
"""Fits before the first look: fewer give four folds, of which no order is significant at 0.05 (1/16)."""

TOTAL_LEVEL = 0.1
"""Divided by the number of fits of a trial: the level of each look. Ten fits (five sets): 0.01, within reach of four."""

MAX_EXACT = 50
"""Folds up to which the exact distribution is taken; it is close to normal beyond."""


class Verdict(NamedTuple):
    """What a race says of a trial.

    Attributes:
        n_fits: Fits, from the first on, that the verdict is made of.
        p: One-sided p of the signed-rank test on their folds; 1 before the first look.
        difference: Mean over those folds of the trial's score minus the other's.
        stops: Whether the trial is to be stopped.
    """

    n_fits: int
    p: float
    difference: float
    stops: bool


def fit_blocks(sets: Sequence[str]) -> tuple[tuple[HoldoutPair, ...], ...]:
    """All holdout pairs, in blocks of which each holds out every set equally often: a trial is to be judged early on all.

    An odd number of sets stands on a circle; block s holds the n pairs that are s places apart, so that each set is twice
    in it: five sets have two blocks of five. An even number plays a round-robin tournament (the circle method); a round is
    a block of n / 2 pairs, with each set once: ten sets have nine blocks of five. As a pair is tested on both its sets,
    each set is test and validation set equally often within a block. Blocks cannot be smaller.

    Args:
        sets: Set names, each once.

    Examples:
        >>> [" ".join(pair.label for pair in block) for block in fit_blocks("abcde")]
        ['a|b b|c c|d d|e a|e', 'a|c b|d c|e a|d b|e']
        >>> [" ".join(pair.label for pair in block) for block in fit_blocks("abcd")]
        ['a|d b|c', 'b|d a|c', 'c|d a|b']
    """
    n = len(sets)
    if n % 2:
        places = [[(i, (i + s) % n) for i in range(n)] for s in range(1, n // 2 + 1)]
    else:
        m = n - 1
        places = [[(r, m), *(((r + k) % m, (r - k) % m) for k in range(1, n // 2))] for r in range(m)]
    return tuple(tuple(_pair(sets[i], sets[j]) for i, j in block) for block in places)


def _pair(one: str, other: str) -> HoldoutPair:
    first, second = sorted((one, other))
    return HoldoutPair(first, second)


def level(n_fits: int) -> float:
    """The level of one look at a trial of `n_fits` fits in all: the more looks there can be, the stricter is each."""
    return TOTAL_LEVEL / n_fits


def judge(scores: Scores, other: Scores, n_fits: int) -> Verdict:
    """Look after every fit, in order, whether the trial has fallen behind; the first look that says so decides.

    A look is a one-sided Wilcoxon signed-rank test on the differences of all folds so far. Folds are not independent (two
    of each fit, and they share sets), so that its p is a score and not a probability: what the level is worth was measured.
    The fits must come in a fixed order, not as they finish, so that the verdict is the same whenever it is asked for.

    Args:
        scores: Validation scores of the trial's first fits, in the order of `fit_blocks`: (fit, 2).
        other: The same folds of the trial that is to be beaten, at least as many fits.
        n_fits: Fits of a whole trial. A trial that has them all is not stopped.

    Returns:
        The verdict of the first look that stops the trial, else that of the last look.
    """
    differences = scores - other[: len(scores)]
    verdict = Verdict(0, 1.0, float("nan"), False)
    for n in range(FIRST_LOOK, min(len(scores), n_fits - 1) + 1):
        so_far = differences[:n].ravel()
        p, mean = float(p_worse(so_far)), float(so_far.mean())
        verdict = Verdict(n, p, mean, p <= level(n_fits) and mean < 0)
        if verdict.stops:
            break
    return verdict


def p_worse(differences: Scores) -> Scores:
    """One-sided p that differences (…, fold) are below zero, of the Wilcoxon signed-rank test along the last axis.

    Zeros count half to each side and ties their mean rank, at the distribution without either, which errs on the safe
    side: the same test for every number of folds, and quick.

    Examples:
        >>> float(p_worse(np.array([-0.1, -0.2, -0.1, -0.3, -0.2, -0.1])))  # 1 / 2**6
        0.015625
        >>> float(p_worse(np.zeros(6))) > 0.5
        True
    """
    method = "exact" if differences.shape[-1] <= MAX_EXACT else "asymptotic"
    found = stats.wilcoxon(differences, alternative="less", zero_method="zsplit", method=method, axis=-1)
    return np.asarray(found.pvalue)


def adjusted_score(verdict: Verdict, other: Scores) -> float:
    """What a stopped trial would have had in all its folds, if it stays as far behind as it is.

    The plain mean of its folds depends on which they are: some sets are easier. This is what the sampler is told.

    Args:
        verdict: That stops it.
        other: All folds of the trial that it is behind, (fit, 2).
    """
    return float(other.mean()) + verdict.difference
