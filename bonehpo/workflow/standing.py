"""The standing of a study: what there is of it, and what speaks against its accuracy; for `next_steps`."""

from dataclasses import dataclass

from bonehpo.analysis.shortcuts import flags
from bonehpo.errors import PromotionRefused, StoreMissing, StudyMissing
from bonehpo.results.audit import NAME as AUDIT
from bonehpo.results.leakage import NAME as LEAKAGE
from bonehpo.results.leakage import leaks_of
from bonehpo.search.plan import SearchPlan
from bonehpo.search.summary import StudySummary, summarise
from bonehpo.store.store import SliceStore
from bonehpo.task import DAMAGE, task_named
from bonehpo.workflow.gate import audited, objections_to
from bonehpo.workflow.saved_results import StudyResults
from bonehpo.workflow.study import Study


@dataclass(frozen=True, kw_only=True)
class Standing:
    """State of a study, and all that speaks against its accuracy.

    Attributes:
        has_store: Whether its scans are prepared.
        is_standardised: Whether each slice was given the same mean and spread of intensity levels.
        n_trials: Trials that have begun.
        n_complete: Those that have a score.
        n_failed: Those that failed.
        has_optimum: Whether the optimum is fitted again with fresh seeds, and all of it is there.
        is_promotable: Whether its task is one whose networks are promoted.
        is_at_chance: Whether the nested accuracy cannot be told from guessing.
        leaks: What sets share, one sentence each.
        shortcuts: What the shortcut audit warns of, one sentence each.
        objections: Everything for which promotion is refused, one each; without an optimum empty.
        results: Names of the results that are current.
        has_report: Whether the page was written after the newest of them.
    """

    has_store: bool = True
    is_standardised: bool = False
    n_trials: int = 0
    n_complete: int = 0
    n_failed: int = 0
    has_optimum: bool = False
    is_promotable: bool = True
    is_at_chance: bool = False
    leaks: tuple[str, ...] = ()
    shortcuts: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()
    results: frozenset[str] = frozenset()
    has_report: bool = False


def standing_of(study: Study) -> Standing:
    """Read the standing of a study; neither slices nor networks are opened.

    Raises:
        StoreError: There is a store, but it cannot be used.
        StudyError: Storage or settings do not fit the study.
    """
    try:
        plan = study.plan
    except StoreMissing:
        return Standing(has_store=False)
    results = StudyResults(plan)
    names = frozenset(results)
    is_standardised = SliceStore.open(plan.folder.store).recipe.standardise
    is_promotable = task_named(plan.config.task).promotable
    try:
        summary = summarise(plan)
    except StudyMissing:
        leaks = leaks_of(results[LEAKAGE]) if LEAKAGE in names else ()
        return Standing(is_standardised=is_standardised, is_promotable=is_promotable, leaks=leaks, results=names)
    audits = {name: results[name] for name in (LEAKAGE, AUDIT) if name in names}
    states = [row.state for row in summary.trials]
    has_optimum = summary.optimum is not None
    objections: tuple[str, ...] = ()
    if has_optimum and is_promotable:
        try:
            objections = objections_to(plan, audited(plan, audits), summary)
        except PromotionRefused:  # a fit or a network of it is gone, and a search brings it back
            has_optimum = False
    return Standing(
        is_standardised=is_standardised,
        n_trials=len(states),
        n_complete=states.count("complete"),
        n_failed=states.count("failed"),
        has_optimum=has_optimum,
        is_promotable=is_promotable,
        is_at_chance=is_promotable and _is_at_chance(summary),
        leaks=leaks_of(audits[LEAKAGE]) if LEAKAGE in audits else (),
        shortcuts=flags(audits[AUDIT].tables) if AUDIT in audits else (),
        objections=objections,
        results=names,
        has_report=_has_report(plan, results),
    )


def _is_at_chance(summary: StudySummary) -> bool:
    return summary.estimates is not None and not summary.estimates.nested_score_bound > DAMAGE.chance


def _has_report(plan: SearchPlan, results: StudyResults) -> bool:
    page = plan.folder.path / "report.html"
    newest = max((result.finished.timestamp() for result in results.values()), default=0)
    return page.exists() and page.stat().st_mtime >= newest
