"""A search from beginning to end: looked over for leaks, run on workers, recorded in MLflow, audited; and its forecast."""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bonehpo.domain import ProgressCallback, ignore_progress, of_task
from bonehpo.engine import Workers, open_engine
from bonehpo.errors import BonehpoError
from bonehpo.learning.fitting import OVERHEAD, training_speed
from bonehpo.results.audit import NAME as AUDIT
from bonehpo.results.audit import audit_seconds, visible_state
from bonehpo.results.finished import finished_study
from bonehpo.results.kind import ResultOptions
from bonehpo.results.leakage import NAME as LEAKAGE
from bonehpo.results.leakage import leakage_line, prove_no_leak
from bonehpo.results.result import result_record
from bonehpo.search.plan import SearchPlan
from bonehpo.search.pruning import why_not_pruned
from bonehpo.search.recorder import Recorder
from bonehpo.search.space import check_space, n_possible
from bonehpo.search.study import SearchOptions, SearchOutcome, SearchProgress, run_search
from bonehpo.search.summary import Forecast, forecast, what_counts
from bonehpo.workflow.kinds import RESULT_KINDS
from bonehpo.workflow.results import ResultBuilder
from bonehpo.workflow.tables import TablesKept

logger = logging.getLogger(__name__)

AUTOMATIC_S = 5.0
"""Seconds that an audit may take at the end of a search; one that takes longer is left to `audit` and `reproduce`."""


def search_study(
    plan: SearchPlan,
    project: Path,
    options: SearchOptions,
    workers: Workers,
    *,
    despite_leaks: bool = False,
    progress: ProgressCallback = ignore_progress,
    note: Callable[[str], None] = logger.info,
) -> SearchOutcome:
    """Search until a study has its trials and its optimum; see that nothing leaks before, audit it afterwards.

    Args:
        plan: Of the study.
        project: Folder that holds `mlruns/`.
        options: How far it goes, and how.
        workers: Where fits run.
        despite_leaks: Whether to search even if a set holds slices of another.
        progress: Told of the tasks `leakage`, `search` (`SearchProgress`) and `audit`.
        note: Told in words of leaks, and why something that was asked for is not done.

    Raises:
        StudyError: A set holds slices of another, or the storage or the store do not fit the study.
        NetworkError: The space holds an architecture that cannot be built.
        StoreError: The store is damaged.
        EngineError: No scheduler answers at the address.
    """
    from bonehpo.tracking.runs import recorder_for  # imports MLflow, which takes seconds

    check_space(plan.config, plan.side)
    why = why_not_pruned(plan.config)
    if why is not None and (options.prune or plan.config.search.pruner != "none"):
        note(f"No trial is stopped early: {why}.")
    note(what_counts(plan, options.n_trials))
    note(leakage_line(prove_no_leak(plan, of_task(progress, LEAKAGE), despite_leaks=despite_leaks)))
    tables = TablesKept(plan, note)

    def reached(at: SearchProgress) -> None:
        if at.fit == 0:  # the trial before it is told
            tables.write()
        progress(at)

    with closing(recorder_for(project)) as recorder:
        with open_engine(*workers) as engine:
            outcome = run_search(plan, engine, recorder, options, reached)
        tables.write()
        if outcome.has_optimum:
            _audit(plan, recorder, progress, note)
    return outcome


@dataclass(frozen=True, kw_only=True)
class SearchForecast(Forecast):
    """Forecast of a search, reckoned from a short training on this machine.

    Attributes:
        n_trials: Trials that are reckoned with: a strict study has no more than its space holds.
        n_workers: Fits that run at a time.
        images_per_s: Images that one worker trains a second with the baseline's network.
        precision: In which it does.
    """

    n_trials: int
    n_workers: int
    images_per_s: float
    precision: str


def forecast_search(plan: SearchPlan, n_trials: int, *, n_seeds: int = 1, workers: int | None = None) -> SearchForecast:
    """Reckon what a search would take, and do nothing.

    Args:
        plan: Of the study.
        n_trials: Trials of the study.
        n_seeds: Sets of fresh seeds with which the optimum is fitted.
        workers: Worker processes; None for one per core.

    Raises:
        NetworkError: The space holds an architecture that cannot be built.
    """
    check_space(plan.config, plan.side)
    n_trials = n_possible(plan.config, n_trials)
    measure = partial(training_speed, side=plan.side, training=plan.config.training)
    with open_engine(1) as engine:  # a worker has one thread, and this process may have more
        (measured,) = engine.run(measure, [plan.config.baseline])
    speed = measured.result()
    n_workers = len(os.sched_getaffinity(0)) if workers is None else max(workers, 1)
    found = forecast(plan, n_trials, speed.operations_per_s, n_workers, OVERHEAD, n_seeds)
    return SearchForecast(
        **vars(found),
        n_trials=n_trials,
        n_workers=n_workers,
        images_per_s=speed.images_per_s,
        precision=speed.precision,
    )


def _audit(plan: SearchPlan, recorder: Recorder, progress: ProgressCallback, note: Callable[[str], None]) -> None:
    """Record the leakage report of a search that has its optimum, and make its shortcut audit where that is quick.

    What goes wrong is told and ends nothing: the search is done.

    Args:
        plan: Of the study.
        recorder: Who writes it down.
        progress: Told of the task `audit`.
        note: Told why there is no audit.
    """
    try:
        finished = finished_study(plan)
        recorder.result(result_record(prove_no_leak(plan, despite_leaks=True), plan.folder))
        takes_long = audit_seconds(finished.store, visible_state(finished, None)) > AUTOMATIC_S
        if takes_long or plan.config.task not in RESULT_KINDS[AUDIT].tasks:
            return
        with open_engine(0) as engine:
            builder = ResultBuilder(finished=finished, engine=engine, recorder=recorder, progress=progress)
            builder.make(AUDIT, ResultOptions())
    except BonehpoError as error:
        note(f"Note: no shortcut audit: {error}")
