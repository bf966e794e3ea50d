"""Results of a study: made where they are missing, drawn, and recorded."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bonehpo.domain import ProgressCallback, ignore_progress
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
from bonehpo.results.result import Result, load_result, result_folder, result_record, save_result
from bonehpo.results.strain import run_strain, strain_address
from bonehpo.results.sweep import run_sweep, sweep_address
from bonehpo.results.validity import audit_pruning, permutation_address, pruning_address, run_permutation
from bonehpo.search.plan import SearchPlan
from bonehpo.search.recorder import Recorder
from bonehpo.task import DAMAGE, STRAIN
from bonehpo.tracking.runs import recorder_for
from bonehpo.workflow.plan import TRACKING

NO_WEIGHTS = Weights(name="none")

ProgressOpener = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens the progress of a task that has this name, and closes it at the end of the block."""


def _no_progress(_what: str) -> AbstractContextManager[ProgressCallback]:
    return nullcontext(ignore_progress)


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """What a user may say of results.

    Attributes:
        visible_from: First load state at which a person sees damage.
        weights: For ResNet-50.
        scans: Table of scans for the ablation.
    """

    visible_from: int | None = None
    weights: Weights = NO_WEIGHTS
    scans: Path | None = None


class ResultKind(NamedTuple):
    """How a result is made: what it is made from, the run itself, and of studies of which tasks it can be made."""

    address: Callable[[FinishedStudy, ResultOptions], str]
    run: Callable[[FinishedStudy, ResultOptions, Engine, ProgressCallback], Result]
    tasks: tuple[str, ...] = (DAMAGE.name,)


def _scans(options: ResultOptions) -> Path:
    if options.scans is None:
        raise ValueError("the ablation needs scans")
    return options.scans


RESULT_KINDS: Mapping[str, ResultKind] = {
    "sweep": ResultKind(lambda f, _: sweep_address(f), lambda f, _, e, p: run_sweep(f, e, p)),
    "best-fold": ResultKind(lambda f, _: best_fold_address(f), lambda f, _, e, p: run_best_fold(f, e, p)),
    "grad-cam": ResultKind(lambda f, _: heat_maps_address(f), lambda f, _, e, p: run_heat_maps(f, e, p)),
    "detection": ResultKind(
        lambda f, w: detection_address(f, w.visible_from), lambda f, w, e, p: run_detection(f, e, p, w.visible_from)
    ),
    "audit": ResultKind(
        lambda f, w: audit_address(f, w.visible_from), lambda f, w, _, p: run_audit(f, p, w.visible_from)
    ),
    "permutation": ResultKind(lambda f, _: permutation_address(f), lambda f, _, e, p: run_permutation(f, e, p)),
    "pruning": ResultKind(
        lambda f, _: pruning_address(f), lambda f, _, e, p: audit_pruning(f, e, p), (DAMAGE.name, STRAIN.name)
    ),
    "calibration": ResultKind(lambda f, _: calibration_address(f), lambda f, _, e, p: run_calibration(f, e, p)),
    "mixed": ResultKind(lambda f, _: mixed_address(f), lambda f, _, e, p: run_mixed(f, e, p)),
    "compare": ResultKind(
        lambda f, w: compare_address(f, w.weights), lambda f, w, e, p: run_compare(f, w.weights, e, p)
    ),
    "ablation": ResultKind(
        lambda f, w: ablation_address(f, _scans(w)), lambda f, w, e, p: run_ablation(f, _scans(w), e, p)
    ),
    "strain": ResultKind(
        lambda f, _: strain_address(f), lambda f, _, e, p: run_strain(f, e, p), (DAMAGE.name, STRAIN.name)
    ),
}
"""By name of the result, in the order of the paper."""


def check_task(name: str, plan: SearchPlan) -> None:
    """See that a result can be made of a study.

    Raises:
        StudyError: Its networks answer something else.
    """
    if plan.config.task not in RESULT_KINDS[name].tasks:
        raise StudyError(
            f"study {plan.folder.name} predicts {plan.config.task}, and {name} is about networks that tell failed from "
            'pristine slices: run it on a study with task = "damage"'
        )


@dataclass(frozen=True, kw_only=True)
class ResultBuilder:
    """Where results of a study are made and written down."""

    finished: FinishedStudy
    engine: Engine
    recorder: Recorder
    open_progress: ProgressOpener = _no_progress

    def make(self, name: str, options: ResultOptions) -> Result:
        """A result with its figures, recorded; taken as it is where it was made from the same before.

        Raises:
            BonehpoError: It cannot be made.
        """
        check_task(name, self.finished.plan)
        folder, kind = self.finished.plan.folder, RESULT_KINDS[name]
        inputs = kind.address(self.finished, options)
        result = load_result(folder, name)
        if result is None or result.inputs != inputs:
            with self.open_progress(name) as progress:
                result = kind.run(self.finished, options, self.engine, progress)
            save_result(result, folder)
        draw(result, result_folder(folder, name))
        self.recorder.result(result_record(result, folder))
        return result


@contextmanager
def open_result_builder(
    finished: FinishedStudy, workers: int | None, scheduler: str | None, open_progress: ProgressOpener = _no_progress
) -> Iterator[ResultBuilder]:
    """Open engine and MLflow for the results of a study, and close both at the end of the block."""
    recorder = recorder_for(TRACKING.absolute().parent)
    try:
        with open_engine(workers, scheduler) as engine:
            recorder.study(finished.record)
            yield ResultBuilder(finished=finished, engine=engine, recorder=recorder, open_progress=open_progress)
    except BaseException:
        recorder.interrupted()
        raise
    finally:
        recorder.close()
