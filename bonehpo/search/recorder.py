"""Records that a search tells of itself, and the protocol of whoever writes them down.

The search is handed a `Recorder` and never knows whether MLflow stands behind it. All records are values that the study's
own storage and its fits hold, so a record can be made again from them: `bonehpo sync` is the same calls once more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from bonehpo.analysis.calibration import Calibration
from bonehpo.analysis.estimates import Estimates
from bonehpo.analysis.variance import Variance
from bonehpo.domain import FoldScores
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import Predictions


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """Record of a whole study.

    Attributes:
        study_id: Made once with the study and kept in its storage: a study begun anew under an old name has another.
        name: Name of the study, and of its folder.
        bone: Bone type.
        task: Name of what networks answer, see `task.TASKS`.
        store_id: Hash of the slice store's manifest.
        ran_on: Whether the store was made from phantoms or from scans.
        split: How sets are assigned, `specimen`, `donor` or `mixed`.
        sampler: Who proposes trials.
        protocol: `adaptive`, or `strict` when all candidates were fixed before any score.
        seed: Seed of the study.
        config_toml: study.toml, whole.
        space: Values of each hyperparameter, as text.
        n_sets: Number of sets that are assigned.
        n_images: Number of slices in each set.
        versions: Version of each package that the result depends on.
        git_commit: Commit of the code, or "unknown".
        started: When the study was made.
        pruned: Whether trials could be stopped early, which leaks a little into all estimates.
        candidates: SHA-256 of the list of candidates that was fixed before any score; None without such a list.
    """

    study_id: str
    name: str
    bone: str
    task: str
    store_id: str
    ran_on: Literal["phantom", "scans"]
    split: str
    sampler: str
    protocol: str
    seed: int
    config_toml: str
    space: Mapping[str, str]
    n_sets: int
    n_images: Mapping[str, int]
    versions: Mapping[str, str]
    git_commit: str
    started: datetime
    pruned: bool = False
    candidates: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial at its start.

    Attributes:
        number: Number of the trial within its study, from 0.
        hyperparameters: What it tries.
        n_parameters: Trainable parameters of its network.
        started: When it started first.
    """

    number: int
    hyperparameters: Hyperparameters
    n_parameters: int
    started: datetime


@dataclass(frozen=True, kw_only=True)
class FoldRecord:
    """One finished fold.

    Attributes:
        task: Name of what its network answers.
        scores: What its predictions are worth.
        key: Content address of the fit that yielded it.
        seed: Seed of that fit.
        precision: `float32` or `bfloat16`.
        cpu_seconds: CPU time of that fit.
        n_epochs: Passes over the training images.
        curves: Loss and score on training, validation and test images, shape (n_epochs,) each, by name.
        predictions: What it said of the test set.
        started: When the fit started.
        finished: When the fit ended.
        is_stuck: Whether that fit never learnt, see `fits.is_stuck`.
        restarts: Seeds before that one, with which it was stuck.
    """

    task: str
    scores: FoldScores
    key: str
    seed: int
    precision: str
    cpu_seconds: float
    n_epochs: int
    curves: Mapping[str, npt.NDArray[np.float32]]
    predictions: Predictions
    started: datetime
    finished: datetime
    is_stuck: bool = False
    restarts: int = 0


def n_stuck(folds: Sequence[FoldRecord]) -> int:
    """Number of fits that are stuck; both folds of a fit may be among the folds."""
    return len({fold.key for fold in folds if fold.is_stuck})


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """A trial at its end.

    Attributes:
        mean_score: Mean test score over its folds; NaN when it has none, or was stopped.
        sd: Standard deviation of the same.
        score_by_set: Mean test score of each test set.
        state: `complete`, `failed`, or `stopped` by pruning; `unfinished` before its end.
        reason: Why it failed or was stopped; None for a complete trial.
        finished: When it ended.
    """

    mean_score: float
    sd: float
    score_by_set: Mapping[str, float]
    state: Literal["complete", "stopped", "failed", "unfinished"]
    reason: str | None
    finished: datetime


@dataclass(frozen=True, kw_only=True)
class OptimumRecord:
    """The optimum of a study, and how good it is.

    Attributes:
        hyperparameters: What it is.
        rule: How it was chosen.
        n_trials: Complete trials among which it was chosen.
        estimates: Its apparent score and its nested score.
        refit_score: Mean test score of the networks fitted again with fresh seeds.
        refit_sd: Standard deviation of the same.
        chosen: When it was chosen.
        repeats: Folds of each further set of fresh seeds.
        calibration: Whether the softmax outputs of its fresh networks are probabilities; None for strain.
        variance: Where the variance of all those scores comes from; None where there is too little to say it.
    """

    hyperparameters: Hyperparameters
    rule: str
    n_trials: int
    estimates: Estimates
    refit_score: float
    refit_sd: float
    chosen: datetime
    repeats: Sequence[Sequence[FoldRecord]] = ()
    calibration: Calibration | None = None
    variance: Variance | None = None


@dataclass(frozen=True, kw_only=True)
class ConfigurationRecord:
    """One configuration that was cross-validated for a result.

    Attributes:
        name: Unique within the result.
        parameters: What it was made with.
        mean_score: Mean test score over its folds; NaN where it failed.
        sd: Standard deviation of the same.
        folds: Its folds, as far as their results are still there.
        reason: Why it failed, or empty.
    """

    name: str
    parameters: Mapping[str, str]
    mean_score: float
    sd: float
    folds: Sequence[FoldRecord]
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class StepImage:
    """A picture of a series, which a viewer steps through: uint8 (y, x)."""

    series: str
    step: int
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """A comparison or an explanation of a finished study.

    Attributes:
        level: Which of the two it is.
        name: What was compared or explained, unique within its level.
        inputs: Content address of what it was made from: the same inputs are recorded once.
        parameters: What it was made with.
        metrics: What came out.
        sentences: What it says in words.
        files: Figures, tables and pages to keep with it.
        configurations: What was cross-validated for it.
        images: Pictures to step through.
        finished: When it was done.
    """

    level: Literal["comparison", "explanation"]
    name: str
    inputs: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    sentences: Sequence[str] = field(default=())
    files: Sequence[Path] = field(default=())
    configurations: Sequence[ConfigurationRecord] = field(default=())
    images: Sequence[StepImage] = field(default=())
    finished: datetime


class Recorder(Protocol):
    """Writes records down. Every call may be made twice with the same record, and none raises when its backend is out."""

    def study(self, record: StudyRecord) -> None:
        """Open the record of a study; the first call, before any other."""

    def trial_started(self, trial: TrialRecord) -> None:
        """A trial starts, or goes on after an interruption."""

    def fold(self, trial_number: int, fold: FoldRecord) -> None:
        """A fold of a started trial is finished."""

    def trial_finished(self, trial_number: int, summary: TrialSummary) -> None:
        """A started trial has ended."""

    def optimum(self, record: OptimumRecord, refit: Sequence[FoldRecord]) -> None:
        """An optimum was chosen among recorded trials, and fitted again: `refit` are the folds of that."""

    def result(self, record: ResultRecord) -> None:
        """A comparison or an explanation is done."""

    def interrupted(self) -> None:
        """The search was stopped from outside: what is open is not finished."""

    def close(self) -> None:
        """The search has ended."""


class NullRecorder:
    """Writes nothing down."""

    def study(self, record: StudyRecord) -> None:
        """Do nothing."""

    def trial_started(self, trial: TrialRecord) -> None:
        """Do nothing."""

    def fold(self, trial_number: int, fold: FoldRecord) -> None:
        """Do nothing."""

    def trial_finished(self, trial_number: int, summary: TrialSummary) -> None:
        """Do nothing."""

    def optimum(self, record: OptimumRecord, refit: Sequence[FoldRecord]) -> None:
        """Do nothing."""

    def result(self, record: ResultRecord) -> None:
        """Do nothing."""

    def interrupted(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
