"""Cross-validated configurations beside the search: the same fits, at the same addresses, in any number of arms."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bonehpo.domain import FoldScores, HoldoutPair, Progress, ProgressCallback
from bonehpo.engine import Engine
from bonehpo.errors import EngineError, FitError, StudyError
from bonehpo.learning.fits import FitResult, FitTask, StateAnswers, load_answers
from bonehpo.learning.fitting import find_fit, run_fit
from bonehpo.results.record import ArmRecord
from bonehpo.search.facts import Spread, mean_and_sd

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Arm:
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
class FittedArm:
    """What became of an arm: its fits in the order of its tasks, or the reason why it has none."""

    arm: Arm
    fits: tuple[FitResult, ...]
    reason: str

    @property
    def folds(self) -> tuple[FoldScores, ...]:
        """Two of each fit; none where the arm failed."""
        return tuple(fold for fit in self.fits for fold in fit.fold_scores())

    @property
    def spread(self) -> Spread:
        """Mean and standard deviation of the test score over folds."""
        return mean_and_sd([fold.test_score for fold in self.folds])

    def whole(self) -> "FittedArm":
        """Itself.

        Raises:
            StudyError: It failed.
        """
        if not self.fits:
            raise StudyError(f"{self.arm.name} could not be fitted: {self.reason}")
        return self

    @property
    def record(self) -> ArmRecord:
        """What a result keeps of it."""
        keys = tuple(fit.key for fit in self.fits)
        return ArmRecord(name=self.arm.name, parameters=self.arm.parameters, keys=keys, reason=self.reason)

    def states(self) -> dict[HoldoutPair, StateAnswers]:
        """For each pair, what its network said of every load state; for arms whose tasks ask for it."""
        return {task.spec.pair: load_answers(task.states) for task in self.arm.tasks if task.states and self.fits}


def fit_arms(arms: Sequence[Arm], engine: Engine, progress: ProgressCallback) -> dict[str, FittedArm]:
    """Do all fits of some arms, or find that they were done before.

    A fit that two arms share is done once. An arm of which a fit fails has a reason and no fits; the others go on.

    Args:
        arms: What to fit.
        engine: Where fits run.
        progress: Told after every fit.

    Returns:
        By name of the arm.

    Raises:
        StoreError: The store is damaged.
        StudyError: A result cannot be written.
    """
    tasks = {_address(task): task for arm in arms for task in arm.tasks}
    owners = {_address(task): arm.name for arm in reversed(arms) for task in arm.tasks}
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
    return {arm.name: _fitted(arm, done, reasons) for arm in arms}


def _fitted(arm: Arm, done: Mapping[str, FitResult], reasons: Mapping[str, str]) -> FittedArm:
    addresses = [_address(task) for task in arm.tasks]
    reason = next((reasons[address] for address in addresses if address in reasons), "")
    return FittedArm(arm=arm, fits=() if reason else tuple(done[address] for address in addresses), reason=reason)


def _address(task: FitTask) -> str:
    """The fit, and whether its network and its answers to all states are asked for."""
    return f"{task.spec.key} {task.network is not None} {task.states is not None}"
