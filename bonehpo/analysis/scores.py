"""Recorded folds as arrays, and the two operations that every estimate is made of: a mean, and the first of the best."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from natsort import natsorted

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

TIE = 1e-9
"""Scores closer than this are equal: the order in which a mean was summed must not choose a trial."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldArrays:
    """Scores of all folds of some trials; NaN where there is no fold, and so wherever a set would be held out twice.

    Attributes:
        trials: Numbers of the trials, ascending.
        sets: Names of the sets, in natural order.
        test: Score on the test set, (trial, test, validation).
        validation: Score on the validation set, of the same shape.
    """

    trials: tuple[int, ...]
    sets: tuple[str, ...]
    test: Values
    validation: Values

    @property
    def by_set(self) -> Values:
        """Mean score of each trial on each test set, (trial, set)."""
        return mean(self.test, (2,))

    def complete(self) -> "FoldArrays":
        """Only those trials that have a finite score for every fold."""
        off = ~np.eye(len(self.sets), dtype=bool)
        kept = np.all(np.isfinite(self.test[:, off]), axis=1)
        return FoldArrays(
            trials=tuple(t for t, keep in zip(self.trials, kept.tolist(), strict=True) if keep),
            sets=self.sets,
            test=self.test[kept],
            validation=self.validation[kept],
        )


def fold_arrays(folds: pd.DataFrame) -> FoldArrays:
    """Arrange folds by trial, test set and validation set.

    Args:
        folds: A row for each fold: `trial`, `test`, `validation`, `test_score`, `validation_score`; in any order.
    """
    trials = sorted({int(number) for number in folds["trial"]})
    sets = natsorted({str(name) for column in ("test", "validation") for name in folds[column].unique()})
    at = (_positions(folds["trial"], trials), _positions(folds["test"], sets), _positions(folds["validation"], sets))
    scores = np.full((2, len(trials), len(sets), len(sets)), np.nan)
    for values, column in zip(scores, ("test_score", "validation_score"), strict=True):
        values[at] = folds[column].to_numpy(dtype=np.float64)
    return FoldArrays(trials=tuple(trials), sets=tuple(sets), test=scores[0], validation=scores[1])


def _positions(column: Iterable[object], known: Sequence[object]) -> Indices:
    place = {value: i for i, value in enumerate(known)}
    return np.array([place[value] for value in column], dtype=np.intp)


def mean(values: Values, axes: tuple[int, ...]) -> Values:
    """Mean over some axes of what is not NaN; NaN where there is nothing."""
    there = ~np.isnan(values)
    n = there.sum(axis=axes)
    total = np.where(there, values, 0.0).sum(axis=axes)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def first_best(scores: Values) -> Indices:
    """Along the first axis, the first position whose score is the highest, up to `TIE`. NaN is the lowest score."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    found: Indices = np.argmax(known >= known.max(axis=0) - TIE, axis=0)
    return found
