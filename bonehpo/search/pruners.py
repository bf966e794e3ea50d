"""Pruners: rules that say from the first fits of a trial that it will not win.

A pruner saves fits on trials that would not win. It must hardly ever stop one that would have: what each saves and loses
was measured on simulated studies, on which nothing was chosen, and on recorded trials (docs/explanation/pruning.md). A
pruner is one class and its entry in `PRUNERS`; `[search] pruner` of study.toml names it.

References:
    Maron and Moore, Artificial Intelligence Review 11 (1997) 193, doi:10.1023/A:1006556606079: racing on paired scores.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from bonehpo.config import PrunerName
from bonehpo.domain import HoldoutPair

Scores = npt.NDArray[np.float64]

FIRST_LOOK = 3
"""Fits before the first look: fewer give four folds, of which no order is significant at 0.05 (1/16)."""

MAX_EXACT = 50
"""Folds up to which the exact distribution is taken; it is close to normal beyond."""


class PruningDecision(NamedTuple):
    """Decision of a pruner on a trial.

    Attributes:
        n_fits: Fits, from the first on, that the decision is made of.
        p: One-sided p of the test on their folds; 1 before the first look.
        difference: Mean over those folds of the trial's score minus the incumbent's.
        stops: Whether the trial is to be stopped.
    """

    n_fits: int
    p: float
    difference: float
    stops: bool


UNDECIDED = PruningDecision(0, 1.0, float("nan"), False)
"""Before the first look."""


class Pruner(Protocol):
    """A rule that stops trials. Its docstring says what it saves and loses, how that was measured, and where it is from.

    Attributes:
        name: As in study.toml, and as it is written with a trial that it stopped.
        needs_incumbent: Whether it holds a trial against the best complete trial, the incumbent. If so, fits are made in
            the order of `fit_blocks`, and nothing is stopped while no trial is complete.
    """

    name: PrunerName
    needs_incumbent: bool

    def decide(self, scores: Scores, incumbent: Scores, n_fits: int) -> PruningDecision:
        """Decide whether the trial has fallen behind.

        The fits come in a fixed order, not as they finish, so that the decision is the same on any number of workers, and
        after a search was killed. It must be the same, too, when fits are handed over that came after those that decided:
        the first look that stops a trial is its last.

        Args:
            scores: Validation scores of the trial's first fits, in the order of `fit_blocks`: (fit, 2).
            incumbent: The same folds of the incumbent, of at least as many fits.
            n_fits: Fits of a whole trial. A trial that has them all is not stopped.

        Returns:
            The decision of the first look that stops the trial, else that of the last look.
        """


class NoPruner:
    """No trial is stopped: every trial costs all its fits, and none that would have won is lost."""

    name: PrunerName = "none"
    needs_incumbent = False

    def decide(self, scores: Scores, incumbent: Scores, n_fits: int) -> PruningDecision:  # noqa: ARG002  # of a Pruner
        """Let the trial go on."""
        return UNDECIDED


class PairedTest:
    """A pruner that tests after every fit, from the third on, whether the folds so far are below the incumbent's.

    The significance level of a look is `total_alpha` divided by the number of fits of a trial: the more looks there can be,
    the stricter. Folds are not independent (two of each fit, and they share sets), so that p is a score and not a
    probability: what a level is worth was measured.

    Attributes:
        total_alpha: Divided by the number of fits of a trial: alpha of each look.
    """

    name: PrunerName
    needs_incumbent = True
    total_alpha: float

    def alpha(self, n_fits: int) -> float:
        """Significance level of one look at a trial of `n_fits` fits in all."""
        return self.total_alpha / n_fits

    def p_worse(self, differences: Scores) -> Scores:
        """One-sided p that the differences of paired folds, (…, fit, 2), are below zero, (…)."""
        raise NotImplementedError

    def decide(self, scores: Scores, incumbent: Scores, n_fits: int) -> PruningDecision:
        """Look after every fit, in order; the first look that stops the trial decides. See `Pruner.decide`."""
        differences = scores - incumbent[: len(scores)]
        decision = UNDECIDED
        for n in range(FIRST_LOOK, min(len(scores), n_fits - 1) + 1):
            so_far = differences[:n]
            p, mean = float(self.p_worse(so_far)), float(so_far.ravel().mean())
            decision = PruningDecision(n, p, mean, p <= self.alpha(n_fits) and mean < 0)
            if decision.stops:
                break
        return decision


class SignedRank(PairedTest):
    """One-sided Wilcoxon signed-rank test on the differences of all folds so far, at 0.1 / fits (five sets: 0.01).

    Zeros count half to each side and ties their mean rank, at the distribution without either, which errs on the safe
    side: the same test for every number of folds, and quick.

    Measured: a search is quicker by 1.04 to 1.20 where configurations are equal and by 1.4 to 1.6 with four and five sets
    where they differ (2.3 with seven, 3.0 with ten); of the trials that would have won it stops at most 0.5 % with five
    sets and 1.7 % with ten. Where 0.8 of all luck is of the fit, whose two folds are then hardly more than one, it stops
    1.6 % with five and 2.9 % with ten. On recorded trials in 4,000 orders it stopped 0.3 %, and no optimum.

    References:
        Wilcoxon, Biometrics Bulletin 1 (1945) 80, doi:10.2307/3001968.
    """

    name: PrunerName = "signed-rank"
    total_alpha = 0.1

    def p_worse(self, differences: Scores) -> Scores:
        """One-sided p of the signed-rank test on all folds.

        Examples:
            >>> float(SignedRank().p_worse(np.array([[-0.1, -0.2], [-0.1, -0.3], [-0.2, -0.1]])))  # 1 / 2**6
            0.015625
            >>> float(SignedRank().p_worse(np.zeros((3, 2)))) > 0.5
            True
        """
        from scipy import stats

        folds = differences.reshape(*differences.shape[:-2], -1)
        method = "exact" if folds.shape[-1] <= MAX_EXACT else "asymptotic"
        found = stats.wilcoxon(folds, alternative="less", zero_method="zsplit", method=method, axis=-1)
        return np.asarray(found.pvalue)


class PairedT(PairedTest):
    """One-sided paired t-test in which a fit counts once, as the mean of its two folds, at 0.2 / fits (five sets: 0.02).

    The two folds of a fit are two answers of one network and share their luck; a test that takes them for two is too sure.

    Measured: a search is quicker by 1.07 to 1.21 where configurations are equal and by 1.3 to 1.6 with four and five sets
    where they differ (2.2 with seven, 2.8 with ten); of the trials that would have won it stops at most 2.0 % with four to
    ten sets, however much of the luck the folds of a fit share. It was not tried on recorded trials.

    References:
        López-Ibáñez, Dubois-Lacoste, Pérez Cáceres, Birattari and Stützle, Operations Research Perspectives 3 (2016) 43,
        doi:10.1016/j.orp.2016.09.002: the paired t-test as the rule of a race.
    """

    name: PrunerName = "paired-t"
    total_alpha = 0.2

    def p_worse(self, differences: Scores) -> Scores:
        """One-sided p of the t-test on the means of the fits; 0 where all are behind by the same.

        Examples:
            >>> pruner = PairedT()
            >>> round(float(pruner.p_worse(np.array([[-0.1, -0.1], [-0.2, -0.2], [-0.3, -0.3]]))), 4)
            0.0371
            >>> float(pruner.p_worse(np.full((3, 2), -0.125))), float(pruner.p_worse(np.zeros((3, 2))))
            (0.0, 1.0)
        """
        means = differences.mean(axis=-1)
        n = means.shape[-1]
        mean, error = means.mean(axis=-1), means.std(axis=-1, ddof=1) / np.sqrt(n)
        certain = np.where(mean < 0, 0.0, 1.0)
        t = np.divide(mean, error, out=np.zeros_like(mean), where=error > 0)
        return np.where(error > 0, stdtr(n - 1, t), certain)


PRUNERS: Mapping[str, Pruner] = {pruner.name: pruner for pruner in (NoPruner(), SignedRank(), PairedT())}
"""All pruners by name."""


def adjusted_score(decision: PruningDecision, incumbent: Scores) -> float:
    """Score that a stopped trial would have had in all its folds, if it stays as far behind as it is.

    The plain mean of its folds depends on which they are: some sets are easier. This is what the sampler is told.

    Args:
        decision: That stops it.
        incumbent: All folds of the trial that it is behind, (fit, 2).
    """
    return float(incumbent.mean()) + decision.difference


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
