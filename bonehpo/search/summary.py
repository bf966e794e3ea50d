"""A study at a glance: its trials, its optimum, and how accurate that is. For `show`, promotion and reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
import pandas as pd
from natsort import natsorted
from optuna.trial import TrialState

from bonehpo.analysis.estimates import choose_optimum, nested_accuracy, trial_estimates
from bonehpo.domain import FoldScores, Hyperparameters
from bonehpo.learning.architecture import count_parameters
from bonehpo.search.facts import read_folds
from bonehpo.search.objective import SearchPlan
from bonehpo.search.optimum import folds_table, hyperparameters, read_optimum
from bonehpo.search.storage import REASON, finished_pairs, load_study

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "stopped",
    TrialState.RUNNING: "unfinished",
}


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial. `mean` and `sd` of the test accuracy over its folds are None before it is complete."""

    trial: int
    hyperparameters: Hyperparameters
    n_parameters: int
    n_folds: int
    mean: float | None
    sd: float | None
    by_set: Mapping[str, float]
    state: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """How accurate the best trial is.

    Attributes:
        trial: The best trial, by the rule of the study.
        paper_accuracy: Mean test accuracy over its folds, which the search maximised.
        sd: Standard deviation of the same.
        n_folds: Number of those folds.
        nested_accuracy: Estimate for a set that the choice has not seen.
        nested_lower: Its one-sided 95 % lower bound.
        nested_by_set: The same for each test set.
        chosen_by_set: The trial that each test set's validation accuracies choose.
        gap: Paper accuracy minus nested accuracy.
    """

    trial: int
    paper_accuracy: float
    sd: float
    n_folds: int
    nested_accuracy: float
    nested_lower: float
    nested_by_set: Mapping[str, float]
    chosen_by_set: Mapping[str, int]
    gap: float


@dataclass(frozen=True, kw_only=True)
class RefitOptimum:
    """The optimum, fitted again with fresh seeds. `folds` are those of the new networks."""

    trial: int
    refit_accuracy: float
    refit_sd: float
    folds: tuple[FoldScores, ...]


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A whole study; `estimates` and `optimum` are None before there are any."""

    name: str
    bone: str
    ran_on: str
    store_id: str
    split: str
    protocol: str
    trials: tuple[TrialRow, ...]
    estimates: Estimates | None
    optimum: RefitOptimum | None

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
    rows = tuple(_row(t, folds, plan.side) for t in study.get_trials(deepcopy=False) if t.state in STATES and t.params)
    return StudySummary(
        name=plan.folder.name,
        bone=plan.config.bone,
        ran_on=plan.ran_on,
        store_id=plan.store_id,
        split=plan.config.split.kind,
        protocol=plan.config.protocol,
        trials=rows,
        estimates=None if folds.empty else estimate(folds, plan.config.search.optimum, rows),
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
        mean=found[0].mean if found else None,
        sd=found[0].sd if found and math.isfinite(found[0].sd) else None,
        by_set=found[0].by_set if found else {},
        state=STATES[trial.state],
        reason=trial.user_attrs.get(REASON),
    )


def estimate(folds: pd.DataFrame, rule: str, rows: tuple[TrialRow, ...]) -> Estimates:
    """Estimates from the folds of complete trials; `rule` as in `choose_optimum`."""
    number = choose_optimum(folds, rule, {row.trial: row.n_parameters for row in rows})
    best = next(e for e in trial_estimates(folds) if e.trial == number)
    nested = nested_accuracy(folds)
    return Estimates(
        trial=number,
        paper_accuracy=best.mean,
        sd=best.sd,
        n_folds=int((folds["trial"] == number).sum()),
        nested_accuracy=nested.mean,
        nested_lower=nested.lower,
        nested_by_set={name: nested.by_set[name] for name in natsorted(nested.by_set)},
        chosen_by_set={name: nested.chosen[name] for name in natsorted(nested.chosen)},
        gap=best.mean - nested.mean,
    )


def _refit(plan: SearchPlan, study: optuna.Study) -> RefitOptimum | None:
    optimum = read_optimum(study)
    folds = [] if optimum is None else [fold.scores for fold in read_folds(plan, list(optimum.keys.values()))]
    if optimum is None or not folds:
        return None
    accuracies = pd.Series([fold.test_accuracy for fold in folds])
    return RefitOptimum(
        trial=optimum.trial,
        refit_accuracy=float(accuracies.mean()),
        refit_sd=float(accuracies.std(ddof=1)),
        folds=tuple(folds),
    )
