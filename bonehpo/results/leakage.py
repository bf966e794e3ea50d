"""The leakage prover as a result: run before every search, which it stops where a held-out slice has been seen."""

from datetime import UTC, datetime

import pandas as pd

from bonehpo.domain import ProgressCallback, ignore_progress
from bonehpo.errors import StudyError
from bonehpo.leakage.leaks import LeakReport, find_leaks
from bonehpo.results.result import Result, address_of, made_once
from bonehpo.search.plan import SearchPlan
from bonehpo.store.images import open_expected

NAME = "leakage"

VERSION = 1
"""Of what is looked for; raised when a report of before would no longer do."""

LEAKS = ("names", "content", "specimens", "constants")
"""Checks that stop a search; the others caution."""


def leakage_address(plan: SearchPlan) -> str:
    """Content address of the report, made from the store and the assignment of its sets."""
    return address_of(NAME, VERSION, plan.store_id, {name: list(groups) for name, groups in plan.sets.items()})


def prove_no_leak(
    plan: SearchPlan, progress: ProgressCallback = ignore_progress, *, despite_leaks: bool = False
) -> Result:
    """See that no set of a study holds what another holds; where this was seen before, read it.

    The result is saved first, so that what was found can be looked at.

    Args:
        plan: Of the study.
        progress: Told of each group of slices that is read.
        despite_leaks: Whether to go on where there is a leak.

    Raises:
        StudyError: There is a leak.
        StoreError: The store is damaged.
    """
    result = made_once(plan.folder, NAME, leakage_address(plan), lambda: leakage_result(plan, progress))
    leaks = leaks_of(result)
    if leaks and not despite_leaks:
        raise StudyError(
            f"study {plan.folder.name} leaks between its sets: {' '.join(leaks)} All are named in "
            f"{plan.folder.results / NAME / 'near-duplicates.csv'}: leave one of two such specimens out, "
            "or search --despite-leaks"
        )
    return result


def leakage_result(plan: SearchPlan, progress: ProgressCallback = ignore_progress) -> Result:
    """Look for leaks between the sets of a study.

    Raises:
        StoreError: The store is damaged, or another than the study's.
    """
    report = find_leaks(open_expected(plan.folder.store, plan.store_id), plan.sets, progress)
    return Result(
        name=NAME,
        level="explanation",
        inputs=leakage_address(plan),
        study=plan.folder.name,
        bone=plan.config.bone,
        store_id=plan.store_id,
        ran_on=plan.ran_on,
        parameters={"split": plan.split},
        metrics={
            "n_slices": report.n_slices,
            "n_blank": report.n_blank,
            "n_compared": report.n_compared,
            "n_equal": sum(duplicate.kind == "equal" for duplicate in report.duplicates),
            "n_near": sum(duplicate.kind == "near" for duplicate in report.duplicates),
        },
        sentences=tuple(c.sentence if c.passed else f"Caution: {c.sentence}" for c in report.checks),
        tables={
            "checks": pd.DataFrame(report.checks, columns=["check", "passed", "sentence"]),
            "near-duplicates": _duplicates_table(report),
            "phases": report.levels,
        },
        finished=datetime.now(UTC),
    )


def leaks_of(result: Result) -> tuple[str, ...]:
    """The sentences of a report on leaks, without caution; empty where no held-out slice has been seen."""
    checks = result.tables["checks"]
    return tuple(checks.loc[~checks["passed"] & checks["check"].isin(LEAKS), "sentence"])


def leakage_line(result: Result) -> str:
    """The report in one line, for the console."""
    n = result.metrics
    looked = f"{n['n_slices']:.0f} slices by hash, {n['n_compared']:,.0f} pairs across specimens by perceptual hash"
    blank = f", {n['n_blank']:.0f} blank ones left out" if n["n_blank"] else ""
    cautions = [sentence for sentence in result.sentences if sentence.startswith("Caution")]
    return " ".join([f"Leakage: {'see below' if leaks_of(result) else 'none'} ({looked}{blank}).", *cautions])


def _duplicates_table(report: LeakReport) -> pd.DataFrame:
    columns = [
        f"{which}_{name}" for which in ("first", "second") for name in ("specimen", "state", "plane", "position")
    ]
    rows = [
        (duplicate.kind, *duplicate.first, *duplicate.second, duplicate.correlation) for duplicate in report.duplicates
    ]
    return pd.DataFrame(rows, columns=["kind", *columns, "correlation"])
