"""Pruning in a study: which trial another is held against, and what is written down of a trial that was stopped.

When a trial is to be stopped, a pruner says (`search.pruners`). A stopped trial is COMPLETE for Optuna, whose sampler learns
from it, and carries the attribute `STOPPED`. Everybody else reads `complete_trials`, which leaves it out: its folds are few,
and easier or harder than all.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from bonehpo.config import StudyConfig
from bonehpo.domain import HoldoutPair
from bonehpo.errors import StudyError
from bonehpo.schema import COLUMNS, find_attribute, with_new_names
from bonehpo.search.plan import FinishedPair, SearchPlan
from bonehpo.search.pruners import PRUNERS, Pruner, Scores, adjusted_score, fit_blocks
from bonehpo.search.storage import REASON, attributes, finished_pairs, remember

TrialStateName = Literal["complete", "stopped", "failed", "unfinished"]

PRUNED, INCUMBENT, STOPPED = "pruned", "pruning:incumbent", "pruning:stopped"
PRUNER = "pruning:pruner"
NOBODY = -1

FIRST_PRUNER = "signed-rank"
"""The only pruner there was when a trial did not say which is at work; and the one that `search --prune` takes where
study.toml names none."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Reason and evidence by which a trial was stopped.

    Attributes:
        incumbent: Number of the trial that it fell behind.
        n_fits: Fits, from the first on, that showed it.
        p: One-sided, of the pruner's test on their folds.
        difference: Mean score of those folds minus the incumbent's in the same.
        score: What the sampler is told: the incumbent's score plus that difference.
        pruner: Name of the pruner that stopped it.
    """

    incumbent: int
    n_fits: int
    p: float
    difference: float
    score: float
    pruner: str = FIRST_PRUNER

    @property
    def reason(self) -> str:
        """In words; differences of scores have the same size whatever they measure."""
        behind = f"{abs(self.difference):.3f} behind trial {self.incumbent}"
        p = f", p = {self.p:.2g}" if math.isfinite(self.p) else ""
        return f"{behind} in the same {2 * self.n_fits} folds{p} ({self.pruner})"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialPruning:
    """The pruning of one trial: the order of its fits, and whom it is held against.

    Attributes:
        pruner: Who decides.
        pairs: Holdout pairs in the order in which they are fitted and looked at.
        incumbent: Number of the trial that it is held against.
        scores: Validation scores of that, (fit, 2), in the order of `pairs`; None where nobody leads: then all goes on.
    """

    pruner: Pruner
    pairs: tuple[HoldoutPair, ...]
    incumbent: int = NOBODY
    scores: Scores | None = None

    def stop(self, done: Mapping[str, FinishedPair]) -> Stop | None:
        """Reason why the trial is to be stopped, or None where it goes on.

        Only fits up to the first missing one count, so that the answer does not depend on which finished first.

        Args:
            done: What the trial has finished, by the label of the pair.
        """
        if self.scores is None:
            return None
        n = next((i for i, pair in enumerate(self.pairs) if pair.label not in done), len(self.pairs))
        decision = self.pruner.decide(_scores(done, self.pairs[:n]), self.scores, len(self.pairs))
        if not decision.stops:
            return None
        return Stop(
            incumbent=self.incumbent,
            n_fits=decision.n_fits,
            p=decision.p,
            difference=decision.difference,
            score=adjusted_score(decision, self.scores),
            pruner=self.pruner.name,
        )


def _scores(done: Mapping[str, FinishedPair], pairs: tuple[HoldoutPair, ...]) -> Scores:
    scores = [[fold.validation_score for fold in done[pair.label].folds] for pair in pairs]
    return np.array(scores, dtype=np.float64).reshape(-1, 2)


def begin_pruning(plan: SearchPlan, study: optuna.Study, trial: optuna.Trial, pruner: Pruner) -> TrialPruning:
    """Hold a trial against the best complete trial; by the same pruner against the same one when it is taken up again.

    Args:
        plan: Of the search.
        study: The study.
        trial: That begins, or goes on.
        pruner: Of this call of the search. Where it is "none", a trial that was stopped before stays so, and no other is.

    Raises:
        StudyError: The trial was begun with a pruner that there is no more.
    """
    trials = study.get_trials(deepcopy=False)
    frozen = trials[trial.number]
    if not pruner.needs_incumbent and read_stop(frozen) is None:
        return TrialPruning(pruner=pruner, pairs=plan.pairs)
    pairs = tuple(pair for block in fit_blocks(list(plan.sets)) for pair in block)
    number = find_attribute(attributes(frozen), INCUMBENT)
    if number is None:
        best = max(complete_trials(study), key=lambda t: (t.value or 0.0, -t.number), default=None)
        number = NOBODY if best is None else best.number
        remember(trial, PRUNER, pruner.name)
        remember(trial, INCUMBENT, number)  # the last: a trial that has it has begun
    else:
        pruner = _pruner_of(frozen)
    if number == NOBODY:
        return TrialPruning(pruner=pruner, pairs=pairs)
    scores = _scores(finished_pairs(trials[number]), pairs)
    return TrialPruning(pruner=pruner, pairs=pairs, incumbent=number, scores=scores)


def _pruner_of(trial: FrozenTrial) -> Pruner:
    name = attributes(trial).get(PRUNER, FIRST_PRUNER)
    if name not in PRUNERS:
        raise StudyError(
            f"trial {trial.number} was begun with the pruner {name}, which this version does not have "
            f"(it has {', '.join(PRUNERS)}): go on with the version that began it, or without pruning"
        )
    return PRUNERS[name]


def pruner_of(config: StudyConfig, *, prune: bool = False) -> Pruner:
    """The pruner of one call of a search.

    Args:
        config: Of the study.
        prune: Whether to prune although study.toml names no pruner.

    Returns:
        The study's; where it names none but is to be pruned, `FIRST_PRUNER`; "none" where `why_not_pruned` says why.
    """
    if why_not_pruned(config) is not None:
        return PRUNERS["none"]
    return PRUNERS[FIRST_PRUNER if prune and config.search.pruner == "none" else config.search.pruner]


def why_not_pruned(config: StudyConfig) -> str | None:
    """Reason why a study of this kind is not pruned, whoever asks for it; None where it may be."""
    if config.protocol == "strict":
        return "the protocol is strict: what is tried, and how long, must not depend on scores"
    if config.search.optimum == "one-se":
        return 'optimum = "one-se" may choose a trial that is behind, and pruning stops those'
    return None


def mark_pruned(study: optuna.Study) -> None:
    """Write down that the study was pruned, once and for all: that leaks a little into its estimates."""
    if not is_pruned(study):
        remember(study, PRUNED, True)


def is_pruned(study: optuna.Study) -> bool:
    """True if some call of the search pruned."""
    return bool(find_attribute(attributes(study), PRUNED))


def record_stop(trial: optuna.Trial, stop: Stop) -> None:
    """Write down that a trial is stopped, before Optuna is told its value."""
    trial.set_user_attr(REASON, stop.reason)
    remember(trial, STOPPED, json.dumps(dataclasses.asdict(stop)))


def read_stop(trial: FrozenTrial) -> Stop | None:
    """Read why a trial was stopped; None where it was not."""
    text = find_attribute(attributes(trial), STOPPED)
    return None if text is None else Stop(**with_new_names(json.loads(text), COLUMNS))


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have all their folds, in order of number: those of which anything may be estimated or chosen."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if read_stop(trial) is None]


def trial_state(trial: FrozenTrial) -> TrialStateName:
    """State of a trial that has begun."""
    if trial.state == TrialState.COMPLETE:
        return "complete" if read_stop(trial) is None else "stopped"
    return "failed" if trial.state.is_finished() else "unfinished"


def stopped_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that pruning stopped, in order of number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if read_stop(trial) is not None]
