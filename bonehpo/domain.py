"""The nouns of bonehpo, frozen and without arrays.

A *specimen* is one piece of bone; a *load state* is numbered from 1 (pristine) up, the last is failed; a *set* is what is
assigned to training, validation and test as a whole; a *fold* is an ordered holdout pair (test, validation) and a *fit*
is one training on the sets outside an unordered holdout pair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from bonehpo.hyperparameters import Hyperparameters as Hyperparameters  # noqa: PLC0414 (it began here)

PRISTINE, FAILED = 0, 1
"""Class indices of the two-class problem: softmax column 1 is the probability of *failed*."""

CLASS_NAMES = ("pristine", "failed")

Task = Literal["damage", "strain"]
"""What networks answer: whether a slice is failed, or the apparent strain that it was scanned under."""

V = TypeVar("V")


def shown(values: Mapping[str, V], task: Task) -> dict[str, V]:
    """Scores as people read them, under the names that people know.

    Inside, a score is what is maximised: the accuracy, a fraction of slices; for strain minus the mean absolute error in
    % strain. Outside, `apparent_score` is `apparent_accuracy`, or `apparent_error_percent` without the minus.

    Args:
        values: Numbers (or None, or tables of numbers) by name; what has no "score" in its name stays as it is.
        task: Of the study.

    Examples:
        >>> shown({"test_score": 0.9, "n": 3}, "damage")
        {'test_accuracy': 0.9, 'n': 3}
        >>> shown({"test_score": -0.5, "by_set_score": {"TB5": -0.25}}, "strain")
        {'test_error_percent': 0.5, 'by_set_error_percent': {'TB5': 0.25}}
    """
    if task == "damage":
        return {name.replace("score", "accuracy"): value for name, value in values.items()}
    return {
        name.replace("score", "error_percent"): _negated(value) if "score" in name else value
        for name, value in values.items()
    }


def _negated(value: V) -> V:
    if isinstance(value, Mapping):
        return {key: _negated(item) for key, item in value.items()}  # type: ignore[return-value]
    return value if value is None else -value  # type: ignore[operator]


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
    """Scores of one fold for one choice of hyperparameters. For scores see `shown`.

    Attributes:
        test: Name of the test set.
        validation: Name of the validation set.
        test_score: On all slices of the test set.
        validation_score: On all slices of the validation set.
        score_by_plane: On the slices of the test set that were cut in each plane.
        details: For damage `accuracy_pristine`, `accuracy_failed`, and the mean softmax output for the right class,
            `softmax_pristine` and `softmax_failed`, over the test slices of that class. For strain `bias_percent`.
    """

    test: str
    validation: str
    test_score: float
    validation_score: float
    score_by_plane: Mapping[str, float]
    details: Mapping[str, float]


class Progress(NamedTuple):
    """Progress of a long task: `done` of `total` steps, and what the current step is."""

    done: int
    total: int
    what: str


ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Take no notice; the null object for `ProgressCallback`."""
