"""The nouns of bonehpo, frozen and without arrays.

A *specimen* is one piece of bone; a *load state* is numbered from 1 (pristine) up, the last is failed; a *set* is what is
assigned to training, validation and test as a whole, such as a specimen, or all that one donor gave; a *fold* is an ordered
holdout pair (test, validation) and a *fit* is one training on the sets outside an unordered holdout pair.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

NO_DONORS: Mapping[str, str] = MappingProxyType({})
"""Donors of specimens, where nobody has named them: each specimen is taken for one of its own."""


class Group(NamedTuple):
    """All slices of one specimen cut in one plane; the smallest thing that is ever assigned."""

    specimen: str
    plane: str


def independent(specimens: Sequence[str], donors: Mapping[str, str] = NO_DONORS) -> dict[str, tuple[str, ...]]:
    """Specimens by what is independent: by donor where donors are named, else each by itself.

    Args:
        specimens: Names of specimens, each once.
        donors: Donor of each specimen, or of none.

    Examples:
        >>> independent(["F3l", "F3r", "F4"], {"F3l": "F3", "F3r": "F3", "F4": "F4"})
        {'F3': ('F3l', 'F3r'), 'F4': ('F4',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for specimen in specimens:
        name = donors.get(specimen, specimen)
        found[name] = (*found.get(name, ()), specimen)
    return found


def specimens_in_words(specimens: Sequence[str], donors: Mapping[str, str] = NO_DONORS, such: str = "") -> str:
    """Number of specimens, and of their donors where they are named.

    Args:
        specimens: Names of specimens, each once.
        donors: Donor of each specimen, or of none.
        such: Adjective of the specimens, with a space behind it.

    Examples:
        >>> specimens_in_words(["F3l", "F3r", "F4"], {"F3l": "F3", "F3r": "F3", "F4": "F4"})
        '3 specimens of 2 donors'
    """
    of = f" of {len(independent(specimens, donors))} donors" if donors else ""
    return f"{len(specimens)} {such}specimens{of}"


def some_of(names: Sequence[str], n: int = 3) -> str:
    """The first names of a list, and how many more there are.

    >>> some_of(["A", "B", "C", "D", "E"])
    'A, B, C and 2 more'
    """
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


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
    """A callback that hands on what it is told, under the name of a task where it has none yet."""
    return lambda at: progress(replace(at, task=at.task or task))
