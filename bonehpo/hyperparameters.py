"""The table of hyperparameters, one choice of them, and the space of choices.

The table says of each hyperparameter all that is not learning: what may be chosen, how it is checked, written and drawn.
What searches, sweeps, prints and records loops over it. To add one, write an entry, and a field of the same name in
`Hyperparameters` and in `Space`; and let `learning` make something of it: of the network in `architecture` and `networks`,
of the optimiser in `learners`. Its default must leave everything as it was, and never change (see `schema`).

References:
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.2 and §3.2: the first four.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bonehpo.schema import SCHEMA_1, stable

Value = int | float | str

Normalisation = Literal["none", "batch", "group"]
Schedule = Literal["constant", "cosine"]


def _positive(value: Any) -> str:
    return "" if 0 < value < math.inf else "must be positive"


def _not_negative(value: Any) -> str:
    return "" if 0 <= value < math.inf else "must be 0 or more"


def _share(value: Any) -> str:
    return "" if 0 <= value < 1 else "must be from 0 to below 1"


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One entry of the table.

    Attributes:
        name: Key in study.toml, of Optuna's and MLflow's parameters, and column of tables.
        label: Name in tables and sentences.
        short: Name in the console, where room is scarce.
        axis: What the axis of a figure is called, with its unit.
        kind: What its values are; a "choice" is one of a few words.
        default: Value of the baseline. That of a hyperparameter that was added later means "as before".
        space: What is searched unless study.toml says otherwise; nothing, where it is the default alone.
        examples: Values worth searching, the default among them; all there are of a choice.
        check: What is wrong with a number, as the end of a sentence; empty where nothing is.
        logarithmic: Whether a range of it is searched, and its axis drawn, in its logarithm.
        changes: What of a fit it changes.
        is_rebuilt: Whether another value needs another network or optimiser: two that do not differ in such a hyperparameter
            share one that is compiled.
        place: Where its turn is in the one-at-a-time variation: the four of the paper in the order of its Fig 3.
        names: Words for values that do not speak for themselves.
        description: One sentence for help and documentation.
    """

    name: str
    label: str
    axis: str
    kind: Literal["int", "float", "choice"]
    default: Any
    space: tuple[Any, ...]
    examples: tuple[Any, ...]
    changes: Literal["network", "optimiser", "order"]
    description: str
    short: str = ""
    check: Callable[[Any], str] = lambda _: ""
    logarithmic: bool = False
    is_rebuilt: bool = True
    place: int = 99
    names: Mapping[Value, str] = field(default_factory=dict, hash=False)

    def complaint(self, value: Any) -> str:
        """Complaint about a value, as the end of a sentence; empty where nothing is."""
        if self.kind == "choice":
            return "" if value in self.examples else f"must be one of {', '.join(map(str, self.examples))}"
        return self.check(value)

    @property
    def is_always_told(self) -> bool:
        """True if it is searched and shown even where it never varies: the four of the paper are."""
        return self.name in SCHEMA_1["Hyperparameters"]

    def cast(self, value: Any) -> Value:
        """A value as a choice holds it, whatever Optuna, JSON or a table has made of it."""
        return {"int": int, "float": float, "choice": str}[self.kind](value)  # type: ignore[no-any-return]

    def text(self, value: Any) -> str:
        """A value as people read it.

        Examples:
            >>> hyperparameter("learning_rate").text(1e-4), hyperparameter("dense_units").text(0)
            ('0.0001', '2 × last')
        """
        value = self.cast(value)
        return self.names.get(value) or (f"{value:g}" if self.kind == "float" else str(value))

    def number(self, value: Any) -> float:
        """A value as axes and tables of numbers hold it: of a choice its place among all there are."""
        return float(self.examples.index(value)) if self.kind == "choice" else float(value)


HYPERPARAMETERS: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        name="layers",
        label="layers",
        axis="convolution layers",
        kind="int",
        default=3,
        space=(1, 2, 3, 4, 5, 6),
        examples=(1, 2, 3, 4, 5, 6),
        check=_positive,
        changes="network",
        place=0,
        description="Convolution blocks, each of which halves the image.",
    ),
    Hyperparameter(
        name="learning_rate",
        label="learning rate",
        short="lr",
        axis="learning rate",
        kind="float",
        default=1e-4,
        space=(1e-5, 1e-4, 1e-3, 1e-2),
        examples=(1e-5, 1e-4, 1e-3, 1e-2),
        check=_positive,
        logarithmic=True,
        changes="optimiser",
        is_rebuilt=False,
        place=1,
        description="Step size of Adam.",
    ),
    Hyperparameter(
        name="kernel",
        label="kernel",
        axis="side of the first kernel (pixels)",
        kind="int",
        default=5,
        space=(3, 5, 7, 9, 11),
        examples=(3, 5, 7, 9, 11),
        check=_positive,
        changes="network",
        place=3,
        description="Side of the first kernel in pixels; the others are 3 × 3.",
    ),
    Hyperparameter(
        name="batch",
        label="batch",
        axis="batch (images)",
        kind="int",
        default=20,
        space=(5, 10, 20, 30, 40, 50),
        examples=(5, 10, 20, 30, 40, 50),
        check=_positive,
        changes="order",
        is_rebuilt=False,
        place=2,
        description="Images in one training step.",
    ),
    Hyperparameter(
        name="dropout",
        label="dropout",
        axis="dropout",
        kind="float",
        default=0.0,
        space=(0.0,),
        examples=(0.0, 0.25, 0.5),
        check=_share,
        changes="network",
        description="Share of the inputs of both dense layers that each training step leaves out.",
    ),
    Hyperparameter(
        name="filters",
        label="filters",
        axis="filters of the first layer",
        kind="int",
        default=32,
        space=(32,),
        examples=(16, 32, 64),
        check=_positive,
        changes="network",
        description="Filters of the first convolution; each further block has twice as many.",
    ),
    Hyperparameter(
        name="dense_units",
        label="dense units",
        short="dense",
        axis="units of the first dense layer",
        kind="int",
        default=0,
        space=(0,),
        examples=(0, 64, 256),
        check=_not_negative,
        changes="network",
        names={0: "2 × last"},
        description="Units of the first dense layer; 0 for twice the filters of the last convolution.",
    ),
    Hyperparameter(
        name="weight_decay",
        label="weight decay",
        short="decay",
        axis="weight decay",
        kind="float",
        default=0.0,
        space=(0.0,),
        examples=(0.0, 1e-3, 1e-2),
        check=_not_negative,
        logarithmic=True,
        changes="optimiser",
        description="Decoupled decay of the kernels (AdamW): each step takes this times the learning rate off them.",
    ),
    Hyperparameter(
        name="normalisation",
        label="normalisation",
        short="norm",
        axis="normalisation",
        kind="choice",
        default="none",
        space=("none",),
        examples=get_args(Normalisation),
        changes="network",
        description="Normalisation after each convolution, before its ReLU.",
    ),
    Hyperparameter(
        name="schedule",
        label="schedule",
        axis="schedule of the learning rate",
        kind="choice",
        default="constant",
        space=("constant",),
        examples=get_args(Schedule),
        changes="optimiser",
        is_rebuilt=False,
        description="Learning rate over the steps of a fit: constant, or falling to 0 as half a cosine.",
    ),
)
"""All hyperparameters, in the order of choices, tables and panels."""

IN_TURN = tuple(sorted(HYPERPARAMETERS, key=lambda entry: entry.place))
"""The same in the order of the one-at-a-time variation."""

_BY_NAME = {entry.name: entry for entry in HYPERPARAMETERS}


def hyperparameter(name: str) -> Hyperparameter:
    """The entry of this name."""
    return _BY_NAME[name]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Hyperparameters:
    """One choice of all hyperparameters, by default the baseline of the paper; the table says what each is."""

    layers: int = _BY_NAME["layers"].default
    learning_rate: float = _BY_NAME["learning_rate"].default
    kernel: int = _BY_NAME["kernel"].default
    batch: int = _BY_NAME["batch"].default
    dropout: float = _BY_NAME["dropout"].default
    filters: int = _BY_NAME["filters"].default
    dense_units: int = _BY_NAME["dense_units"].default
    weight_decay: float = _BY_NAME["weight_decay"].default
    normalisation: Normalisation = _BY_NAME["normalisation"].default
    schedule: Schedule = _BY_NAME["schedule"].default

    def __repr__(self) -> str:
        return f"Hyperparameters({', '.join(f'{name}={value!r}' for name, value in stable(self).items())})"


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range of numbers, both ends included; logarithmic where the hyperparameter is."""

    low: float
    high: float

    def at(self, u: float, *, logarithmic: bool) -> float:
        """The number at a share `u` of the way from the low to the high end."""
        if logarithmic:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + (self.high - self.low) * u)


@dataclass(frozen=True, kw_only=True)
class Space:
    """Values of each hyperparameter that the search may choose; of those added later by default one, which is no choice."""

    layers: tuple[int, ...] = _BY_NAME["layers"].space
    learning_rate: tuple[float, ...] | Range = _BY_NAME["learning_rate"].space
    kernel: tuple[int, ...] = _BY_NAME["kernel"].space
    batch: tuple[int, ...] = _BY_NAME["batch"].space
    dropout: tuple[float, ...] | Range = _BY_NAME["dropout"].space
    filters: tuple[int, ...] = _BY_NAME["filters"].space
    dense_units: tuple[int, ...] = _BY_NAME["dense_units"].space
    weight_decay: tuple[float, ...] | Range = _BY_NAME["weight_decay"].space
    normalisation: tuple[Normalisation, ...] = _BY_NAME["normalisation"].space
    schedule: tuple[Schedule, ...] = _BY_NAME["schedule"].space

    def of(self, name: str) -> tuple[Value, ...] | Range:
        """Values that may be chosen of one hyperparameter."""
        found: tuple[Value, ...] | Range = getattr(self, name)
        return found

    def complaint(self, name: str) -> str:
        """Complaint about the values of one hyperparameter, as the end of a sentence; empty where nothing is."""
        entry, values = hyperparameter(name), self.of(name)
        if isinstance(values, Range):
            if entry.logarithmic and not 0 < values.low < values.high < math.inf:
                return f"needs 0 < low < high, but got {values}"
            wrong = "" if values.low < values.high else "needs low < high"
            wrong = wrong or entry.complaint(values.low) or entry.complaint(values.high)
            return wrong and f"{wrong}, but got {values}"
        if not values:
            return "is empty: give at least one value"
        if len(set(values)) < len(values):
            return f"holds a value twice: {list(values)}"
        return next((f"{entry.complaint(value)}, but got {value}" for value in values if entry.complaint(value)), "")

    def holds(self, name: str, value: Any) -> bool:
        """True if a value of one hyperparameter may be chosen."""
        values = self.of(name)
        return values.low <= value <= values.high if isinstance(values, Range) else value in values


def searched(space: Space) -> tuple[Hyperparameter, ...]:
    """The hyperparameters that a search chooses: those of the paper, and all others that are not fixed at their default."""
    return tuple(e for e in HYPERPARAMETERS if e.is_always_told or space.of(e.name) != (e.default,))


def told(choices: Iterable[Hyperparameters]) -> tuple[Hyperparameter, ...]:
    """The hyperparameters that tell some choices apart: those of the paper, and all others that are off their default."""
    found = tuple(choices)
    return tuple(
        e for e in HYPERPARAMETERS if e.is_always_told or any(getattr(one, e.name) != e.default for one in found)
    )


def replace_values(choice: Hyperparameters, values: Mapping[str, Any]) -> Hyperparameters:
    """A choice with other values of some hyperparameters, by name."""
    return from_params({entry.name: getattr(choice, entry.name) for entry in HYPERPARAMETERS} | dict(values))


def in_words(choice: Hyperparameters, *, short: bool = True) -> str:
    """A choice in words.

    Args:
        choice: What to tell of it is what `told` says.
        short: Whether room is scarce, as in the console.

    Examples:
        >>> in_words(Hyperparameters(layers=4, normalisation="batch"))
        'layers 4, lr 0.0001, kernel 5, batch 20, norm batch'
        >>> in_words(Hyperparameters(dropout=0.25), short=False)
        'layers 3, learning rate 0.0001, kernel 5, batch 20, dropout 0.25'
    """
    names = [((short and entry.short) or entry.label, entry) for entry in told([choice])]
    return ", ".join(f"{name} {entry.text(getattr(choice, entry.name))}" for name, entry in names)


def row_of(choice: Hyperparameters, space: Space) -> dict[str, Value]:
    """A choice as columns of a table: what its search chose, by name."""
    return {entry.name: getattr(choice, entry.name) for entry in searched(space)}


def from_params(params: Mapping[str, Any]) -> Hyperparameters:
    """The choice that some parameters stand for; what they do not name has its default.

    Args:
        params: Values by name, as Optuna, a list of candidates or the row of a table hold them; other names are left out.
    """
    values: dict[str, Any] = {e.name: e.cast(params[e.name]) for e in HYPERPARAMETERS if e.name in params}
    return Hyperparameters(**values)
