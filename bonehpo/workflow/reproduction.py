"""Everything that the paper reports, one step after the other: search, results, report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bonehpo.domain import ProgressCallback, ignore_progress
from bonehpo.engine import Workers
from bonehpo.errors import BonehpoError, NetworkError
from bonehpo.learning.backbones import RESNET50
from bonehpo.results.compare import Weights
from bonehpo.results.finished import finished_study
from bonehpo.results.kind import NO_WEIGHTS, ResultOptions
from bonehpo.scans.table import read_scans
from bonehpo.search.plan import SearchPlan
from bonehpo.search.study import SearchOptions, SearchOutcome
from bonehpo.workflow.kinds import RESULT_KINDS, STEPS
from bonehpo.workflow.report import record_report
from bonehpo.workflow.results import compared_backbone, open_result_builder, weights_of
from bonehpo.workflow.saved_results import SavedResult, saved
from bonehpo.workflow.searching import search_study

Note = Callable[[str], None]


class StepChoice(NamedTuple):
    """Steps as a user names them, in any order: those alone, or all but others."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Steps that are done of a study, and how.

    Attributes:
        steps: Steps to do, in the order of the paper.
        search: How far the search goes.
        results: Options of the results.
        workers: Where fits run.
        despite_leaks: Whether to search even if a set holds slices of another.
    """

    steps: tuple[str, ...]
    search: SearchOptions
    results: ResultOptions
    workers: Workers
    despite_leaks: bool = False


class StepOutcome(NamedTuple):
    """A step and what it gave: how the search ended, a result, the page; or why it could not be done."""

    step: str
    found: SearchOutcome | SavedResult | Path | None
    error: BonehpoError | None = None


def steps_of(plan: SearchPlan, choice: StepChoice, scans: Path | None, note: Note) -> tuple[str, ...]:
    """Steps that can be done, of those that were asked for.

    Args:
        plan: Of the study.
        choice: What was asked for.
        scans: Table of scans, for the ablation.
        note: Told why a step is left out.
    """
    task = plan.config.task
    steps = [step for step in STEPS if (not choice.only or step in choice.only) and step not in choice.skip]
    kinds = {step: RESULT_KINDS[step] for step in steps if step in RESULT_KINDS}
    others = [step for step, kind in kinds.items() if task not in kind.tasks]
    if others:
        note(f"Left out, as study {plan.folder.name} predicts {task}: {', '.join(others)}.")
    for step, kind in kinds.items():
        if scans is None and step not in others and "scans" in kind.options:
            others.append(step)
            note(f"The {step} is left out: it prepares the scans again, so name them with --scans SCANS.csv.")
    return tuple(step for step in steps if step not in others)


def weights_for(steps: Sequence[str], text: str, studies: Path, note: Note) -> Weights:
    """The weights that were asked for; none where no step needs them, or where those of ImageNet cannot be had.

    Args:
        steps: What is to be done.
        text: `imagenet`, a file, `study:NAME` or `none`.
        studies: Folder of the studies.
        note: Told why there are none.

    Raises:
        NetworkError: There are none, and others than those of ImageNet were asked for.
        StudyError: The study that is named has not compared that backbone.
    """
    backbone = compared_backbone(steps)
    if backbone is None:
        return NO_WEIGHTS
    try:
        return weights_of(text, studies, backbone)
    except NetworkError as error:
        if text != "imagenet":
            raise
        note(f"Note: {error}. {RESNET50.label} is trained from scratch alone.")
        return NO_WEIGHTS


def reproduce(
    plan: SearchPlan,
    project: Path,
    asked: Reproduction,
    *,
    progress: ProgressCallback = ignore_progress,
    note: Note = lambda _: None,
) -> Iterator[StepOutcome]:
    """Do the steps, and hand on what each gave as soon as it is there.

    A result that cannot be made says why, and the others are made.

    Args:
        plan: Of the study.
        project: Folder that holds `mlruns/`.
        asked: What is to be done, and how.
        progress: Told of leaks, the search, and each result under its name.
        note: Told in words of leaks, and why something that was asked for is not done.

    Raises:
        BonehpoError: The table of scans cannot be read, the search cannot be done, or has not come to its end.
    """
    if asked.results.scans is not None:
        read_scans(asked.results.scans, asked.results.states)  # before hours of search, not after them
    if "search" in asked.steps:
        outcome = search_study(
            plan,
            project,
            asked.search,
            asked.workers,
            despite_leaks=asked.despite_leaks,
            progress=progress,
            note=note,
        )
        yield StepOutcome("search", outcome)
    names = [step for step in asked.steps if step in RESULT_KINDS]
    if names:
        with open_result_builder(finished_study(plan), project, asked.workers, progress) as builder:
            for name in names:
                try:
                    yield StepOutcome(name, saved(builder.make(name, asked.results), plan))
                except BonehpoError as error:
                    yield StepOutcome(name, None, error)
    if "report" in asked.steps:
        try:
            yield StepOutcome("report", record_report(plan, project))
        except BonehpoError as error:
            yield StepOutcome("report", None, error)
