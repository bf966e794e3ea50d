"""A kind of result: from what and how it is made, what draws it, and what is told of it. `workflow.kinds` lists them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from bonehpo.config import StudyFolder
from bonehpo.domain import ProgressCallback
from bonehpo.engine import Engine
from bonehpo.results.compare import Weights
from bonehpo.results.finished import Findings, FinishedStudy, current_result
from bonehpo.results.result import Drawn, Level, Result, load_result, result_folder
from bonehpo.search.plan import SearchPlan
from bonehpo.search.records import Optimum
from bonehpo.search.summary import StudySummary
from bonehpo.store.store import SliceStore
from bonehpo.task import DAMAGE

NO_WEIGHTS = Weights(name="none")


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """Options of results that a user may give.

    Attributes:
        visible_from: First load state at which a person sees damage.
        weights: For the backbone.
        scans: Table of scans for the ablation.
        states: Words for the load states, from pristine to failed, where that table has words for them.
    """

    visible_from: int | None = None
    weights: Weights = NO_WEIGHTS
    scans: Path | None = None
    states: tuple[str, ...] = ()


OptionName = Literal["visible_from", "weights", "scans"]


class FromPlan(NamedTuple):
    """The making of a result that needs no optimum: the content address of its inputs, and the run itself."""

    address: Callable[[SearchPlan], str]
    run: Callable[[SearchPlan, ProgressCallback], Result]


class FromOptimum(NamedTuple):
    """The making of a result of a study that has its optimum: the content address of its inputs, and the run itself."""

    address: Callable[[FinishedStudy, ResultOptions], str]
    run: Callable[[FinishedStudy, ResultOptions, Engine, ProgressCallback], Findings]

    @classmethod
    def alone(
        cls,
        address: Callable[[FinishedStudy], str],
        run: Callable[[FinishedStudy, Engine, ProgressCallback], Findings],
    ) -> "FromOptimum":
        """The making of a result that depends on no option."""
        return cls(lambda study, _: address(study), lambda study, _, engine, progress: run(study, engine, progress))


def _as_it_is(table: pd.DataFrame) -> pd.DataFrame:
    return table


class Printed(NamedTuple):
    """A table that is worth printing on the page: its caption, and what chooses its rows and columns."""

    caption: str
    choose: Callable[[pd.DataFrame], pd.DataFrame] = _as_it_is


def _sees_damage(study: StudySummary) -> bool:
    return study.task == DAMAGE.name


def _no_options(_result: Result) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class ResultKind:
    """All that is settled of a result before it is made.

    Attributes:
        name: Of the result, and of its folder; unique.
        level: Which of the two it is.
        heading: Of its section of the page.
        command: Makes it, without `bonehpo` and without the study.
        also_by: Other commands that make it on their way.
        paper: Where Shen et al. 2021 have what it shows, or ask for it; None where they do not.
        made: From what and how.
        tasks: Of the studies that it can be made of.
        options: That it depends on.
        is_step: Whether `reproduce` makes it.
        figures: Draw it, each from the result alone; one whose pictures or states are missing is left out.
        store_figures: Draw it from the slice store.
        tables: Those that the page prints, by name; the documentation of results has all.
        question: What it asks of leaks and shortcuts, to go on "it is not known …"; None where it does not.
        options_of: Options of the command, as a person types them, with which a result was made; each begins with a space.
        is_wanted: Whether the page names it as missing where a study has none.
    """

    name: str
    level: Level
    heading: str
    command: str
    paper: str | None
    made: FromPlan | FromOptimum
    also_by: tuple[str, ...] = ()
    tasks: tuple[str, ...] = (DAMAGE.name,)
    options: tuple[OptionName, ...] = ()
    is_step: bool = True
    figures: tuple[Callable[[Result, Path], Drawn | None], ...] = ()
    store_figures: tuple[Callable[[SliceStore, Path], Drawn | None], ...] = ()
    tables: Mapping[str, Printed] = field(default_factory=dict)
    question: str | None = None
    options_of: Callable[[Result], str] = _no_options
    is_wanted: Callable[[StudySummary], bool] = _sees_damage

    @property
    def commands(self) -> tuple[str, ...]:
        """The names of all commands that make it."""
        return (self.command.split()[0], *self.also_by)

    def address(self, study: FinishedStudy, options: ResultOptions) -> str:
        """Content address of everything that it is made from.

        Raises:
            BonehpoError: Something that it is made from cannot be used.
        """
        if isinstance(self.made, FromPlan):
            return self.made.address(study.plan)
        return self.made.address(study, options)

    def make(self, study: FinishedStudy, options: ResultOptions, engine: Engine, progress: ProgressCallback) -> Result:
        """Make a result, whatever was made before.

        Args:
            study: What it is made of.
            options: What the user says of it.
            engine: Where fits run.
            progress: Told of each.

        Raises:
            BonehpoError: It cannot be made.
        """
        if isinstance(self.made, FromPlan):
            return self.made.run(study.plan, progress)
        inputs = self.made.address(study, options)
        return study.result(self.name, self.level, inputs, self.made.run(study, options, engine, progress))

    def current(self, plan: SearchPlan, optimum: Optimum | None) -> Result | None:
        """The saved result, if it was made from the study as it is now.

        Args:
            plan: Of the study.
            optimum: Of the study as it is now; None while it has none.
        """
        if not isinstance(self.made, FromPlan):
            return current_result(plan, optimum, self.name)
        found = load_result(plan.folder, self.name)
        return found if found is not None and found.inputs == self.made.address(plan) else None

    def draw(self, result: Result, folder: StudyFolder) -> tuple[Drawn, ...]:
        """Draw all figures of a saved result of a study, those that can be drawn, and write them beside it.

        Raises:
            StoreError: A figure is drawn from the slice store, and that is damaged.
        """
        place = result_folder(folder, self.name)
        found = [figure(result, place) for figure in self.figures]
        if self.store_figures:
            store = SliceStore.open(folder.store)
            found += [figure(store, place) for figure in self.store_figures]
        return tuple(drawn for drawn in found if drawn is not None)
