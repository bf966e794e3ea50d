"""Made-up record of a small study, and a project with an empty MLflow database, for the tests of tracking."""

import atexit
import functools
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import numpy as np

from bonehpo.analysis.estimates import Estimates, EstimatesSoFar
from bonehpo.domain import FoldScores
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import Predictions
from bonehpo.search.recorder import FoldRecord, OptimumRecord, Recorder, StudyRecord, TrialRecord, TrialSummary
from bonehpo.tracking.database import open_tracking

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
SETS = ("TB5", "TB6", "TB9")

STUDY = StudyRecord(
    study_id="5e0c",
    name="TB",
    bone="TB",
    task="damage",
    store_id="ab" * 32,
    ran_on="phantom",
    split="specimen",
    sampler="tpe",
    protocol="adaptive",
    seed=7,
    config_toml='[search]\nsampler = "tpe"\n',
    space={"layers": "1, 2, 3"},
    n_sets=3,
    n_images=dict.fromkeys(SETS, 6),
    versions={"keras": "3.15.1"},
    git_commit="0" * 40,
    started=START,
)


@functools.cache
def _template() -> Path:
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    open_tracking(root)
    return root / "mlruns" / "mlflow.db"


def new_project(root: Path) -> Path:
    """A project folder with a migrated, empty MLflow database: a copy takes 5 ms, a migration 2 s."""
    (root / "mlruns").mkdir(parents=True)
    shutil.copy(_template(), root / "mlruns" / "mlflow.db")
    return root


def trial(number: int) -> TrialRecord:
    choice = Hyperparameters(layers=number + 1, learning_rate=1e-3, kernel=3, batch=20)
    return TrialRecord(
        number=number, hyperparameters=choice, n_parameters=1000 + number, started=START + timedelta(minutes=number)
    )


def fold(number: int, test: str, validation: str, n_epochs: int = 4, n_images: int = 6) -> FoldRecord:
    rng = np.random.default_rng([number, SETS.index(test), SETS.index(validation)])
    scores = FoldScores(
        test=test,
        validation=validation,
        test_score=0.9,
        validation_score=0.8,
        score_by_plane={"XY": 0.9, "XZ": 0.91, "YZ": 0.89},
        details={"accuracy_pristine": 0.95, "accuracy_failed": 0.85, "softmax_pristine": 0.7, "softmax_failed": 0.6},
    )
    names = [f"{part}_{what}" for part in ("train", "validation", "test") for what in ("loss", "score")]
    started = START + timedelta(minutes=number, seconds=10)
    return FoldRecord(
        task="damage",
        scores=scores,
        key=f"{number}{test}{validation}",
        seed=11,
        precision="float32",
        cpu_seconds=12.5,
        n_epochs=n_epochs,
        curves={name: rng.random(n_epochs).astype(np.float32) for name in names},
        predictions=Predictions(
            specimen=np.full(n_images, test),
            state=1 + np.arange(n_images) % 2,
            plane=np.resize(["XY", "XZ", "YZ"], n_images),
            position=np.arange(n_images),
            truth=(np.arange(n_images) % 2).astype(np.float32),
            output=rng.random(n_images).astype(np.float32),
        ),
        started=started,
        finished=started + timedelta(seconds=20),
    )


def folds(number: int) -> list[FoldRecord]:
    return [fold(number, test, validation) for test, validation in permutations(SETS, 2)]


def summary(number: int, state: str = "complete") -> TrialSummary:
    return TrialSummary(
        mean_score=0.9 - 0.05 * (number // 2),
        sd=0.01,
        score_by_set=dict.fromkeys(SETS, 0.9),
        state=state,
        reason=None if state == "complete" else "diverged",
        finished=START + timedelta(minutes=number, seconds=50),
    )


def optimum(number: int, n_trials: int = 2) -> OptimumRecord:
    return OptimumRecord(
        hyperparameters=trial(number).hyperparameters,
        rule="best",
        n_trials=n_trials,
        estimates=Estimates(
            trial=number,
            apparent_score=0.9,
            sd=0.01,
            n_folds=6,
            nested_score=0.85,
            nested_score_bound=0.7,
            nested_score_worse_end=0.65,
            nested_score_better_end=0.95,
            next_score_worse_end=0.55,
            next_score_better_end=1.05,
            so_far=(
                EstimatesSoFar(n_trials=1, apparent_score=0.82, nested_score=0.8),
                EstimatesSoFar(n_trials=2, apparent_score=0.9, nested_score=0.85),
            ),
            nested_score_by_set=dict.fromkeys(SETS, 0.85),
            chosen_by_set=dict.fromkeys(SETS, number),
            n_agreed_by_set=dict.fromkeys(SETS, 2),
            bootstrap_score=0.86,
            bootstrap_score_worse_end=0.6,
            bootstrap_score_better_end=0.94,
            gap=0.05,
        ),
        refit_score=0.88,
        refit_sd=0.02,
        chosen=START + timedelta(hours=1, minutes=n_trials),
    )


def refit(number: int) -> list[FoldRecord]:
    return [replace(f, seed=99) for f in folds(number)]


def record_study(recorder: Recorder, n_trials: int = 2) -> None:
    """A study of trials of six folds each, of which the second is the optimum."""
    recorder.study(STUDY)
    for number in range(n_trials):
        recorder.trial_started(trial(number))
        for record in folds(number):
            recorder.fold(number, record)
        recorder.trial_finished(number, summary(number))
    recorder.optimum(optimum(1), refit(1))
    recorder.close()
