"""Pruning: a trial is stopped when its first fits show that it falls behind the incumbent.

Pruning saves fits on trials that would not win. It must hardly ever stop one that would have: the significance level
here was chosen so
that with five sets at most 1.6 % of those were stopped, in simulated studies and in recorded ones, and with ten sets, where
0.8 of all luck is of the fit, 2.9 % (docs/explanation/pruning.md).

References:
    Maron and Moore, Artificial Intelligence Review 11 (1997) 193, doi:10.1023/A:1006556606079: racing on paired scores.
    Wilcoxon, Biometrics Bulletin 1 (1945) 80, doi:10.2307/3001968.

A stopped trial is COMPLETE for Optuna, whose sampler learns from it, and carries the attribute `STOPPED`. Everybody else
reads `complete_trials`, which leaves it out: its folds are few, and easier or harder than all.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from bonehpo.config import StudyConfig
from bonehpo.domain import HoldoutPair
from bonehpo.renamed import COLUMNS, find_attribute, with_new_names
from bonehpo.search.plan import FinishedPair, SearchPlan
from bonehpo.search.storage import REASON, finished_pairs

Scores = npt.NDArray[np.float64]

FIRST_LOOK = 3
"""Fits before the first look: fewer give four folds, of which no order is significant at 0.05 (1/16)."""

TOTAL_ALPHA = 0.1
"""Divided by the number of fits of a trial: alpha of each look. Ten fits (five sets): 0.01, within reach of four."""

MAX_EXACT = 50
"""Folds up to which the exact distribution is taken; it is close to normal beyond."""


class PruningDecision(NamedTuple):
    """What pruning says of a trial.

    Attributes:
        n_fits: Fits, from the first on, that the decision is made of.
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


def alpha(n_fits: int) -> float:
    """Significance level of one look at a trial of `n_fits` fits in all: the more looks there can be, the stricter."""
    return TOTAL_ALPHA / n_fits


def decide(scores: Scores, other: Scores, n_fits: int) -> PruningDecision:
    """Look after every fit, in order, whether the trial has fallen behind; the first look that says so decides.

    A look is a one-sided Wilcoxon signed-rank test on the differences of all folds so far. Folds are not independent (two
    of each fit, and they share sets), so that its p is a score and not a probability: what alpha is worth was measured.
    The fits must come in a fixed order, not as they finish, so that the decision is the same whenever it is asked for.

    Args:
        scores: Validation scores of the trial's first fits, in the order of `fit_blocks`: (fit, 2).
        other: The same folds of the trial that is to be beaten, at least as many fits.
        n_fits: Fits of a whole trial. A trial that has them all is not stopped.

    Returns:
        The decision of the first look that stops the trial, else that of the last look.
    """
    differences = scores - other[: len(scores)]
    decision = PruningDecision(0, 1.0, float("nan"), False)
    for n in range(FIRST_LOOK, min(len(scores), n_fits - 1) + 1):
        so_far = differences[:n].ravel()
        p, mean = float(p_worse(so_far)), float(so_far.mean())
        decision = PruningDecision(n, p, mean, p <= alpha(n_fits) and mean < 0)
        if decision.stops:
            break
    return decision


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


def adjusted_score(decision: PruningDecision, other: Scores) -> float:
    """What a stopped trial would have had in all its folds, if it stays as far behind as it is.

    The plain mean of its folds depends on which they are: some sets are easier. This is what the sampler is told.

    Args:
        decision: That stops it.
        other: All folds of the trial that it is behind, (fit, 2).
    """
    return float(other.mean()) + decision.difference


TrialStateName = Literal["complete", "stopped", "failed", "unfinished"]

PRUNED, INCUMBENT, STOPPED = "pruned", "pruning:incumbent", "pruning:stopped"
NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why a trial was stopped.

    Attributes:
        incumbent: Number of the trial that it fell behind.
        n_fits: Fits, from the first on, that showed it.
        p: One-sided, of the signed-rank test on their folds.
        difference: Mean score of those folds minus the incumbent's in the same.
        score: What the sampler is told: the incumbent's score plus that difference.
    """

    incumbent: int
    n_fits: int
    p: float
    difference: float
    score: float

    @property
    def reason(self) -> str:
        """In words; differences of scores have the same size whatever they measure."""
        behind = f"{abs(self.difference):.3f} behind trial {self.incumbent}"
        return f"{behind} in the same {2 * self.n_fits} folds, p = {self.p:.2g}"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialPruning:
    """The pruning of one trial: the order of its fits, and whom it is held against.

    Attributes:
        pairs: Holdout pairs in the order in which they are fitted and looked at.
        incumbent: Number of the trial that it is held against.
        scores: Validation scores of that, (fit, 2), in the order of `pairs`; None where nobody leads: then all goes on.
    """

    pairs: tuple[HoldoutPair, ...]
    incumbent: int = NOBODY
    scores: Scores | None = None

    def stop(self, done: Mapping[str, FinishedPair]) -> Stop | None:
        """Why the trial is to be stopped, or None where it goes on.

        Only fits up to the first missing one count, so that the answer does not depend on which finished first.

        Args:
            done: What the trial has finished, by the label of the pair.
        """
        if self.scores is None:
            return None
        n = next((i for i, pair in enumerate(self.pairs) if pair.label not in done), len(self.pairs))
        decision = decide(_scores(done, self.pairs[:n]), self.scores, len(self.pairs))
        if not decision.stops:
            return None
        return Stop(
            incumbent=self.incumbent,
            n_fits=decision.n_fits,
            p=decision.p,
            difference=decision.difference,
            score=adjusted_score(decision, self.scores),
        )


def _scores(done: Mapping[str, FinishedPair], pairs: tuple[HoldoutPair, ...]) -> Scores:
    scores = [[fold.validation_score for fold in done[pair.label].folds] for pair in pairs]
    return np.array(scores, dtype=np.float64).reshape(-1, 2)


def begin_pruning(plan: SearchPlan, study: optuna.Study, trial: optuna.Trial) -> TrialPruning:
    """Hold a trial against the best complete trial; against the same one when it is taken up again."""
    pairs = tuple(pair for block in fit_blocks(list(plan.sets)) for pair in block)
    trials = study.get_trials(deepcopy=False)
    number = find_attribute(trials[trial.number].user_attrs, INCUMBENT)
    if number is None:
        best = max(complete_trials(study), key=lambda t: (t.value or 0.0, -t.number), default=None)
        number = NOBODY if best is None else best.number
        trial.set_user_attr(INCUMBENT, number)
    if number == NOBODY:
        return TrialPruning(pairs=pairs)
    return TrialPruning(pairs=pairs, incumbent=number, scores=_scores(finished_pairs(trials[number]), pairs))


def why_not_pruned(config: StudyConfig) -> str | None:
    """Why a study of this kind is not pruned; None where it is."""
    if config.protocol == "strict":
        return "the protocol is strict: what is tried, and how long, must not depend on scores"
    if config.search.optimum == "one-se":
        return 'optimum = "one-se" may choose a trial that is behind, and pruning stops those'
    return None


def mark_pruned(study: optuna.Study) -> None:
    """Write down that the study was pruned, once and for all: that leaks a little into its estimates."""
    if not is_pruned(study):
        study.set_user_attr(PRUNED, True)


def is_pruned(study: optuna.Study) -> bool:
    """Whether some call of the search pruned."""
    return bool(find_attribute(study.user_attrs, PRUNED))


def record_stop(trial: optuna.Trial, stop: Stop) -> None:
    """Write down that a trial is stopped, before Optuna is told its value."""
    trial.set_user_attr(REASON, stop.reason)
    trial.set_user_attr(STOPPED, json.dumps(dataclasses.asdict(stop)))


def read_stop(trial: FrozenTrial) -> Stop | None:
    """Why a trial was stopped; None where it was not."""
    text = find_attribute(trial.user_attrs, STOPPED)
    return None if text is None else Stop(**with_new_names(json.loads(text), COLUMNS))


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have all their folds, in order of number: those of which anything may be estimated or chosen."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if read_stop(trial) is None]


def trial_state(trial: FrozenTrial) -> TrialStateName:
    """What became of a trial that has begun."""
    if trial.state == TrialState.COMPLETE:
        return "complete" if read_stop(trial) is None else "stopped"
    return "failed" if trial.state.is_finished() else "unfinished"


def stopped_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that pruning stopped, in order of number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if read_stop(trial) is not None]
