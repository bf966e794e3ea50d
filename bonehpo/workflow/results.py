"""Results of a study: made where they are missing, drawn, and recorded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from bonehpo.domain import ProgressCallback, ignore_progress, of_task
from bonehpo.engine import Engine, Workers, open_engine
from bonehpo.errors import StudyError
from bonehpo.learning.backbones import BACKBONES, Backbone
from bonehpo.results.compare import Weights, compare_name, find_weights
from bonehpo.results.finished import FinishedStudy, finished_study
from bonehpo.results.kind import NO_WEIGHTS, ResultOptions
from bonehpo.results.result import Result, made_once, result_record
from bonehpo.search.plan import SearchPlan
from bonehpo.search.recorder import Recorder
from bonehpo.workflow.kinds import RESULT_KINDS
from bonehpo.workflow.saved_results import SavedResult, saved


def check_task(name: str, plan: SearchPlan) -> None:
    """See that a result can be made of a study.

    Raises:
        StudyError: There is no such result, or the networks of the study answer something else.
    """
    if name not in RESULT_KINDS:
        raise StudyError(f"there is no result {name!r}: there are {', '.join(RESULT_KINDS)}")
    if plan.config.task not in RESULT_KINDS[name].tasks:
        raise StudyError(
            f"study {plan.folder.name} predicts {plan.config.task}, and {name} is about networks that tell failed from "
            'pristine slices: run it on a study with task = "damage"'
        )


@dataclass(frozen=True, kw_only=True)
class ResultBuilder:
    """Makes results of a study, and writes them down; `progress` is told of each under its name as the task."""

    finished: FinishedStudy
    engine: Engine
    recorder: Recorder
    progress: ProgressCallback = ignore_progress

    def make(self, name: str, options: ResultOptions) -> Result:
        """A result with its figures, recorded; taken as it is where it was made from the same before.

        Raises:
            BonehpoError: It cannot be made.
        """
        study, kind = self.finished, RESULT_KINDS[name]
        folder = study.plan.folder
        check_task(name, study.plan)

        def make() -> Result:
            return kind.make(study, options, self.engine, of_task(self.progress, name))

        result = made_once(folder, name, kind.address(study, options), make)
        kind.draw(result, folder)
        self.recorder.result(result_record(result, folder))
        return result


@contextmanager
def open_result_builder(
    finished: FinishedStudy,
    project: Path,
    workers: Workers,
    progress: ProgressCallback = ignore_progress,
) -> Iterator[ResultBuilder]:
    """Open engine and MLflow for the results of a study, and close both at the end of the block.

    Args:
        finished: The study.
        project: Folder that holds `mlruns/`.
        workers: Where fits run.
        progress: Told of each result under its name as the task.
    """
    from bonehpo.tracking.runs import recorder_for  # imports MLflow, which takes seconds

    recorder = recorder_for(project)
    try:
        with open_engine(*workers) as engine:
            recorder.study(finished.record)
            yield ResultBuilder(finished=finished, engine=engine, recorder=recorder, progress=progress)
    except BaseException:
        recorder.interrupted()
        raise
    finally:
        recorder.close()


def make_results(
    plan: SearchPlan,
    project: Path,
    names: Sequence[str],
    options: ResultOptions,
    workers: Workers,
    progress: ProgressCallback = ignore_progress,
) -> tuple[SavedResult, ...]:
    """Make some results of a study, one after the other.

    Args:
        plan: Of the study.
        project: Folder that holds `mlruns/`.
        names: Which results.
        options: What the user says of them.
        workers: Where fits run.
        progress: Told of each result under its name as the task.

    Raises:
        StudyError: There is no such result, the study has no optimum yet, or it answers another question.
        BonehpoError: One cannot be made.
    """
    for name in names:
        check_task(name, plan)
    with open_result_builder(finished_study(plan), project, workers, progress) as builder:
        return tuple(saved(builder.make(name, options), plan) for name in names)


def options_of(
    names: Sequence[str],
    visible_from: int | None,
    weights: str,
    scans: str | PathLike[str] | None,
    states: Sequence[str],
    studies: Path,
) -> ResultOptions:
    """Options as a user names them.

    Args:
        names: Of the results that they are for; weights are only looked for where one needs them.
        visible_from: First load state at which a person sees damage.
        weights: For the backbone: `imagenet`, a file, `study:NAME` or `none`.
        scans: Table of scans for the ablation.
        states: Words for the load states, from pristine to failed, where that table has words for them.
        studies: Folder of the studies.

    Raises:
        NetworkError: There are no such weights, or the download failed.
        StudyError: The study that is named has not compared that backbone.
    """
    backbone = compared_backbone(names)
    return ResultOptions(
        visible_from=visible_from,
        weights=NO_WEIGHTS if backbone is None else weights_of(weights, studies, backbone),
        scans=None if scans is None else Path(scans).absolute(),
        states=tuple(states),
    )


def compared_backbone(names: Sequence[str]) -> Backbone | None:
    """The backbone that one of some results compares, so that weights are needed; None where none does."""
    return next((backbone for backbone in BACKBONES.values() if compare_name(backbone) in names), None)


def weights_of(text: str, studies: Path, backbone: Backbone) -> Weights:
    """Pretrained weights of a backbone as a user names them.

    Args:
        text: `imagenet`, a file, `study:NAME` or `none`.
        studies: Folder of the studies.
        backbone: The network that they are for.

    Raises:
        NetworkError: There are none, or the download failed.
        StudyError: The study that is named has not compared that backbone.
    """
    import bonehpo.learning.backend  # noqa: F401  Keras, quietly

    return find_weights(text, studies, backbone)
