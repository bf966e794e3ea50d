"""Whether the optimum's softmax outputs are probabilities, and the temperature that makes them so."""

from dataclasses import asdict

from bonehpo.analysis.calibration import (
    CHANCE_BRIER,
    brier_scores,
    calibrate,
    calibrated_folds,
    calibration_in_words,
    reliability,
)
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import StudyError
from bonehpo.results.finished import FinishedStudy
from bonehpo.results.fitting import fit_arms
from bonehpo.results.record import Result
from bonehpo.search.facts import answers_of
from bonehpo.search.objective import fold_facts

NAME = "calibration"


def calibration_address(finished: FinishedStudy) -> str:
    """What the calibration is computed from."""
    return finished.address(NAME)


def run_calibration(finished: FinishedStudy, engine: Engine, progress: ProgressCallback) -> Result:
    """Brier scores and reliability of the optimum's fold models, as trained and with a temperature."""
    arm = fit_arms([finished.optimum_arm()], engine, progress)["optimum"].whole()
    answers = answers_of([fold for fit in arm.fits for fold in fold_facts(fit)])
    calibrated, found = calibrated_folds(answers), calibrate(answers)
    if found is None:
        raise StudyError("no fold of the optimum has its mirror image: fit it again")
    return finished.result(
        NAME,
        "explanation",
        calibration_address(finished),
        parameters={},
        metrics=asdict(found),
        sentences=[
            calibration_in_words(found),
            _verdict(found.brier, found.brier_calibrated),
        ],
        tables={"folds": brier_scores(calibrated), "bins": reliability(calibrated)},
    )


def _verdict(before: float, after: float) -> str:
    if after >= CHANCE_BRIER:
        return "Caution: even calibrated, the probabilities are no better than always saying 1/2: do not read them as such."
    if after > before:
        return "Temperatures fitted on one specimen do not improve another: the specimens differ more than the networks err."
    return ""
