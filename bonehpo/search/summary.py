"""A study at a glance: its trials, its optimum, and how accurate that is. For `show`, promotion and reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
import pandas as pd
from optuna.trial import TrialState

from bonehpo.analysis.estimates import Estimates, choose_optimum, estimate, trial_estimates
from bonehpo.domain import FoldScores, Hyperparameters, Task
from bonehpo.learning.architecture import count_parameters
from bonehpo.search.facts import read_folds
from bonehpo.search.objective import SearchPlan
from bonehpo.search.optimum import folds_table, hyperparameters, read_optimum
from bonehpo.search.racing import TrialStateName, is_raced, trial_state
from bonehpo.search.storage import REASON, finished_pairs, load_study


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial. Mean and `sd` of the test score over its folds are None where it is not complete."""

    trial: int
    hyperparameters: Hyperparameters
    n_parameters: int
    n_folds: int
    mean_score: float | None
    sd: float | None
    score_by_set: Mapping[str, float]
    state: TrialStateName
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class RefitOptimum:
    """The optimum, fitted again with fresh seeds. `folds` are those of the new networks."""

    trial: int
    refit_score: float
    refit_sd: float
    folds: tuple[FoldScores, ...]


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A whole study; `estimates` and `optimum` are None before there are any."""

    name: str
    bone: str
    task: Task
    ran_on: str
    store_id: str
    split: str
    protocol: str
    trials: tuple[TrialRow, ...]
    estimates: Estimates | None
    optimum: RefitOptimum | None
    raced: bool = False

    def row(self, trial: int) -> TrialRow:
        """The trial with this number."""
        return next(row for row in self.trials if row.trial == trial)


def summarise(plan: SearchPlan) -> StudySummary:
    """Read a study from Optuna's storage.

    Raises:
        StudyError: It has not begun.
    """
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    folds = folds_table(study)
    begun = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING and t.params]
    rows = tuple(_row(trial, folds, plan.side) for trial in begun)
    return StudySummary(
        name=plan.folder.name,
        bone=plan.config.bone,
        task=plan.config.task,
        ran_on=plan.ran_on,
        store_id=plan.store_id,
        split=plan.config.split.kind,
        protocol=plan.config.protocol,
        raced=is_raced(study),
        trials=rows,
        estimates=None if folds.empty else _estimates(folds, plan.config.search.optimum, rows),
        optimum=_refit(plan, study),
    )


def _row(trial: optuna.trial.FrozenTrial, folds: pd.DataFrame, side: int) -> TrialRow:
    choice = hyperparameters(trial.params)
    found = trial_estimates(folds[folds["trial"] == trial.number])
    return TrialRow(
        trial=trial.number,
        hyperparameters=choice,
        n_parameters=count_parameters(choice.layers, choice.kernel, side),
        n_folds=2 * len(finished_pairs(trial)),
        mean_score=found[0].mean if found else None,
        sd=found[0].sd if found and math.isfinite(found[0].sd) else None,
        score_by_set=found[0].by_set if found else {},
        state=trial_state(trial),
        reason=trial.user_attrs.get(REASON),
    )


def _estimates(folds: pd.DataFrame, rule: str, rows: tuple[TrialRow, ...]) -> Estimates:
    return estimate(folds, choose_optimum(folds, rule, {row.trial: row.n_parameters for row in rows}))


def _refit(plan: SearchPlan, study: optuna.Study) -> RefitOptimum | None:
    optimum = read_optimum(study)
    folds = [] if optimum is None else [fold.scores for fold in read_folds(plan.folder, list(optimum.keys.values()))]
    if optimum is None or not folds:
        return None
    scores = pd.Series([fold.test_score for fold in folds])
    return RefitOptimum(
        trial=optimum.trial,
        refit_score=float(scores.mean()),
        refit_sd=float(scores.std(ddof=1)),
        folds=tuple(folds),
    )
