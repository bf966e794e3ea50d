"""Folds with known scores, for the tests of estimates and of the gate."""

from itertools import product

import numpy as np
import pandas as pd

from bonehpo.folds import nested_folds

SETS = ("TB5", "TB6", "TB9", "TB11", "TB12")


def folds_of(accuracy: np.ndarray) -> pd.DataFrame:
    """Folds of trials whose accuracy (trial, set) does not depend on the other held-out set."""
    index = {name: i for i, name in enumerate(SETS)}
    return pd.DataFrame(
        [
            {
                "trial": trial,
                "test": fold.test,
                "validation": fold.validation,
                "test_score": accuracy[trial, index[fold.test]],
                "validation_score": accuracy[trial, index[fold.validation]],
            }
            for trial in range(len(accuracy))
            for fold in nested_folds(SETS)
        ]
    )


def scored_folds(test: np.ndarray) -> pd.DataFrame:
    """Folds of scores (trial, test, validation); fold (i, j) validates as (j, i) tests."""
    return pd.DataFrame(
        {
            "trial": trial,
            "test": SETS[i],
            "validation": SETS[j],
            "test_score": test[trial, i, j],
            "validation_score": test[trial, j, i],
        }
        for trial, i, j in product(range(len(test)), range(len(SETS)), range(len(SETS)))
        if i != j
    )
