"""Tasks: what networks answer, how good an answer is, and what that is called.

A task says which slices are learnt from and what is true of them, how a network ends and is trained, how its answers are
scored, and how a score is written for people. All else asks it: another task is an entry of `TASKS`, three classes for one.

Inside, a score is always what is maximised: an accuracy, or minus a mean absolute error.

Examples:
    Three classes, where a bone was loaded but has not failed:

    >>> def stage(state: LoadState) -> float:
    ...     return 0 if state.is_first else 2 if state.is_last else 1
    >>> stages = Classification(
    ...     name="stages", labels=("pristine", "loaded", "failed"), truth_of=stage, question="Pristine, loaded or failed?"
    ... )
    >>> stages.head.units, round(stages.chance, 2), stages.prediction_columns
    (3, 0.33, ('label', 'p_pristine', 'p_loaded', 'p_failed'))
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bonehpo.errors import ConfigError

Floats = npt.NDArray[np.float32]

V = TypeVar("V")

PRISTINE, FAILED = 0, 1
"""Classes of `DAMAGE` by index: the second softmax output is the probability of *failed*."""


class LoadState(NamedTuple):
    """A load state of one specimen.

    Attributes:
        number: Its number.
        first: Number of the first load state, in which bone is pristine.
        last: Number of the last, in which it has failed.
        strain: Apparent strain as a fraction; None where nobody knows.
    """

    number: int
    first: int
    last: int
    strain: float | None

    @property
    def is_first(self) -> bool:
        """True where bone is pristine."""
        return self.number == self.first

    @property
    def is_last(self) -> bool:
        """True where bone has failed."""
        return self.number == self.last


class Span(NamedTuple):
    """Both ends of an interval as people read it, the smaller number first."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The number that people read for a score.

    Attributes:
        name: What stands for "score" in the names of numbers: `mean_score` is shown as `mean_accuracy`.
        noun: What it is called in a sentence.
        axis: At the axis of a figure.
        quality: What is asked of it: how *accurate* a network is.
        sign: 1 where the number is the score; -1 where it is minus the score, so that less is better.
        worst: The lowest score that there is.
        best: The highest.
        unit: What stands behind a number.
        decimals: Of a number in running text.
    """

    name: str
    noun: str
    axis: str
    quality: str
    sign: int
    worst: float
    best: float
    unit: str = ""
    decimals: int = 3

    @property
    def heading(self) -> str:
        """The words at the head of a column."""
        return f"{self.noun}{self.unit}"

    @property
    def bound(self) -> str:
        """The words before a bound on the bad side of a number."""
        return "at least" if self.sign > 0 else "at most"

    def shown(self, values: Mapping[str, V]) -> dict[str, V]:
        """Scores as people read them, under the names that people know.

        Args:
            values: Numbers (or None, or tables of numbers) by name; what has no "score" in its name stays as it is.

        Examples:
            >>> ACCURACY.shown({"test_score": 0.9, "n": 3})
            {'test_accuracy': 0.9, 'n': 3}
            >>> STRAIN.measure.shown({"test_score": -0.5, "by_set_score": {"TB5": -0.25}})
            {'test_error_percent': 0.5, 'by_set_error_percent': {'TB5': 0.25}}
        """
        return {
            name.replace("score", self.name): self._signed(value) if "score" in name else value
            for name, value in values.items()
        }

    def _signed(self, value: V) -> V:
        if isinstance(value, Mapping):
            return {key: self._signed(item) for key, item in value.items()}  # type: ignore[return-value]
        return value if value is None or self.sign > 0 else -value  # type: ignore[operator]

    def span(self, worse_end: float, better_end: float) -> Span:
        """An interval of scores as people read it, cut where scores end.

        Examples:
            >>> ACCURACY.span(0.75, 1.125)
            Span(low=0.75, high=1.0)
            >>> STRAIN.measure.span(-1.5, 0.25)
            Span(low=0.0, high=1.5)
        """
        ends = (max(worse_end, self.worst), min(better_end, self.best))
        return Span(*ends) if self.sign > 0 else Span(abs(ends[1]), -ends[0])


ACCURACY = Measure(name="accuracy", noun="accuracy", axis="accuracy", quality="accurate", sign=1, worst=0.0, best=1.0)
"""The fraction of slices that are called right."""


class Evaluation(NamedTuple):
    """Scores of one network on one set of images. Where there is no image they are NaN.

    Attributes:
        score: On all images.
        score_by_plane: On those that were cut in each plane.
        details: What else is recorded of a fold, by name; see `Task.details`.
    """

    score: float
    score_by_plane: Mapping[str, float]
    details: Mapping[str, float]


class Head(NamedTuple):
    """The end of a network and its training, in Keras's names.

    Attributes:
        units: Of the last layer.
        layer: Name of that layer.
        activation: Of that layer.
        loss: That is minimised.
        metric: Class of the number that people read, see `Measure`.
    """

    units: int
    layer: str
    activation: str
    loss: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One kind of answer that networks give.

    In all methods `outputs` are what is kept of a network's outputs, see `kept_outputs`, and `truth` is float32 (image,).

    Attributes:
        name: In study.toml, in addresses and files: it must never change.
        truth_of: What is true of the slices of a load state, as networks are trained towards it; None for slices of which
            the task says nothing.
        question: What a report asks at its head.
        needs_strain: Whether it can say nothing without the apparent strain of every scan.
        promotable: Whether its networks can be promoted: a registered model answers p(failed).
    """

    name: str
    truth_of: Callable[[LoadState], float | None]
    question: str
    needs_strain: bool = False
    promotable: bool = False

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """The number that people read for a score."""

    @property
    @abstractmethod
    def head(self) -> Head:
        """The end of a network, and its training."""

    @property
    @abstractmethod
    def loss_axis(self) -> str:
        """The loss at the axis of a figure."""

    @property
    @abstractmethod
    def prediction_columns(self) -> tuple[str, ...]:
        """Names of the truth, and of each number that is kept of a network's outputs, in a table of predictions."""

    @property
    def is_binary(self) -> bool:
        """True for two classes, of which one probability says both."""
        return False

    @abstractmethod
    def scaling(self, truth: Floats, /) -> tuple[float, float]:
        """Offset and scale of what networks are trained towards: (truth - offset) / scale.

        Args:
            truth: Of the images that are trained on.
        """

    @abstractmethod
    def score(self, outputs: Floats, truth: Floats) -> float:
        """The number that is maximised; NaN where there is no image."""

    @abstractmethod
    def loss(self, outputs: Floats, truth: Floats) -> float:
        """The number that training minimises, in the units of the truth."""

    @abstractmethod
    def details(self, outputs: Floats, truth: Floats) -> dict[str, float]:
        """Numbers that are recorded of a fold beside its score, by name."""

    def evaluate(self, outputs: Floats, truth: Floats, planes: npt.NDArray[np.str_]) -> Evaluation:
        """Score what a network said of the images of a set.

        Args:
            outputs: What it said.
            truth: What is true.
            planes: Plane name of each image, (image,).

        Examples:
            >>> truth, planes = np.array([0, 0, 1, 1], np.float32), np.array(["XY", "XZ", "XY", "XZ"])
            >>> found = DAMAGE.evaluate(np.array([0.1, 0.7, 0.8, 0.9], np.float32), truth, planes)
            >>> found.score, found.details["accuracy_pristine"], dict(found.score_by_plane)
            (0.75, 0.5, {'XY': 1.0, 'XZ': 0.5})
        """
        return Evaluation(
            score=self.score(outputs, truth),
            score_by_plane={str(p): self.score(outputs[planes == p], truth[planes == p]) for p in np.unique(planes)},
            details=self.details(outputs, truth),
        )


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """To tell classes apart; the truth is the index of the class.

    Attributes:
        labels: Names of the classes, two or more.
    """

    labels: tuple[str, ...]
    loss_axis = "loss (nats)"
    measure = ACCURACY

    @property
    def head(self) -> Head:
        """One softmax output for each class."""
        loss, metric = "sparse_categorical_crossentropy", "SparseCategoricalAccuracy"
        return Head(len(self.labels), "softmax", "softmax", loss, metric)

    @property
    def is_binary(self) -> bool:
        """True for two classes, of which one probability says both."""
        return len(self.labels) == 2

    @property
    def chance(self) -> float:
        """Accuracy of a network that knows nothing, where there are as many slices of each class."""
        return 1 / len(self.labels)

    @property
    def prediction_columns(self) -> tuple[str, ...]:
        """The label, and the probability of each class; of two classes that of the second, which says both."""
        return ("label", *(f"p_{label}" for label in self.labels[self.is_binary :]))

    def scaling(self, _truth: Floats, /) -> tuple[float, float]:
        """Labels are trained towards as they are."""
        return 0.0, 1.0

    def probabilities(self, outputs: Floats) -> Floats:
        """The probability of each class, (image, class), from what is kept."""
        return np.stack([1 - outputs, outputs], axis=1) if outputs.ndim == 1 else outputs

    def chosen(self, outputs: Floats) -> npt.NDArray[np.intp]:
        """The class of the highest probability, (image,): of two classes the second where it is above 1/2."""
        return np.asarray(self.probabilities(outputs).argmax(axis=1))

    def score(self, outputs: Floats, truth: Floats) -> float:
        """The accuracy, a fraction of slices."""
        return _mean(self.chosen(outputs) == truth)

    def loss(self, outputs: Floats, truth: Floats) -> float:
        """Mean cross-entropy in nats, probabilities clipped at 1e-7 as Keras does."""
        p_label = self.probabilities(outputs)[np.arange(len(truth)), truth.astype(np.intp)]
        return float(-np.log(np.clip(p_label, 1e-7, 1)).mean())

    def details(self, outputs: Floats, truth: Floats) -> dict[str, float]:
        """For each class the accuracy and the mean probability of that class, over its own slices."""
        probabilities, chosen = self.probabilities(outputs), self.chosen(outputs)
        own = [(i, label, truth == i) for i, label in enumerate(self.labels)]
        return {
            **{f"accuracy_{label}": _mean(chosen[mine] == i) for i, label, mine in own},
            **{f"softmax_{label}": _mean(probabilities[mine, i]) for i, label, mine in own},
        }


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """To read off a number; networks are trained towards it standardised.

    Attributes:
        suffix: Unit of the number, at the end of names.
        unit: The same behind a number.
        axis_unit: The same at an axis.
    """

    suffix: str
    unit: str
    axis_unit: str

    @property
    def head(self) -> Head:
        """One linear unit, called as the task."""
        return Head(1, self.name, "linear", "mean_squared_error", "MeanAbsoluteError")

    @property
    def loss_axis(self) -> str:
        """The loss at the axis of a figure."""
        return f"loss ({self.axis_unit})²"

    @property
    def measure(self) -> Measure:
        """The mean absolute error."""
        return Measure(
            name=f"error_{self.suffix}",
            noun="error",
            axis=f"mean absolute error ({self.axis_unit})",
            quality="exact",
            sign=-1,
            worst=-math.inf,
            best=0.0,
            unit=self.unit,
            decimals=2,
        )

    @property
    def prediction_columns(self) -> tuple[str, ...]:
        """The number, and what was said of it."""
        return f"{self.name}_{self.suffix}", f"predicted_{self.suffix}"

    def scaling(self, truth: Floats, /) -> tuple[float, float]:
        """Mean and standard deviation of the truth; a scale of 1 where that has none."""
        return float(truth.mean()), float(truth.std()) or 1.0

    def score(self, outputs: Floats, truth: Floats) -> float:
        """Minus the mean absolute error."""
        return -_mean(np.abs(outputs - truth))

    def loss(self, outputs: Floats, truth: Floats) -> float:
        """Mean squared error."""
        return _mean((outputs - truth) ** 2)

    def details(self, outputs: Floats, truth: Floats) -> dict[str, float]:
        """The bias: how much too high it is on average."""
        return {f"bias_{self.suffix}": _mean(outputs - truth)}


def kept_outputs(outputs: npt.NDArray[np.generic]) -> Floats:
    """The outputs of a network that are kept, float32: of one or two units the last, (image,); of more all, (image, unit).

    Of two probabilities the second says both.

    Args:
        outputs: What the last layer says, (image, unit).
    """
    return (outputs if outputs.shape[1] > 2 else outputs[:, -1]).astype(np.float32)


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def _ends(state: LoadState) -> float | None:
    return PRISTINE if state.is_first else FAILED if state.is_last else None


def _strain_percent(state: LoadState) -> float | None:
    return None if state.strain is None else 100 * state.strain


DAMAGE = Classification(
    name="damage",
    labels=("pristine", "failed"),
    truth_of=_ends,
    question="Failed or pristine?",
    promotable=True,
)
"""To tell failed from pristine slices, by the first and the last state of every specimen."""

STRAIN = Regression(
    name="strain",
    truth_of=_strain_percent,
    question="How far is it strained?",
    needs_strain=True,
    suffix="percent",
    unit=" %",
    axis_unit="% strain",
)
"""To read the apparent strain off slices of all load states."""

TASKS: dict[str, Task] = {task.name: task for task in (DAMAGE, STRAIN)}
"""By name."""


def task_named(name: str) -> Task:
    """The task of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in TASKS:
        raise ConfigError(f'there is no task "{name}": take one of {", ".join(TASKS)}')
    return TASKS[name]
