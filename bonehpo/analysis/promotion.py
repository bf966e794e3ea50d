"""The gate of promotion: what a trial must show before a network of it is handed to others."""

import numpy as np
import pandas as pd

from bonehpo.analysis.estimates import CHANCE, nested_accuracy
from bonehpo.errors import PromotionRefused


def check_gate(folds: pd.DataFrame, trial: int, n_folds: int) -> None:
    """Let an optimum pass whose folds are whole and whose procedure beats chance on sets it has not seen.

    Args:
        folds: Recorded folds of all complete trials of the study.
        trial: The optimum.
        n_folds: Folds that a trial of this study has.

    Raises:
        PromotionRefused: A fold is missing or not a number, or the lower bound of the nested accuracy is not above
            chance.
    """
    rows = folds[folds["trial"] == trial]
    if len(rows) < n_folds:
        raise PromotionRefused(
            f"trial {trial} has {len(rows)} of {n_folds} folds: run `bonehpo search` until it is complete"
        )
    broken = rows[~np.isfinite(rows[["test_score", "validation_score"]]).all(axis=1)]
    if len(broken):
        first = broken.iloc[0]
        raise PromotionRefused(
            f"trial {trial}, test {first['test']}, validation {first['validation']}: the accuracy is no finite number: "
            "look at that run in `bonehpo ui`"
        )
    nested = nested_accuracy(folds)
    if not nested.lower > CHANCE:
        raise PromotionRefused(
            f"trial {trial} does not beat chance: nested accuracy {nested.mean:.3f} over {len(nested.by_set)} test sets, "
            f"at least {nested.lower:.3f} (one-sided 95 %), chance {CHANCE}: more specimens or a better search are needed"
        )
