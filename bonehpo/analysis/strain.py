"""How far predicted strains are off: by state, by specimen, overall, and beside a network that knows nothing.

All is computed from one table, a row for each slice and fold, with the columns `specimen` (the test set), `validation`,
`state`, `strain_percent`, `predicted_percent`. A fold is (specimen, validation). Errors are mean absolute errors in %
strain, over the slices of a fold first and then over folds, so that each fold weighs the same; `sd` is over folds.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from natsort import natsorted

from bonehpo.errors import StudyError

FOLD = ["specimen", "validation"]

ARMS = ("network", "mean of the training strains")


class Calibration(NamedTuple):
    """The straight line of predicted against true strain, least squares in each fold, then the mean over folds.

    Attributes:
        slope: 1 is perfect, 0 a network that knows nothing, below 1 one that shrinks towards the middle. NaN where no
            fold has two different strains.
        intercept: What it says at no strain, in % strain; 0 is perfect.
        n_folds: Folds with two different strains.
    """

    slope: float
    intercept: float
    n_folds: int


def errors_by_state(table: pd.DataFrame) -> pd.DataFrame:
    """Error at each load state.

    Returns:
        Columns `state`, `strain_percent` (mean over the specimens that have the state), `error_percent`, `sd` (NaN for one
        fold), `n_slices` (over all folds); in order of state.
    """
    rows = _with_errors(table)
    by_fold = rows.groupby([*FOLD, "state"])["error_percent"].mean().groupby("state")
    return pd.DataFrame(
        {
            "strain_percent": _scans(table).groupby("state").mean(),
            "error_percent": by_fold.mean(),
            "sd": by_fold.std(ddof=1),
            "n_slices": rows.groupby("state").size(),
        }
    ).reset_index()


def errors_by_specimen(table: pd.DataFrame) -> pd.DataFrame:
    """Error on each specimen.

    Returns:
        Columns `specimen`, `error_percent`, `sd` (NaN for one fold), `n_folds`; specimens in natural order.
    """
    by_fold = _with_errors(table).groupby(FOLD)["error_percent"].mean().groupby("specimen")
    found = pd.DataFrame({"error_percent": by_fold.mean(), "sd": by_fold.std(ddof=1), "n_folds": by_fold.size()})
    return found.loc[natsorted(found.index)].reset_index()


def errors_by_arm(table: pd.DataFrame) -> pd.DataFrame:
    """Overall error of the network and of the constant that is the mean of the training strains.

    Returns:
        Columns `arm`, `error_percent`, `sd` (NaN for one fold), `n_folds`; the network first.

    Raises:
        StudyError: The table has no training specimens for some fold.
    """
    arms = dict(zip(ARMS, (table, constant_predictions(table)), strict=True))
    folds = {arm: _with_errors(rows).groupby(FOLD)["error_percent"].mean() for arm, rows in arms.items()}
    return pd.DataFrame(
        {"arm": arm, "error_percent": errors.mean(), "sd": errors.std(ddof=1), "n_folds": len(errors)}
        for arm, errors in folds.items()
    )


def constant_predictions(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a network would leave it that always says the mean strain of its training scans.

    Training scans are those of all specimens of the table but the fold's two; each counts once, as all scans of a store have
    the same number of slices.

    Raises:
        StudyError: The table has no training specimens for some fold.
    """
    scans = _scans(table).reset_index()
    constants = {}
    for specimen, validation in table[FOLD].drop_duplicates().itertuples(index=False, name=None):
        training = scans.loc[~scans["specimen"].isin([specimen, validation]), "strain_percent"]
        if not len(training):
            raise StudyError(
                f"test {specimen}, validation {validation}: no third specimen in the table to train on: "
                "complete the folds of at least three specimens"
            )
        constants[specimen, validation] = float(training.mean())
    folds = zip(table["specimen"], table["validation"], strict=True)
    return table.assign(predicted_percent=[constants[fold] for fold in folds])


def calibration(table: pd.DataFrame) -> Calibration:
    """How predicted strains follow true ones."""
    lines = []
    for _, rows in table.groupby(FOLD):
        true, said = rows["strain_percent"].to_numpy(float), rows["predicted_percent"].to_numpy(float)
        spread = ((true - true.mean()) ** 2).sum()
        if np.ptp(true) > 0:
            slope = float(((true - true.mean()) * (said - said.mean())).sum() / spread)
            lines.append((slope, float(said.mean() - slope * true.mean())))
    if not lines:
        return Calibration(float("nan"), float("nan"), 0)
    slope, intercept = np.mean(lines, axis=0)
    return Calibration(slope=float(slope), intercept=float(intercept), n_folds=len(lines))


def _with_errors(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(error_percent=(table["predicted_percent"] - table["strain_percent"]).abs())


def _scans(table: pd.DataFrame) -> "pd.Series[float]":
    """True strain of each scan, by specimen and state."""
    return table.groupby(["specimen", "state"])["strain_percent"].mean()
