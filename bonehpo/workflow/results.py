"""Results of a study: made where they are missing, drawn, and recorded."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from bonehpo.domain import ProgressCallback, ignore_progress
from bonehpo.engine import Engine, open_engine
from bonehpo.errors import StudyError
from bonehpo.results.finished import FinishedStudy
from bonehpo.results.kind import ResultOptions
from bonehpo.results.result import Result, made_once, result_record
from bonehpo.search.plan import SearchPlan
from bonehpo.search.recorder import Recorder
from bonehpo.tracking.runs import recorder_for
from bonehpo.workflow.kinds import RESULT_KINDS
from bonehpo.workflow.plan import TRACKING

ProgressOpener = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens the progress of a task that has this name, and closes it at the end of the block."""


def _no_progress(_what: str) -> AbstractContextManager[ProgressCallback]:
    return nullcontext(ignore_progress)


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
    """Makes results of a study, and writes them down."""

    finished: FinishedStudy
    engine: Engine
    recorder: Recorder
    open_progress: ProgressOpener = _no_progress

    def make(self, name: str, options: ResultOptions) -> Result:
        """A result with its figures, recorded; taken as it is where it was made from the same before.

        Raises:
            BonehpoError: It cannot be made.
        """
        study, kind = self.finished, RESULT_KINDS[name]
        folder = study.plan.folder
        check_task(name, study.plan)

        def make() -> Result:
            with self.open_progress(name) as progress:
                return kind.make(study, options, self.engine, progress)

        result = made_once(folder, name, kind.address(study, options), make)
        kind.draw(result, folder)
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
