"""The race in a search: which trials were stopped, and against which trial one that runs is held.

A stopped trial is COMPLETE for Optuna, whose sampler learns from it, and carries the attribute `STOPPED`. Everybody else
reads `complete_trials`, which leaves it out: its folds are few, and easier or harder than all.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from bonehpo.analysis.racing import Scores, adjusted_score, fit_blocks, judge
from bonehpo.config import StudyConfig
from bonehpo.domain import HoldoutPair
from bonehpo.search.objective import FinishedPair, SearchPlan
from bonehpo.search.storage import REASON, finished_pairs

TrialStateName = Literal["complete", "stopped", "failed", "unfinished"]

RACED, LEADER, STOPPED = "raced", "race:leader", "race:stopped"
NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why a trial was stopped.

    Attributes:
        leader: Number of the trial that it fell behind.
        n_fits: Fits, from the first on, that showed it.
        p: One-sided, of the signed-rank test on their folds.
        difference: Mean score of those folds minus the leader's in the same.
        score: What the sampler is told: the leader's score plus that difference.
    """

    leader: int
    n_fits: int
    p: float
    difference: float
    score: float

    @property
    def reason(self) -> str:
        """In words; differences of scores have the same size whatever they measure."""
        behind = f"{abs(self.difference):.3f} behind trial {self.leader}"
        return f"{behind} in the same {2 * self.n_fits} folds, p = {self.p:.2g}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Race:
    """One trial's race: the order of its fits, and whom it is held against.

    Attributes:
        pairs: Holdout pairs in the order in which they are fitted and looked at.
        leader: Number of the trial that it is held against.
        scores: Validation scores of that, (fit, 2), in the order of `pairs`; None where nobody leads: then all goes on.
    """

    pairs: tuple[HoldoutPair, ...]
    leader: int = NOBODY
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
        verdict = judge(_scores(done, self.pairs[:n]), self.scores, len(self.pairs))
        if not verdict.stops:
            return None
        return Stop(
            leader=self.leader,
            n_fits=verdict.n_fits,
            p=verdict.p,
            difference=verdict.difference,
            score=adjusted_score(verdict, self.scores),
        )


def _scores(done: Mapping[str, FinishedPair], pairs: tuple[HoldoutPair, ...]) -> Scores:
    scores = [[fold.validation_score for fold in done[pair.label].folds] for pair in pairs]
    return np.array(scores, dtype=np.float64).reshape(-1, 2)


def enter_race(plan: SearchPlan, study: optuna.Study, trial: optuna.Trial) -> Race:
    """Hold a trial against the best complete trial; against the same one when it is taken up again."""
    pairs = tuple(pair for block in fit_blocks(list(plan.sets)) for pair in block)
    trials = study.get_trials(deepcopy=False)
    number = trials[trial.number].user_attrs.get(LEADER)
    if number is None:
        best = max(complete_trials(study), key=lambda t: (t.value or 0.0, -t.number), default=None)
        number = NOBODY if best is None else best.number
        trial.set_user_attr(LEADER, number)
    if number == NOBODY:
        return Race(pairs=pairs)
    return Race(pairs=pairs, leader=number, scores=_scores(finished_pairs(trials[number]), pairs))


def why_no_race(config: StudyConfig) -> str | None:
    """Why a study of this kind is not raced; None where it is."""
    if config.protocol == "strict":
        return "the protocol is strict: what is tried, and how long, must not depend on scores"
    if config.search.optimum == "one-se":
        return 'optimum = "one-se" may choose a trial that is behind, and a race stops those'
    return None


def mark_raced(study: optuna.Study) -> None:
    """Write down that the study was raced, once and for all: that leaks a little into its estimates."""
    if not is_raced(study):
        study.set_user_attr(RACED, True)


def is_raced(study: optuna.Study) -> bool:
    """Whether some call of the search raced."""
    return bool(study.user_attrs.get(RACED, False))


def record_stop(trial: optuna.Trial, stop: Stop) -> None:
    """Write down that a trial is stopped, before Optuna is told its value."""
    trial.set_user_attr(REASON, stop.reason)
    trial.set_user_attr(STOPPED, json.dumps(dataclasses.asdict(stop)))


def read_stop(trial: FrozenTrial) -> Stop | None:
    """Why a trial was stopped; None where it was not."""
    text = trial.user_attrs.get(STOPPED)
    return None if text is None else Stop(**json.loads(text))


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have all their folds, in order of number: those of which anything may be estimated or chosen."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if STOPPED not in trial.user_attrs]


def trial_state(trial: FrozenTrial) -> TrialStateName:
    """What became of a trial that has begun."""
    if trial.state == TrialState.COMPLETE:
        return "complete" if STOPPED not in trial.user_attrs else "stopped"
    return "failed" if trial.state.is_finished() else "unfinished"


def stopped_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that a race stopped, in order of number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if STOPPED in trial.user_attrs]
