"""The best of the fold models (Fig 4), and the calibration of all."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from bonehpo.analysis.calibration import (
    CHANCE_BRIER,
    calibrate,
    calibrated_folds,
    calibration_in_words,
    fold_scores,
    reliability,
)
from bonehpo.domain import FoldScores, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.results.finished import Findings, FinishedStudy, FittedConfiguration, fit_configurations, parameters_of
from bonehpo.search.plan import fold_records
from bonehpo.search.records import answers_of

BEST_FOLD = "best-fold"


def best_fold_address(finished: FinishedStudy) -> str:
    """Content address of the table of fold models."""
    return finished.address(BEST_FOLD)


def run_best_fold(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """Table of the optimum's fold models with fresh seeds, the best first, and of its layers.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.
    """
    configuration = fit_configurations([finished.optimum_configuration()], engine, progress)["optimum"]
    folds, spread = ranked(configuration), configuration.spread
    best = folds[0]
    table = pd.DataFrame(_row(fold, tuple(finished.plan.sets)) for fold in folds)
    choice = finished.choice
    return Findings(
        parameters={**parameters_of(choice), "test": best.test, "validation": best.validation},
        metrics={"best_accuracy": best.test_score, "mean_accuracy": configuration.spread.mean, **best.details},
        sentences=[
            f"The best of {len(folds)} fold models tests {best.test} (validation {best.validation}): accuracy "
            f"{best.test_score:.3f}; the mean of all is {spread.mean:.3f} ± {spread.sd:.3f}. The best fold was "
            "chosen by its test accuracy: it shows how a network works, and not how well networks do."
        ],
        tables={"folds": table, "layers": layers_table(choice, finished.plan.side)},
    )


def layers_table(choice: Hyperparameters, side: int) -> pd.DataFrame:
    """The layers of a network from input to output; flat layers have no height and width."""
    from bonehpo.learning.networks import build_network, layer_table  # imports TensorFlow, which takes seconds

    rows = layer_table(build_network(choice, side=side))
    shapes = [(*(math.nan,) * (3 - len(row.shape)), *row.shape) for row in rows]
    return pd.DataFrame(
        {
            "name": row.name,
            "kind": row.kind,
            "height": shape[0],
            "width": shape[1],
            "channels": shape[2],
            "parameters": row.n_parameters,
        }
        for row, shape in zip(rows, shapes, strict=True)
    )


def ranked(configuration: FittedConfiguration) -> list[FoldScores]:
    """Folds of a configuration by test accuracy, the surer of equals first."""
    return sorted(configuration.folds, key=_merit, reverse=True)


def _merit(fold: FoldScores) -> tuple[float, float]:
    return fold.test_score, fold.details["softmax_pristine"] + fold.details["softmax_failed"]


def _row(fold: FoldScores, sets: Sequence[str]) -> dict[str, object]:
    return {
        "test": fold.test,
        "validation": fold.validation,
        "train": " ".join(name for name in sets if name not in (fold.test, fold.validation)),
        "accuracy": fold.test_score,
        **fold.details,
    }


CALIBRATION = "calibration"

CALIBRATION_VERSION = 2
"""Raised when a calibration of before would no longer do: since 2 temperatures are of the other sets."""


def calibration_address(finished: FinishedStudy) -> str:
    """Content address of the calibration."""
    return finished.address(CALIBRATION, CALIBRATION_VERSION)


def run_calibration(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Findings:
    """Brier scores and reliability of the optimum's fold models, as trained and with a temperature.

    Args:
        finished: The study.
        engine: Where fits run.
        progress: Told after every fit.
    """
    configuration = fit_configurations([finished.optimum_configuration()], engine, progress)["optimum"].whole()
    answers = answers_of([fold for fit in configuration.fits for fold in fold_records(fit)])
    found = calibrate(answers)
    if found is None:
        raise StudyError("a calibration needs folds of two test sets of the optimum: fit it again")
    calibrated = calibrated_folds(answers)
    return Findings(
        parameters={},
        metrics=asdict(found),
        sentences=[
            calibration_in_words(found),
            _verdict(found.brier, found.brier_calibrated),
        ],
        tables={"folds": fold_scores(calibrated), "bins": reliability(calibrated)},
    )


def _verdict(before: float, after: float) -> str:
    if after >= CHANCE_BRIER:
        return "Caution: even calibrated, the probabilities are no better than always saying 1/2: do not read them as such."
    if after > before:
        return (
            "The temperature of the other sets does not improve a set: the specimens differ more than the networks err."
        )
    return ""
