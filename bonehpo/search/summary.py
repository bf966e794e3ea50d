"""A study at a glance: its trials, its optimum, and how accurate that is. For `show`, promotion and reports."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from bonehpo.analysis.calibration import Calibration, calibrate
from bonehpo.analysis.comparison import AgainstBaseline, against_baseline
from bonehpo.analysis.estimates import TIE, Estimates, choose_optimum, estimate, nested_accuracy, trial_estimates
from bonehpo.analysis.variance import Variance
from bonehpo.config import StudyConfig
from bonehpo.domain import FoldScores, some_of
from bonehpo.errors import StudyMissing
from bonehpo.hyperparameters import Hyperparameters, from_params, searched
from bonehpo.learning.architecture import count_operations, count_parameters
from bonehpo.search.plan import SearchPlan
from bonehpo.search.pruning import TrialStateName, is_pruned, read_stop, trial_state
from bonehpo.search.recorder import n_stuck
from bonehpo.search.records import (
    answers_of,
    folds_table,
    is_stuck_fit,
    mean_and_sd,
    read_optimum,
    read_refits,
    study_variance,
)
from bonehpo.search.space import n_possible, networks, read_fixed_list
from bonehpo.search.storage import REASON, finished_pairs, load_study
from bonehpo.task import Classification, Measure, task_named


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial. Mean and `sd` of the test score over its folds are None where it is not complete.

    `pruner` is the one that stopped it, and None where none did. `n_stuck` of its fits never learnt, see `fits.is_stuck`.
    """

    trial: int
    hyperparameters: Hyperparameters
    n_parameters: int
    n_folds: int
    mean_score: float | None
    sd: float | None
    score_by_set: Mapping[str, float]
    state: TrialStateName
    reason: str | None
    pruner: str | None = None
    n_stuck: int = 0

    @property
    def state_in_words(self) -> str:
        """Its state, why it is not complete, and the number of its fits that are stuck where there are any."""
        told = self.state if self.reason is None else f"{self.state}: {self.reason}"
        return f"{told}; {self.n_stuck} of {self.n_folds // 2} fits stuck" if self.n_stuck else told


@dataclass(frozen=True, kw_only=True)
class RefitOptimum:
    """The optimum, fitted again with fresh seeds.

    Attributes:
        trial: Its number.
        refit_score: Mean test score of the new networks.
        refit_sd: Standard deviation of the same over folds.
        folds: Of the new networks.
        refit_score_by_repeat: Mean test score with each set of fresh seeds, by number; of the first it is `refit_score`.
        repeated_folds: Of each further set of fresh seeds.
        calibration: Whether the softmax outputs of the new networks are probabilities; None for strain.
        n_stuck: Fits of the new networks that never learnt.
    """

    trial: int
    refit_score: float
    refit_sd: float
    folds: tuple[FoldScores, ...]
    refit_score_by_repeat: Mapping[str, float] = field(default_factory=dict)
    repeated_folds: tuple[tuple[FoldScores, ...], ...] = ()
    calibration: Calibration | None = None
    n_stuck: int = 0


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A whole study; `estimates`, `optimum` and `variance` are None before there are any.

    `baseline` is None too where it is not among the complete trials, or is the best of them.
    `candidates` is the SHA-256 of the list that a strict study fixed before its first score, `n_candidates` its length.
    """

    name: str
    bone: str
    task: str
    ran_on: str
    store_id: str
    split: str
    protocol: str
    trials: tuple[TrialRow, ...]
    estimates: Estimates | None
    optimum: RefitOptimum | None
    pruned: bool = False
    variance: Variance | None = None
    candidates: str | None = None
    n_candidates: int | None = None
    baseline: AgainstBaseline | None = None

    @property
    def unit(self) -> str:
        """Name of what is taken to be independent: "specimen", or "donor" where donors are named."""
        return "donor" if self.split == "donor" else "specimen"

    @property
    def protocol_in_words(self) -> str:
        """Protocol by which the candidates came about, and its meaning for the estimates."""
        if self.candidates is not None:
            return (
                f"strict protocol: its {self.n_candidates} candidates were fixed before the first score "
                f"(SHA-256 {self.candidates[:12]})"
            )
        if self.protocol == "strict":
            return "strict protocol, but the list of its candidates was not written down before the first score"
        return (
            "adaptive protocol: what was tried, and how long, may depend on scores that were seen, which leaks a little "
            f"into every estimate{self._pruning_in_words}"
        )

    @property
    def _pruning_in_words(self) -> str:
        if not self.pruned:
            return ""
        stopped = [row for row in self.trials if row.state == "stopped"]
        names = ", ".join(sorted({row.pruner for row in stopped if row.pruner is not None}))
        by = f" by {names}" if names else ""
        return (
            f"; pruned: {len(stopped)} of {len(self.trials)} trials were stopped early{by} and are in no estimate, "
            "which leaks a little more (docs/explanation/pruning.md)"
        )

    @property
    def stuck_in_words(self) -> str:
        """A sentence on the fits that are stuck, those of the optimum and of the best trial first; empty where none is."""
        best = None if self.estimates is None else self.estimates.trial
        rows = sorted(self.trials, key=lambda row: row.trial != best)
        counts = [(row.n_stuck, row.n_folds // 2, f"trial {row.trial}") for row in rows]
        if self.optimum is not None:
            counts.insert(0, (self.optimum.n_stuck, len(self.optimum.folds) // 2, "the optimum with fresh seeds"))
        found = [f"{n} of {n_fits} fits of {name}" for n, n_fits, name in counts if n]
        if not found:
            return ""
        told = some_of(found) if len(found) > 3 else " and ".join(found)
        task, alike = task_named(self.task), "the same answer was given for every slice"
        be, their = ("is", "its") if sum(n for n, *_ in counts) == 1 else ("are", "their")
        level = f"{their} training loss stayed at ln {task.head.units}, or " if isinstance(task, Classification) else ""
        return f"{told} {be} stuck: {level}{alike}."

    def row(self, trial: int) -> TrialRow:
        """The trial with this number."""
        return next(row for row in self.trials if row.trial == trial)


def summarise(plan: SearchPlan) -> StudySummary:
    """Read a study from Optuna's storage.

    Raises:
        StudyMissing: It has not begun.
    """
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    folds = folds_table(study, plan)
    fixed = read_fixed_list(study)
    begun = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING and t.params]
    rows = tuple(_row(trial, folds, plan) for trial in begun)
    optimum, estimates = (
        _refit(plan, study),
        None if folds.empty else _estimates(folds, plan.config, rows),
    )
    return StudySummary(
        name=plan.folder.name,
        bone=plan.config.bone,
        task=plan.config.task,
        ran_on=plan.ran_on,
        store_id=plan.store_id,
        split=plan.split,
        protocol=plan.config.protocol,
        pruned=is_pruned(study),
        trials=rows,
        estimates=estimates,
        optimum=optimum,
        variance=None if estimates is None else _variance(folds, estimates.trial, optimum),
        candidates=None if fixed is None else fixed.sha256,
        n_candidates=None if fixed is None else len(fixed.choices),
        baseline=None if estimates is None else _baseline(folds, estimates, baseline_trial(rows, plan.config)),
    )


def _baseline(folds: pd.DataFrame, estimates: Estimates, baseline: int | None) -> AgainstBaseline | None:
    return None if estimates.trial == baseline else beside_baseline(folds, baseline)


def _row(trial: optuna.trial.FrozenTrial, folds: pd.DataFrame, plan: SearchPlan) -> TrialRow:
    choice, pairs = from_params(trial.params), finished_pairs(trial).values()
    found = trial_estimates(folds[folds["trial"] == trial.number])
    stop = read_stop(trial)
    return TrialRow(
        trial=trial.number,
        hyperparameters=choice,
        n_parameters=count_parameters(choice, plan.side),
        n_folds=2 * len(pairs),
        mean_score=found[0].mean if found else None,
        sd=found[0].sd if found and math.isfinite(found[0].sd) else None,
        score_by_set=found[0].by_set if found else {},
        state=trial_state(trial),
        reason=trial.user_attrs.get(REASON),
        pruner=None if stop is None else stop.pruner,
        n_stuck=sum(is_stuck_fit(plan.folder.fits, pair.key) for pair in pairs),
    )


def _estimates(folds: pd.DataFrame, config: StudyConfig, rows: tuple[TrialRow, ...]) -> Estimates:
    n_parameters = {row.trial: row.n_parameters for row in rows}
    return estimate(folds, choose_optimum(folds, config.search.optimum, n_parameters, baseline_trial(rows, config)))


HOW_TO_TAKE_IT = 'optimum = "baseline" under [search] in study.toml, and the same search again, make it the optimum'


def beside_baseline(folds: pd.DataFrame, baseline: int | None) -> AgainstBaseline | None:
    """The nested score of a study against its baseline, paired by test set; None where that is not among the trials.

    Args:
        folds: Recorded folds of all complete trials, whole.
        baseline: Number of the baseline's trial.
    """
    found = next((e.by_set for e in trial_estimates(folds) if e.trial == baseline), None)
    return None if found is None else against_baseline(nested_accuracy(folds).by_set, found)


def baseline_in_words(found: AgainstBaseline, measure: Measure) -> str:
    """The nested score of a study against its baseline, in words, and what to do where that is as good."""
    difference = f"{measure.sign * found.score_difference:+.3f} ± {found.error:.3f}".replace("-", "−")
    told = f"{abs(found.score):.3f}; the nested {measure.noun} is {difference} (standard error) from it"
    return told if found.score_difference > TIE else f"{told}. It is as good: {HOW_TO_TAKE_IT}"


def baseline_trial(rows: tuple[TrialRow, ...], config: StudyConfig) -> int | None:
    """The first complete trial of the baseline's hyperparameters, by number."""
    found = (row.trial for row in rows if row.hyperparameters == config.baseline and row.mean_score is not None)
    return next(found, None)


def _variance(folds: pd.DataFrame, trial: int, optimum: RefitOptimum | None) -> Variance | None:
    """With the repeats of the optimum, where that is the trial."""
    fresh = () if optimum is None or optimum.trial != trial else (optimum.folds, *optimum.repeated_folds)
    return study_variance(folds, trial, fresh)


def _refit(plan: SearchPlan, study: optuna.Study) -> RefitOptimum | None:
    optimum = read_optimum(study)
    told = [] if optimum is None else read_refits(plan.folder, optimum)
    if optimum is None or not told[0]:
        return None
    refits = [[fold.scores for fold in folds] for folds in told]
    spreads = [mean_and_sd([fold.test_score for fold in folds]) for folds in refits]
    return RefitOptimum(
        trial=optimum.trial,
        refit_score=spreads[0].mean,
        refit_sd=spreads[0].sd,
        folds=tuple(refits[0]),
        refit_score_by_repeat={str(i): spread.mean for i, spread in enumerate(spreads, start=1) if refits[i - 1]},
        repeated_folds=tuple(tuple(folds) for folds in refits[1:]),
        calibration=calibrate(answers_of(told[0])),
        n_stuck=n_stuck(told[0]),
    )


def importances(plan: SearchPlan) -> dict[str, float]:
    """Share of the variation of the score between trials that each hyperparameter accounts for, the largest first.

    PED-ANOVA, which needs no other package. With fewer than about 50 trials the shares are rough. Trials that pruning
    stopped count with the value that the sampler was told.

    Returns:
        Shares by name, 0 to 1; empty with fewer complete trials than hyperparameters, or where nothing varies.

    References:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023, doi:10.24963/ijcai.2023/488.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # imports scikit-learn

    study = load_study(plan.storage, plan.folder.name, plan.identity)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < len(searched(plan.config.space)) or len({trial.value for trial in complete}) < 2:
        return {}
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {} if any(math.isnan(share) for share in found.values()) else dict(found)


def what_counts(plan: SearchPlan, n_trials: int) -> str:
    """A sentence on the trials that a study has, of those that it shall have in all."""
    name, n_trials = plan.folder.name, n_possible(plan.config, n_trials)
    each = f"{len(plan.pairs)} fits each, and as many for the optimum"
    try:
        study = load_study(plan.storage, name, plan.identity)
    except StudyMissing:
        return f"Study {name} begins: {n_trials} trials of {each}."
    begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    states = Counter(map(trial_state, begun))
    told = ", ".join(f"{n} {state}" for state, n in states.items()) or "none has begun"
    unfinished = " What is unfinished goes on, unless another process is at it." if states["unfinished"] else ""
    if len(begun) >= n_trials:
        return f"Study {name} has {len(begun)} trials ({told}), and {n_trials} were asked for: no new one.{unfinished}"
    return f"Study {name} has {len(begun)} of {n_trials} trials ({told}); {each}.{unfinished}"


BYTES_PER_PREDICTION = 12
BYTES_PER_PARAMETER = 4
BYTES_PER_FOLD_RUN = 60_000
"""Bytes of MLflow's database and files for the run of a fold."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Forecast of what a search will take.

    Attributes:
        n_folds: Folds of a trial.
        n_fits: Fits of the whole search, the optimum's fresh ones included.
        n_train: Training images of one fit: fewest and most.
        n_held_out: Images of one held-out set: fewest and most.
        parameters: Trainable parameters: fewest and most over the space.
        hours: Expected time; NaN where no speed was measured.
        gigabytes: Expected disk use beside the store.
    """

    n_folds: int
    n_fits: int
    n_train: tuple[int, int]
    n_held_out: tuple[int, int]
    parameters: tuple[int, int]
    hours: float
    gigabytes: float


def forecast(
    plan: SearchPlan, n_trials: int, operations_per_s: float, n_workers: int, overhead: float, n_seeds: int = 1
) -> Forecast:
    """Reckon what a search will take.

    Args:
        plan: Of the search.
        n_trials: Trials of the study.
        operations_per_s: Forward multiply-accumulate operations a second while training, of one worker.
        n_workers: Fits that run at a time.
        overhead: Time of a fit over that of its training steps.
        n_seeds: Sets of fresh seeds with which the optimum is fitted.
    """
    total = sum(plan.n_images.values())
    train = [total - sum(plan.n_images[name] for name in pair) for pair in plan.pairs]
    parameters = [count_parameters(choice, plan.side) for choice in networks(plan.config.space)]
    operations = float(np.mean([count_operations(choice, plan.side) for choice in networks(plan.config.space)]))
    n_fits = (n_trials + n_seeds) * len(plan.pairs)
    seconds = (
        n_fits * np.mean(train) * plan.config.training.epochs * operations / operations_per_s * overhead / n_workers
    )
    held_out = list(plan.n_images.values())
    per_fit = 2 * np.mean(held_out) * BYTES_PER_PREDICTION + 2 * BYTES_PER_FOLD_RUN
    kept = len(plan.pairs) * np.mean(parameters) * BYTES_PER_PARAMETER
    return Forecast(
        n_folds=2 * len(plan.pairs),
        n_fits=n_fits,
        n_train=(min(train), max(train)),
        n_held_out=(min(held_out), max(held_out)),
        parameters=(min(parameters), max(parameters)),
        hours=float(seconds) / 3600,
        gigabytes=float(n_fits * per_fit + kept) / 1e9,
    )
