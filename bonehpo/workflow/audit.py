"""Leaks between the sets of a study and shortcuts past the damage: looked for around a search, read before a promotion."""

from collections.abc import Callable

from bonehpo.analysis.shortcuts import flags
from bonehpo.domain import ProgressCallback
from bonehpo.engine import open_engine
from bonehpo.errors import BonehpoError
from bonehpo.results.audit import NAME, audit_seconds, visible_state
from bonehpo.results.finished import finished_study
from bonehpo.results.kind import ResultOptions
from bonehpo.results.leakage import NAME as LEAKAGE
from bonehpo.results.leakage import leaks_of, prove_no_leak
from bonehpo.results.result import Result, result_record
from bonehpo.search.plan import SearchPlan
from bonehpo.search.recorder import Recorder
from bonehpo.search.records import read_study
from bonehpo.workflow.kinds import RESULT_KINDS
from bonehpo.workflow.plan import flag
from bonehpo.workflow.promotion import Audited
from bonehpo.workflow.results import ResultBuilder

AUTOMATIC_S = 5.0
"""Seconds that an audit may take at the end of a search; one that takes longer is left to `audit` and `reproduce`."""


def audit_after_search(
    plan: SearchPlan, recorder: Recorder, progress: ProgressCallback, note: Callable[[str], None]
) -> None:
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
        if takes_long or plan.config.task not in RESULT_KINDS[NAME].tasks:
            return
        with open_engine(0) as engine:
            builder = ResultBuilder(finished=finished, engine=engine, recorder=recorder, progress=progress)
            builder.make(NAME, ResultOptions())
    except BonehpoError as error:
        note(f"Note: no shortcut audit: {error}")


def current_audits(plan: SearchPlan) -> dict[str, Result]:
    """The reports on leaks and shortcuts that are on disk and of this store and optimum, by name.

    Raises:
        StudyMissing: The study has not begun.
    """
    optimum = read_study(plan).optimum
    found = {name: RESULT_KINDS[name].current(plan, optimum) for name in (LEAKAGE, NAME)}
    return {name: result for name, result in found.items() if result is not None}


def audited(plan: SearchPlan) -> Audited:
    """Findings on leaks and shortcuts that concern the accuracy of a study, for the gate of promotion and the model card."""
    found = current_audits(plan)
    leaks = leaks_of(found[LEAKAGE]) if LEAKAGE in found else ()
    if NAME not in found:
        return Audited((*leaks, f"nobody has looked for shortcuts: run `bonehpo audit {flag(plan.folder)}` first"))
    told = [sentence for sentence in found[NAME].sentences if not sentence.startswith("Caution")]
    return Audited((*leaks, *flags(found[NAME].tables)), tuple(told))
