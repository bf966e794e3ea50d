"""The gate of promotion: what a trial must show before a network of it is handed to others."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonehpo.analysis.estimates import CHANCE, nested_accuracy
from bonehpo.errors import PromotionRefused


class Audited(NamedTuple):
    """What the audits of a study say.

    Attributes:
        warnings: Against its accuracy, one sentence each.
        sentences: What else the shortcut audit found.
    """

    warnings: tuple[str, ...]
    sentences: tuple[str, ...] = ()


def check_folds(folds: pd.DataFrame, trial: int, n_folds: int) -> None:
    """See that the folds of an optimum are whole. Nothing can be said of one whose folds are not.

    Args:
        folds: Recorded folds of all complete trials of the study.
        trial: The optimum.
        n_folds: Folds that a trial of this study has.

    Raises:
        PromotionRefused: A fold is missing or not a number.
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


def objections(folds: pd.DataFrame, trial: int, baseline: int | None, shortcuts: Sequence[str]) -> tuple[str, ...]:
    """What speaks against handing a network of the study to others; nothing, where the gate is open.

    Args:
        folds: Recorded folds of all complete trials of the study, whole.
        trial: The optimum.
        baseline: Trial of the baseline's hyperparameters; None where it is not among them.
        shortcuts: What the shortcut audit warns of.
    """
    nested = nested_accuracy(folds)
    found = []
    if not nested.lower > CHANCE:
        found.append(
            f"it does not beat chance: nested accuracy {nested.mean:.3f} over {len(nested.by_set)} test sets, at least "
            f"{nested.lower:.3f} (one-sided 95 %), chance {CHANCE}"
        )
    simple = float(folds.loc[folds["trial"] == baseline, "test_score"].mean())
    if trial != baseline and nested.mean < simple:
        found.append(
            f"the search has not paid: nested accuracy {nested.mean:.3f}, the baseline, trial {baseline}, {simple:.3f}"
        )
    return (*found, *(text.rstrip(".") for text in shortcuts))
