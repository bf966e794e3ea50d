"""The optimum of a study, and the folds from which it is chosen, as Optuna's storage holds them.

The search tells records as they arise; `replay` tells all of them again, so that a lost record is rebuilt whole.
"""

import dataclasses
import json
import logging
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from bonehpo.analysis.calibration import Answers, calibrate
from bonehpo.analysis.estimates import choose_optimum, estimate, trial_estimates
from bonehpo.analysis.variance import Variance, variance_of
from bonehpo.config import StudyFolder, config_to_toml
from bonehpo.domain import FoldScores
from bonehpo.hyperparameters import Hyperparameters, from_params
from bonehpo.learning.architecture import count_parameters
from bonehpo.learning.fits import FitResult, is_stuck, load_fit
from bonehpo.search.plan import SearchPlan, fold_records
from bonehpo.search.pruning import complete_trials, is_pruned, trial_state
from bonehpo.search.recorder import FoldRecord, OptimumRecord, Recorder, StudyRecord, TrialRecord, TrialSummary
from bonehpo.search.space import is_done, read_fixed_list, space_in_words
from bonehpo.search.storage import OPTIMUM, REASON, STUDY_ID, attributes, finished_pairs, load_study, remember
from bonehpo.task import ACCURACY, task_named

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The trial that ended a study, and the networks that were fitted again with its hyperparameters.

    Attributes:
        trial: Its number.
        rule: How it was chosen.
        trials: Numbers of the complete trials that it was chosen from.
        keys: Content address of the fresh fit of each holdout pair, by label.
        chosen: When, ISO 8601.
        repeats: The same of each further set of fresh seeds, whose networks are not kept.
    """

    trial: int
    rule: str
    trials: tuple[int, ...]
    keys: dict[str, str]
    chosen: str
    repeats: tuple[dict[str, str], ...] = ()


def folds_table(study: optuna.Study, plan: SearchPlan) -> pd.DataFrame:
    """All folds of all trials that have them all, a row each.

    Args:
        study: Optuna's record.
        plan: Of the study.

    Returns:
        Columns `trial`, `key` of the fit, the fields of `FoldScores`, and `n_slices` of the test set, NaN where a score is
        no share of slices.
    """
    n_slices = plan.n_images if task_named(plan.config.task).measure is ACCURACY else {}
    rows = [
        {"trial": trial.number, "key": pair.key, **dataclasses.asdict(fold), "n_slices": n_slices.get(fold.test)}
        for trial in complete_trials(study)
        for pair in finished_pairs(trial).values()
        for fold in pair.folds
    ]
    fields = [f.name for f in dataclasses.fields(FoldScores)]
    return pd.DataFrame(rows, columns=["trial", "key", *fields, "n_slices"]).astype({"n_slices": float})


def read_optimum(study: optuna.Study) -> Optimum | None:
    """The optimum that the study holds, or None before it has one."""
    text = attributes(study).get(OPTIMUM)
    if not text:
        return None
    data = json.loads(text)
    return Optimum(**{**data, "trials": tuple(data["trials"]), "repeats": tuple(data.get("repeats", ()))})


PACKAGES = ("bonehpo", "tensorflow", "keras", "optuna", "mlflow", "numpy", "scikit-image", "zarr")


def study_record(plan: SearchPlan, study: optuna.Study) -> StudyRecord:
    """Make the record of the whole study."""
    trials = study.get_trials(deepcopy=False)
    started = min((t.datetime_start for t in trials if t.datetime_start), default=None)
    fixed = read_fixed_list(study)
    return StudyRecord(
        study_id=attributes(study)[STUDY_ID],
        name=plan.folder.name,
        bone=plan.config.bone,
        task=plan.config.task,
        store_id=plan.store_id,
        ran_on=plan.ran_on,
        split=plan.split,
        sampler=plan.config.search.sampler,
        protocol=plan.config.protocol,
        pruned=is_pruned(study),
        seed=plan.config.search.seed,
        config_toml=config_to_toml(plan.config),
        space=space_in_words(plan.config.space),
        n_sets=len(plan.sets),
        n_images=plan.n_images,
        versions={package: version(package) for package in PACKAGES},
        git_commit=git_commit(),
        started=_moment(started),
        candidates=None if fixed is None else fixed.sha256,
    )


class RecordedStudy(NamedTuple):
    """A study as its storage holds it.

    Attributes:
        record: What holds for the whole of it.
        optimum: None before the search has run to its end.
        choice: Hyperparameters of the optimum.
    """

    record: StudyRecord
    optimum: Optimum | None
    choice: Hyperparameters | None


def read_study(plan: SearchPlan) -> RecordedStudy:
    """Read a study that has begun.

    Raises:
        StudyMissing: It has not.
    """
    study = load_study(plan.storage, plan.folder.name, plan.identity)
    optimum = read_optimum(study)
    trials = study.get_trials(deepcopy=False)
    choice = None if optimum is None else from_params(trials[optimum.trial].params)
    return RecordedStudy(study_record(plan, study), optimum, choice)


def trial_record(trial: FrozenTrial, choice: Hyperparameters, side: int) -> TrialRecord:
    """A trial at its start.

    Args:
        trial: Optuna's record of it.
        choice: Its hyperparameters.
        side: Side of the slices in pixels.
    """
    return TrialRecord(
        number=trial.number,
        hyperparameters=choice,
        n_parameters=count_parameters(choice, side),
        started=_moment(trial.datetime_start),
    )


def trial_summary(trial: FrozenTrial, folds: Sequence[FoldScores]) -> TrialSummary:
    """A trial at its end. One that pruning stopped has no scores of its own."""
    state = trial_state(trial)
    if state == "stopped":  # its mean would be that of other folds than everybody's
        folds = ()
    mean, sd = mean_and_sd([fold.test_score for fold in folds])
    return TrialSummary(
        mean_score=mean,
        sd=sd,
        score_by_set={
            name: mean_and_sd([f.test_score for f in folds if f.test == name])[0]
            for name in dict.fromkeys(fold.test for fold in folds)
        },
        state=state,
        reason=trial.user_attrs.get(REASON),
        finished=_moment(trial.datetime_complete),
    )


def optimum_record(
    optimum: Optimum,
    choice: Hyperparameters,
    folds: pd.DataFrame,
    refit: Sequence[FoldRecord],
    repeats: Sequence[Sequence[FoldRecord]] = (),
) -> OptimumRecord:
    """The optimum and its estimates, computed from the folds that it was chosen from and those of its fresh seeds.

    Args:
        optimum: The trial, and how it was chosen.
        choice: Its hyperparameters.
        folds: All folds that it was chosen from.
        refit: Its folds with the first set of fresh seeds.
        repeats: Its folds with each further set.
    """
    mean, sd = mean_and_sd([fold.scores.test_score for fold in refit])
    return OptimumRecord(
        hyperparameters=choice,
        rule=optimum.rule,
        n_trials=len(optimum.trials),
        estimates=estimate(folds, optimum.trial),
        refit_score=mean,
        refit_sd=sd,
        chosen=datetime.fromisoformat(optimum.chosen),
        repeats=repeats,
        calibration=calibrate(answers_of(refit)),
        variance=study_variance(folds, optimum.trial, [[f.scores for f in records] for records in (refit, *repeats)]),
    )


def answers_of(folds: Sequence[FoldRecord]) -> list[Answers]:
    """Outputs of the networks of folds on their test sets; none of folds whose task has not two classes."""
    return [
        Answers(fold.scores.test, fold.scores.validation, fold.predictions.truth, fold.predictions.output)
        for fold in folds
        if task_named(fold.task).is_binary
    ]


def study_variance(folds: pd.DataFrame, trial: int, refits: Sequence[Sequence[FoldScores]]) -> Variance | None:
    """Components of the variance of a study's scores.

    Args:
        folds: Of its complete trials.
        trial: The optimum.
        refits: Its folds with each set of fresh seeds; a set that is not whole is left out.
    """
    own = folds[folds["trial"] == trial]
    fresh = [pd.DataFrame([asdict(fold) for fold in refit]) for refit in refits if len(refit) == len(own)]
    return variance_of(folds, [own, *fresh])


class Spread(NamedTuple):
    """Mean and standard deviation (n - 1) over folds; NaN where there are too few."""

    mean: float
    sd: float


def mean_and_sd(scores: Sequence[float]) -> Spread:
    """Mean and standard deviation of the scores of folds."""
    mean = float(np.mean(scores)) if scores else float("nan")
    return Spread(mean, float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan"))


def replay(plan: SearchPlan, study: optuna.Study, recorder: Recorder) -> int:
    """Tell a recorder everything that a study holds.

    Args:
        plan: Of the study.
        study: Optuna's record of it, the truth.
        recorder: Who writes it down; what it has already it leaves as it is.

    Returns:
        Number of fits whose result file is gone: their scores are in Optuna's storage, curves and predictions are lost.
    """
    recorder.study(study_record(plan, study))
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING and trial.params]
    n_lost = sum(replay_trial(plan, trial, recorder) for trial in trials)
    optimum = read_optimum(study)
    if optimum is not None:
        refit, *repeats = read_refits(plan.folder, optimum)
        n_lost += sum(len(optimum.keys) - len(records) // 2 for records in (refit, *repeats))
        choice = from_params(study.get_trials(deepcopy=False)[optimum.trial].params)
        recorder.optimum(optimum_record(optimum, choice, folds_of_optimum(study, plan, optimum), refit, repeats), refit)
    return n_lost


def replay_trial(plan: SearchPlan, trial: FrozenTrial, recorder: Recorder) -> int:
    """Tell a recorder of one trial: its start, its finished folds, and its end if it has ended.

    Args:
        plan: Of the study.
        trial: Optuna's record of it.
        recorder: Who writes it down.

    Returns:
        Number of its fits whose result file is gone.
    """
    recorder.trial_started(trial_record(trial, from_params(trial.params), plan.side))
    pairs = finished_pairs(trial).values()
    folds = read_folds(plan.folder, [pair.key for pair in pairs])
    for fold in folds:
        recorder.fold(trial.number, fold)
    if trial.state.is_finished():
        recorder.trial_finished(trial.number, trial_summary(trial, [f for pair in pairs for f in pair.folds]))
    return len(pairs) - len(folds) // 2


def folds_of_optimum(study: optuna.Study, plan: SearchPlan, optimum: Optimum) -> pd.DataFrame:
    """The folds of a study that its optimum was chosen from."""
    folds = folds_table(study, plan)
    return folds[folds["trial"].isin(optimum.trials)]


def read_folds(folder: StudyFolder, keys: Sequence[str]) -> list[FoldRecord]:
    """Both folds of each fit that is still among the results."""
    results = [load_fit(folder.fits, key) for key in keys]
    return [fold for result in results if result is not None for fold in fold_records(result)]


@cache
def is_stuck_fit(fits: Path, key: str) -> bool:
    """True for a fit that is still among the results, and is stuck. A result never changes, and is read once.

    Args:
        fits: Folder of the results.
        key: Content address of the fit.
    """
    result = load_fit(fits, key)
    return result is not None and is_stuck(result)


def read_refits(folder: StudyFolder, optimum: Optimum) -> list[list[FoldRecord]]:
    """The folds of each set of fresh seeds of the optimum, as far as their results are still there; the first is kept."""
    return [read_folds(folder, list(keys.values())) for keys in (optimum.keys, *optimum.repeats)]


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Commit of the code that runs, "-dirty" where files differ from it; "unknown" outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()


def _moment(moment: datetime | None) -> datetime:
    """Optuna's times are local and know no zone."""
    return datetime.now(UTC) if moment is None else moment.astimezone()


class Chosen(NamedTuple):
    """The trial that ends a study: its number and choice, the folds of all trials that it was chosen from."""

    trial: int
    choice: Hyperparameters
    folds: pd.DataFrame


def choose_trial(study: optuna.Study, plan: SearchPlan) -> Chosen | None:
    """The optimum among the complete trials; None without any, and of a strict study before all candidates have ended."""
    return _best(study, plan) if is_done(study, plan) else None


def best_score(study: optuna.Study, plan: SearchPlan) -> float:
    """Apparent score of the trial that would be chosen now, as `show` tells it; NaN before one is complete."""
    best = _best(study, plan)
    return math.nan if best is None else next(e.mean for e in trial_estimates(best.folds) if e.trial == best.trial)


def _best(study: optuna.Study, plan: SearchPlan) -> Chosen | None:
    folds = folds_table(study, plan)
    if folds.empty:
        return None
    trials = study.get_trials(deepcopy=False)
    choices = {int(number): from_params(trials[int(number)].params) for number in folds["trial"].unique()}
    sizes = {number: count_parameters(c, plan.side) for number, c in choices.items()}
    baseline = next((number for number, choice in choices.items() if choice == plan.config.baseline), None)
    number = choose_optimum(folds, plan.config.search.optimum, sizes, baseline)
    return Chosen(number, choices[number], folds)


def n_seeds_known(study: optuna.Study, trial: int) -> int:
    """With how many sets of fresh seeds a trial was fitted as the optimum before: a later call with fewer loses none."""
    known = read_optimum(study)
    return 0 if known is None or known.trial != trial else 1 + len(known.repeats)


def write_optimum(
    study: optuna.Study,
    plan: SearchPlan,
    recorder: Recorder,
    chosen: Chosen,
    refits: Sequence[Mapping[str, FitResult]],
) -> None:
    """Write an optimum into the study's storage and the record, and delete the networks of former ones.

    Args:
        study: The study.
        plan: Of it.
        recorder: Who writes it down.
        chosen: Which trial.
        refits: Its fits with each set of fresh seeds, by the label of the pair; the networks of the first are kept.
    """
    first, *repeats = ({label: result.key for label, result in results.items()} for results in refits)
    optimum = Optimum(
        trial=chosen.trial,
        rule=plan.config.search.optimum,
        trials=tuple(sorted(int(number) for number in chosen.folds["trial"].unique())),
        keys=first,
        chosen=datetime.now().astimezone().isoformat(timespec="seconds"),
        repeats=tuple(repeats),
    )
    known = read_optimum(study)
    if known is not None and dataclasses.replace(known, chosen=optimum.chosen) == optimum:
        optimum = known
    else:
        remember(study, OPTIMUM, json.dumps(dataclasses.asdict(optimum)))
    folds = [[f for pair in plan.pairs for f in fold_records(results[pair.label])] for results in refits]
    recorder.optimum(optimum_record(optimum, chosen.choice, chosen.folds, folds[0], folds[1:]), folds[0])
    for path in plan.folder.optimum.glob("*.keras"):  # of former optima
        if path.stem not in optimum.keys.values():
            path.unlink()
