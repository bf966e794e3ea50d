"""A study that has its optimum: where every comparison and explanation begins."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bonehpo.domain import HoldoutPair, Hyperparameters
from bonehpo.errors import StudyError
from bonehpo.learning.fits import FitTask
from bonehpo.results.fitting import Arm, FittedArm
from bonehpo.results.record import Result, address_of, load_result
from bonehpo.search.facts import read_study
from bonehpo.search.objective import SearchPlan
from bonehpo.search.optimum import Optimum
from bonehpo.search.recorder import StudyFacts
from bonehpo.store.store import SliceStore

OPTIMUM_ADDRESS = "optimum_address"
"""The parameter of a result that tells of which optimum it is: trials of two studies may have the same number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedStudy:
    """A study with its optimum.

    Attributes:
        plan: Of its search.
        facts: What holds for the whole of it, for a `Recorder`.
        store: Its slices.
        optimum: Which trial, and the addresses of its fresh fits.
        choice: Hyperparameters of that trial.
    """

    plan: SearchPlan
    facts: StudyFacts
    store: SliceStore
    optimum: Optimum
    choice: Hyperparameters

    def optimum_arm(self) -> Arm:
        """The optimum's fits with fresh seeds, whose networks and answers to all load states are kept."""
        repeats = {
            self._task(pair, repeat).spec.key: (pair, repeat) for pair in self.plan.pairs for repeat in (1, 2, 3)
        }
        found = [repeats[self.optimum.keys[pair.label]] for pair in self.plan.pairs]
        return Arm(
            name="optimum",
            parameters=parameters_of(self.choice),
            tasks=tuple(self._task(pair, repeat) for pair, repeat in found),
        )

    def _task(self, pair: HoldoutPair, repeat: int) -> FitTask:
        return self.plan.task(self.choice, pair, repeat=repeat, keep=True)

    def result(
        self,
        name: str,
        level: Literal["comparison", "explanation"],
        inputs: str,
        *,
        parameters: Mapping[str, object],
        metrics: Mapping[str, float],
        sentences: Sequence[str],
        tables: Mapping[str, pd.DataFrame],
        arrays: Mapping[str, npt.NDArray[np.generic]] | None = None,
        arms: Sequence[FittedArm] = (),
    ) -> Result:
        """A result of this study, finished now."""
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
                **{key: str(value) for key, value in parameters.items()},
            },
            metrics=metrics,
            sentences=tuple(sentence for sentence in sentences if sentence),
            tables=tables,
            arrays=arrays or {},
            arms=tuple(arm.record for arm in arms),
            finished=datetime.now().astimezone(),
        )

    def address(self, *parts: object) -> str:
        """Content address of a result: what it is made from beside the study and its optimum."""
        return address_of(self.plan.identity, asdict(self.optimum)["keys"], *parts)


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
    return FinishedStudy(plan=plan, facts=found.facts, store=store, optimum=found.optimum, choice=found.choice)


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
    """Hyperparameters as text by name."""
    return {name: str(value) for name, value in asdict(choice).items()}
