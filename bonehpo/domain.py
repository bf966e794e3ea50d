"""The nouns of bonehpo, frozen and without arrays.

A *specimen* is one piece of bone; a *load state* is numbered from 1 (pristine) up, the last is failed; a *set* is what is
assigned to training, validation and test as a whole; a *fold* is an ordered holdout pair (test, validation) and a *fit*
is one training on the sets outside an unordered holdout pair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple


class Group(NamedTuple):
    """All slices of one specimen cut in one plane; the smallest thing that is ever assigned."""

    specimen: str
    plane: str


class HoldoutPair(NamedTuple):
    """Two sets that one fit never trains on, in alphabetical order: (a, b) and (b, a) are the same pair."""

    first: str
    second: str

    @property
    def label(self) -> str:
        """Both names, as they stand in tables and keys."""
        return f"{self.first}|{self.second}"


class Fold(NamedTuple):
    """An ordered holdout pair. Test is the outer, validation the inner set; they are never swapped."""

    test: str
    validation: str
    train: tuple[str, ...]

    @property
    def pair(self) -> HoldoutPair:
        """The unordered pair whose one fit yields this fold and its mirror image."""
        first, second = sorted((self.test, self.validation))
        return HoldoutPair(first, second)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldScores:
    """Scores of one fold for one choice of hyperparameters. For scores see `task.Measure`.

    Attributes:
        test: Name of the test set.
        validation: Name of the validation set.
        test_score: On all slices of the test set.
        validation_score: On all slices of the validation set.
        score_by_plane: On the slices of the test set that were cut in each plane.
        details: For each class, over its test slices, the accuracy and the mean softmax output for it: `accuracy_pristine`,
            `softmax_pristine` and so on. For strain `bias_percent`.
    """

    test: str
    validation: str
    test_score: float
    validation_score: float
    score_by_plane: Mapping[str, float]
    details: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a long task.

    Attributes:
        done: Steps that are done.
        total: Steps that there are.
        what: The current step.
        task: The whole: "prepare", "search", the name of a result.
        seconds_left: Until the end; None where nobody has estimated it, NaN where nobody can yet.
    """

    done: int
    total: int
    what: str
    task: str = ""
    seconds_left: float | None = None


ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Take no notice; the null object for `ProgressCallback`."""


def of_task(progress: ProgressCallback, task: str) -> ProgressCallback:
    """A callback that hands on what it is told, under the name of a task."""
    return lambda at: progress(replace(at, task=task))
