"""A made-up study of 24 trials, with the record that a page about it needs."""

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import made_up_results as made_up
import numpy as np
import pandas as pd

from bonehpo.analysis.estimates import choose_optimum, estimate, trial_estimates
from bonehpo.analysis.variance import variance_of
from bonehpo.config import StudyConfig, config_to_toml
from bonehpo.domain import FoldScores
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.architecture import count_parameters
from bonehpo.learning.fits import Predictions
from bonehpo.search.recorder import FoldRecord, StudyRecord
from bonehpo.search.summary import RefitOptimum, StudySummary, TrialRow

MADE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def study(world: made_up.World = made_up.PHANTOM, n_trials: int = 24, task: str = "damage") -> StudySummary:
    """A study whose trials differ by luck and by choice; the third failed, the last is unfinished. Without trials if 0."""
    rng = np.random.default_rng(1)
    choices = [
        Hyperparameters(
            layers=int(rng.integers(1, 7)),
            learning_rate=float(rng.choice([1e-5, 1e-4, 1e-3])),
            kernel=int(rng.choice([3, 5, 7, 9, 11])),
            batch=int(rng.choice([5, 10, 20, 50])),
        )
        for _ in range(n_trials)
    ]
    states = ["complete"] * n_trials
    if n_trials > 3:
        states[2], states[-1] = "failed", "unfinished"
    folds = pd.DataFrame(
        row
        for k in range(n_trials)
        if states[k] == "complete"
        for row in _folds(rng, world, task, k, choices[k].layers)
    )
    n_parameters = {k: count_parameters(c, 200) for k, c in enumerate(choices)}
    found = {e.trial: e for e in trial_estimates(folds)} if len(folds) else {}
    estimates = estimate(folds, choose_optimum(folds, "best", n_parameters)) if len(folds) else None
    return StudySummary(
        name="TB",
        bone=world.bone,
        task=task,
        ran_on=world.ran_on,
        store_id="ab" * 32,
        split="specimen",
        protocol="adaptive",
        trials=tuple(
            TrialRow(
                trial=k,
                hyperparameters=choice,
                n_parameters=n_parameters[k],
                n_folds=20 if states[k] == "complete" else 6,
                mean_score=found[k].mean if k in found else None,
                sd=found[k].sd if k in found else None,
                score_by_set=found[k].by_set if k in found else {},
                state=states[k],
                reason="the loss became NaN" if states[k] == "failed" else None,
            )
            for k, choice in enumerate(choices)
        ),
        estimates=estimates,
        optimum=None if estimates is None else _refit(world, estimates.trial, estimates.nested_score, task),
        variance=variance_of(folds),
    )


def _folds(rng: np.random.Generator, world: made_up.World, task: str, trial: int, layers: int) -> list[dict[str, Any]]:
    """A trial's folds: a specimen's score is harder or easier, and (i, j) validates as (j, i) tests."""
    base = 0.72 + 0.03 * layers if task == "damage" else -1.4 + 0.1 * layers
    ease = {name: 0.02 * (k - 2) + 0.03 * rng.standard_normal() for k, name in enumerate(world.specimens)}
    tested = {
        (test, validation): min(base + ease[test] + 0.02 * rng.standard_normal(), 1.0)
        for test, validation in permutations(world.specimens, 2)
    }
    return [
        {"trial": trial, "test": i, "validation": j, "test_score": score, "validation_score": tested[j, i]}
        for (i, j), score in tested.items()
    ]


def _refit(world: made_up.World, trial: int, score: float, task: str) -> RefitOptimum:
    scores = [
        FoldScores(
            test=test, validation=validation, test_score=score, validation_score=score, score_by_plane={}, details={}
        )
        for test, validation in permutations(world.specimens, 2)
    ]
    return RefitOptimum(trial=trial, refit_score=score, refit_sd=0.021, folds=tuple(scores))


def record(world: made_up.World = made_up.PHANTOM, task: str = "damage") -> StudyRecord:
    """Where the study comes from."""
    config = StudyConfig(bone=world.bone)
    return StudyRecord(
        study_id="5e0c",
        name="TB",
        bone=world.bone,
        task=task,
        store_id="ab" * 32,
        ran_on=world.ran_on,  # type: ignore[arg-type]
        split="specimen",
        sampler="tpe",
        protocol="adaptive",
        seed=0,
        config_toml=config_to_toml(config),
        space={"layers": "1, 2, 3, 4, 5, 6", "learning_rate": "1e-5, 1e-4, 1e-3, 1e-2", "kernel": "3, 5, 7, 9, 11"},
        n_sets=len(world.specimens),
        n_images=dict.fromkeys(world.specimens, 1800),
        versions={"bonehpo": "0.1.0", "tensorflow": "2.21.0", "keras": "3.15.1", "optuna": "5.0.0"},
        git_commit="0123456789abcdef0123456789abcdef01234567",
        started=MADE,
    )


def learnt(n_folds: int, task: str = "damage", n_epochs: int = 20) -> list[FoldRecord]:
    """Folds whose loss falls and whose score rises."""
    rng = np.random.default_rng(0)
    fall = np.exp(-np.arange(n_epochs) / 6)
    nothing = Predictions(*(np.empty(0) for _ in Predictions._fields))  # type: ignore[call-arg]
    scores = FoldScores(test="a", validation="b", test_score=0, validation_score=0, score_by_plane={}, details={})
    return [
        FoldRecord(
            task=task,
            scores=scores,
            key="0",
            seed=0,
            precision="float32",
            cpu_seconds=1.0,
            n_epochs=n_epochs,
            curves={
                f"{part}_{measure}": at + sign * fall + 0.02 * rng.standard_normal(n_epochs)
                for part, lag in (("train", 0), ("validation", 0.1), ("test", 0.12))
                for measure, sign, at in (
                    ("loss", 0.6, lag),
                    ("score", -0.4, 0.9 - lag if task == "damage" else -0.5 - lag),
                )
            },
            predictions=nothing,
            started=MADE,
            finished=MADE,
        )
        for _ in range(n_folds)
    ]
