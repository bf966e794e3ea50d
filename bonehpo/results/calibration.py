"""Whether the optimum's softmax outputs are probabilities, and the temperature that makes them so."""

from collections.abc import Sequence

import pandas as pd

from bonehpo.analysis.calibration import CHANCE_BRIER, calibrated_folds, fold_scores, reliability
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.learning.fits import FitResult
from bonehpo.results.finished import FinishedStudy
from bonehpo.results.fitting import fit_arms
from bonehpo.results.record import Result

NAME = "calibration"


def calibration_address(finished: FinishedStudy) -> str:
    """What the calibration is computed from."""
    return finished.address(NAME)


def run_calibration(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Result:
    """Brier scores and reliability of the optimum's fold models, as trained and with a temperature."""
    arm = fit_arms([finished.optimum_arm()], engine, progress)["optimum"].whole()
    calibrated = calibrated_folds(predictions_table(arm.fits))
    folds = fold_scores(calibrated)
    before, after = (float(folds[name].mean()) for name in ("brier", "brier_calibrated"))
    typical = float(folds["temperature"].median())
    return finished.result(
        NAME,
        "explanation",
        calibration_address(finished),
        parameters={},
        metrics={"brier": before, "brier_calibrated": after, "temperature": typical},
        sentences=[
            f"Brier score {before:.3f} as trained and {after:.3f} with the temperature of the validation set (median "
            f"{typical:.2f}); 0 is perfect, {CHANCE_BRIER} is what always saying 1/2 gets.",
            _verdict(before, after),
        ],
        tables={"folds": folds, "bins": reliability(calibrated)},
    )


def _verdict(before: float, after: float) -> str:
    if after >= CHANCE_BRIER:
        return "Caution: even calibrated, the probabilities are no better than always saying 1/2: do not read them as such."
    if after > before:
        return "Temperatures fitted on one specimen do not improve another: the specimens differ more than the networks err."
    return ""


def predictions_table(fits: Sequence[FitResult]) -> pd.DataFrame:
    """What each fold model said of the slices that it was not trained on; see `calibrated_folds`."""
    return pd.concat([_fold(fit, i) for fit in fits for i in (0, 1)], ignore_index=True)


def _fold(fit: FitResult, i: int) -> pd.DataFrame:
    tables = []
    for role, told in (("test", fit.predictions[i]), ("validation", fit.predictions[1 - i])):
        columns = {"truth": told.truth.astype(float), "p_failed": told.output.astype(float)}
        tables.append(pd.DataFrame({"test": fit.pair[i], "validation": fit.pair[1 - i], "role": role, **columns}))
    return pd.concat(tables)
