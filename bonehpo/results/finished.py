"""A study that has its optimum, and configurations cross-validated beside it: where every result begins."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.domain import FoldScores, HoldoutPair, Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import EngineError, FitError, StudyError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.fits import FitResult, FitTask, StateAnswers, load_answers
from bonehpo.learning.fitting import find_fit, run_fit
from bonehpo.results.result import ConfigurationEntry, Level, Result, address_of, load_result
from bonehpo.schema import stable
from bonehpo.search.plan import REFIT_ATTEMPTS, SearchPlan
from bonehpo.search.recorder import StudyRecord
from bonehpo.search.records import Optimum, Spread, mean_and_sd, read_study
from bonehpo.store.store import SliceStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A configuration to be cross-validated.

    Attributes:
        name: Unique within a result.
        parameters: What it is, for the columns of MLflow.
        tasks: A fit of each holdout pair.
    """

    name: str
    parameters: Mapping[str, str]
    tasks: tuple[FitTask, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedConfiguration:
    """A configuration after its cross-validation: its fits in the order of its tasks, or the reason why it has none."""

    configuration: Configuration
    fits: tuple[FitResult, ...]
    reason: str

    @property
    def folds(self) -> tuple[FoldScores, ...]:
        """Two of each fit; none where the configuration failed."""
        return tuple(fold for fit in self.fits for fold in fit.fold_scores())

    @property
    def spread(self) -> Spread:
        """Mean and standard deviation of the test score over folds."""
        return mean_and_sd([fold.test_score for fold in self.folds])

    def whole(self) -> "FittedConfiguration":
        """Itself.

        Raises:
            StudyError: It failed.
        """
        if not self.fits:
            raise StudyError(f"{self.configuration.name} could not be fitted: {self.reason}")
        return self

    @property
    def record(self) -> ConfigurationEntry:
        """Entry of it in a result."""
        keys = tuple(fit.key for fit in self.fits)
        return ConfigurationEntry(
            name=self.configuration.name, parameters=self.configuration.parameters, keys=keys, reason=self.reason
        )

    def states(self) -> dict[HoldoutPair, StateAnswers]:
        """For each pair, what its network said of every load state; for configurations whose tasks ask for it."""
        return {
            task.spec.pair: load_answers(task.states) for task in self.configuration.tasks if task.states and self.fits
        }


def fit_configurations(
    configurations: Sequence[Configuration], engine: Engine, progress: ProgressCallback
) -> dict[str, FittedConfiguration]:
    """Do all fits of some configurations, or find that they were done before.

    A fit that two configurations share is done once. A configuration of which a fit fails has a reason and no fits; the
    others go on.

    Args:
        configurations: What to fit.
        engine: Where fits run.
        progress: Told after every fit.

    Returns:
        By name of the configuration.

    Raises:
        StoreError: The store is damaged.
        StudyError: A result cannot be written.
    """
    tasks = {_address(task): task for configuration in configurations for task in configuration.tasks}
    owners = {
        _address(task): configuration.name for configuration in reversed(configurations) for task in configuration.tasks
    }
    done: dict[str, FitResult] = {}
    reasons: dict[str, str] = {}
    for address, task in tasks.items():
        found = find_fit(task)
        if found is not None:
            done[address] = found
    missing = [task for address, task in tasks.items() if address not in done]
    for outcome in engine.run(run_fit, missing):
        address = _address(outcome.task)
        if isinstance(outcome.error, (FitError, EngineError)):
            reasons[address] = str(outcome.error)
            logger.warning("%s: %s", owners[address], outcome.error)
        else:
            done[address] = outcome.result()
        progress(Progress(len(done) + len(reasons), len(tasks), owners[address]))
    return {configuration.name: _fitted(configuration, done, reasons) for configuration in configurations}


def _fitted(
    configuration: Configuration, done: Mapping[str, FitResult], reasons: Mapping[str, str]
) -> FittedConfiguration:
    addresses = [_address(task) for task in configuration.tasks]
    reason = next((reasons[address] for address in addresses if address in reasons), "")
    return FittedConfiguration(
        configuration=configuration, fits=() if reason else tuple(done[address] for address in addresses), reason=reason
    )


def _address(task: FitTask) -> str:
    """The fit, and whether its network and its answers to all states are asked for."""
    return f"{task.spec.key} {task.network is not None} {task.states is not None}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """Findings of a comparison or an explanation, before they are written down as a `Result`.

    Attributes:
        parameters: What it was made with; written as text.
        metrics: Its numbers, by name.
        sentences: What it says in words; empty ones are left out.
        tables: By name.
        arrays: Pictures, in the order of the rows of a table.
        configurations: What was cross-validated for it.
    """

    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
    sentences: Sequence[str]
    tables: Mapping[str, pd.DataFrame]
    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    configurations: Sequence[FittedConfiguration] = ()


OPTIMUM_ADDRESS = "optimum_address"
"""The parameter of a result that tells of which optimum it is: trials of two studies may have the same number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedStudy:
    """A study with its optimum.

    Attributes:
        plan: Of its search.
        record: What holds for the whole of it, for a `Recorder`.
        store: Its slices.
        optimum: Which trial, and the addresses of its fresh fits.
        choice: Hyperparameters of that trial.
    """

    plan: SearchPlan
    record: StudyRecord
    store: SliceStore
    optimum: Optimum
    choice: Hyperparameters

    def optimum_configuration(self) -> Configuration:
        """The optimum's fits with fresh seeds, whose networks and answers to all load states are kept."""
        repeats = {
            self._task(pair, repeat).spec.key: (pair, repeat)
            for pair in self.plan.pairs
            for repeat in range(1, REFIT_ATTEMPTS + 1)
        }
        found = [repeats[self.optimum.keys[pair.label]] for pair in self.plan.pairs]
        return Configuration(
            name="optimum",
            parameters=parameters_of(self.choice),
            tasks=tuple(self._task(pair, repeat) for pair, repeat in found),
        )

    def _task(self, pair: HoldoutPair, repeat: int) -> FitTask:
        return self.plan.task(self.choice, pair, repeat=repeat, keep=True)

    def result(self, name: str, level: Level, inputs: str, findings: Findings) -> Result:
        """A result of this study, finished now.

        Args:
            name: Of the result.
            level: Which of the two it is.
            inputs: Content address of what it was made from.
            findings: What was found.
        """
        return Result(
            name=name,
            level=level,
            inputs=inputs,
            study=self.plan.folder.name,
            bone=self.plan.config.bone,
            store_id=self.plan.store_id,
            ran_on=self.plan.ran_on,
            parameters={
                "optimum": str(self.optimum.trial),
                OPTIMUM_ADDRESS: optimum_address(self.plan, self.optimum),
                **{key: str(value) for key, value in findings.parameters.items()},
            },
            metrics=findings.metrics,
            sentences=tuple(sentence for sentence in findings.sentences if sentence),
            tables=findings.tables,
            arrays=findings.arrays,
            configurations=tuple(configuration.record for configuration in findings.configurations),
            finished=datetime.now().astimezone(),
        )

    def address(self, *parts: object) -> str:
        """Content address of a result: what it is made from beside the study and its optimum."""
        return address_of(self.plan.identity, self.optimum.keys, *parts)


def finished_study(plan: SearchPlan) -> FinishedStudy:
    """Open a study whose search has run to its end.

    Raises:
        StudyError: It has no optimum yet.
    """
    found = read_study(plan)
    if found.optimum is None or found.choice is None or set(found.optimum.keys) != {p.label for p in plan.pairs}:
        raise StudyError(
            f"study {plan.folder.name} has no optimum yet: let `bonehpo search` run to its end, which fits it"
        )
    store = SliceStore.open(plan.folder.store)
    return FinishedStudy(plan=plan, record=found.record, store=store, optimum=found.optimum, choice=found.choice)


def optimum_address(plan: SearchPlan, optimum: Optimum) -> str:
    """Content address of an optimum: what its study is, and its fresh fits."""
    return address_of(plan.identity, optimum.keys)


def current_result(plan: SearchPlan, optimum: Optimum | None, name: str) -> Result | None:
    """A saved result, if it was made from the store and the optimum of the study as they are now.

    Args:
        plan: Of the study.
        optimum: Of the study as it is now; None while it has none, when only results that need none are current.
        name: Of the result.
    """
    found = load_result(plan.folder, name)
    if found is None or found.store_id != plan.store_id:
        return None
    made_of = found.parameters.get(OPTIMUM_ADDRESS)
    current = made_of is None or (optimum is not None and made_of == optimum_address(plan, optimum))
    return found if current else None


def parameters_of(choice: Hyperparameters) -> dict[str, str]:
    """Hyperparameters as text by name, those that were added later where they are not at their default."""
    return {name: str(value) for name, value in stable(choice).items()}
