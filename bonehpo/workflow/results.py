"""Results of a study: made where they are missing, drawn, and recorded."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bonehpo.domain import ProgressCallback, Task, ignore_progress
from bonehpo.engine import Engine, open_engine
from bonehpo.errors import StudyError
from bonehpo.report.figures import draw
from bonehpo.results.ablation import ablation_address, run_ablation
from bonehpo.results.audit import audit_address, run_audit
from bonehpo.results.best_fold import best_fold_address, calibration_address, run_best_fold, run_calibration
from bonehpo.results.compare import Weights, compare_address, mixed_address, run_compare, run_mixed
from bonehpo.results.detection import detection_address, run_detection
from bonehpo.results.finished import FinishedStudy
from bonehpo.results.heat_maps import heat_maps_address, run_heat_maps
from bonehpo.results.result import Result, load_result, result_facts, result_folder, save_result
from bonehpo.results.strain import run_strain, strain_address
from bonehpo.results.sweep import run_sweep, sweep_address
from bonehpo.results.validity import audit_race, null_address, race_address, run_null
from bonehpo.search.plan import SearchPlan
from bonehpo.search.recorder import Recorder
from bonehpo.tracking.runs import recorder_for
from bonehpo.workflow.plan import TRACKING

NO_WEIGHTS = Weights(name="none")

ProgressOpener = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens the progress of a task that has this name, and closes it at the end of the block."""


def _no_progress(_what: str) -> AbstractContextManager[ProgressCallback]:
    return nullcontext(ignore_progress)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user may say of results.

    Attributes:
        visible_from: First load state at which a person sees damage.
        weights: For ResNet-50.
        scans: Table of scans for the ablation.
    """

    visible_from: int | None = None
    weights: Weights = NO_WEIGHTS
    scans: Path | None = None


class Maker(NamedTuple):
    """How a result is made: what it is made from, the run itself, and of studies of which tasks it can be made."""

    address: Callable[[FinishedStudy, Wishes], str]
    run: Callable[[FinishedStudy, Wishes, Engine, ProgressCallback], Result]
    tasks: tuple[Task, ...] = ("damage",)


def _scans(wishes: Wishes) -> Path:
    if wishes.scans is None:
        raise ValueError("the ablation needs scans")
    return wishes.scans


MAKERS: Mapping[str, Maker] = {
    "sweep": Maker(lambda f, _: sweep_address(f), lambda f, _, e, p: run_sweep(f, e, p)),
    "best-fold": Maker(lambda f, _: best_fold_address(f), lambda f, _, e, p: run_best_fold(f, e, p)),
    "grad-cam": Maker(lambda f, _: heat_maps_address(f), lambda f, _, e, p: run_heat_maps(f, e, p)),
    "detection": Maker(
        lambda f, w: detection_address(f, w.visible_from), lambda f, w, e, p: run_detection(f, e, p, w.visible_from)
    ),
    "audit": Maker(lambda f, w: audit_address(f, w.visible_from), lambda f, w, _, p: run_audit(f, p, w.visible_from)),
    "null": Maker(lambda f, _: null_address(f), lambda f, _, e, p: run_null(f, e, p)),
    "race": Maker(lambda f, _: race_address(f), lambda f, _, e, p: audit_race(f, e, p), ("damage", "strain")),
    "calibration": Maker(lambda f, _: calibration_address(f), lambda f, _, e, p: run_calibration(f, e, p)),
    "mixed": Maker(lambda f, _: mixed_address(f), lambda f, _, e, p: run_mixed(f, e, p)),
    "compare": Maker(lambda f, w: compare_address(f, w.weights), lambda f, w, e, p: run_compare(f, w.weights, e, p)),
    "ablation": Maker(lambda f, w: ablation_address(f, _scans(w)), lambda f, w, e, p: run_ablation(f, _scans(w), e, p)),
    "strain": Maker(lambda f, _: strain_address(f), lambda f, _, e, p: run_strain(f, e, p), ("damage", "strain")),
}
"""By name of the result, in the order of the paper."""


def check_task(name: str, plan: SearchPlan) -> None:
    """See that a result can be made of a study.

    Raises:
        StudyError: Its networks answer something else.
    """
    if plan.config.task not in MAKERS[name].tasks:
        raise StudyError(
            f"study {plan.folder.name} predicts {plan.config.task}, and {name} is about networks that tell failed from "
            'pristine slices: run it on a study with task = "damage"'
        )


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where results of a study are made and written down."""

    finished: FinishedStudy
    engine: Engine
    recorder: Recorder
    open_progress: ProgressOpener = _no_progress

    def make(self, name: str, wishes: Wishes) -> Result:
        """A result with its figures, recorded; taken as it is where it was made from the same before.

        Raises:
            BonehpoError: It cannot be made.
        """
        check_task(name, self.finished.plan)
        folder, maker = self.finished.plan.folder, MAKERS[name]
        inputs = maker.address(self.finished, wishes)
        result = load_result(folder, name)
        if result is None or result.inputs != inputs:
            with self.open_progress(name) as progress:
                result = maker.run(self.finished, wishes, self.engine, progress)
            save_result(result, folder)
        draw(result, result_folder(folder, name))
        self.recorder.result(result_facts(result, folder))
        return result


@contextmanager
def open_workshop(
    finished: FinishedStudy, workers: int | None, scheduler: str | None, open_progress: ProgressOpener = _no_progress
) -> Iterator[Workshop]:
    """Open engine and MLflow for the results of a study, and close both at the end of the block."""
    recorder = recorder_for(TRACKING.absolute().parent)
    try:
        with open_engine(workers, scheduler) as engine:
            recorder.study(finished.facts)
            yield Workshop(finished=finished, engine=engine, recorder=recorder, open_progress=open_progress)
    except BaseException:
        recorder.interrupted()
        raise
    finally:
        recorder.close()
