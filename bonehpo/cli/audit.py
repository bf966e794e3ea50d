"""The command audit, and what `search` and `show` say of leaks and shortcuts."""

from typing import TYPE_CHECKING

import click

from bonehpo.cli.console import flag, print_json, progress_bar
from bonehpo.cli.results import as_table, print_result, result_options, visible_option
from bonehpo.config import StudyFolder
from bonehpo.errors import BonehpoError
from bonehpo.workflow.plan import make_plan

if TYPE_CHECKING:
    from bonehpo.results.result import Result
    from bonehpo.search.plan import SearchPlan
    from bonehpo.search.recorder import Recorder
    from bonehpo.workflow.promotion import Audited

AUTOMATIC_S = 5.0
"""Seconds that an audit may take at the end of a search; one that takes longer is left to `audit` and `reproduce`."""


@click.command()
@click.option("--leakage", "alone", flag_value="leakage", help="Only look for leaks between the sets; needs no search.")
@click.option(
    "--permutation",
    "alone",
    flag_value="permutation",
    help="Only repeat the procedure, with eight candidates, on labels that mean nothing: what it still finds is not there.",
)
@click.option("--pruned", "alone", flag_value="pruning", help="Only finish three trials that `search --prune` stopped.")
@click.option("--null", "alone", flag_value="permutation", hidden=True)
@click.option("--race", "alone", flag_value="pruning", hidden=True)
@visible_option
@result_options
def audit(
    folder: StudyFolder,
    alone: str | None,
    visible_from: int | None,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Ask whether accuracies of a study can be believed: leaks between its sets, and shortcuts past the damage.

    The folds of the optimum are scored by models that cannot see a crack. Where one comes near the network, the network's
    accuracy does not show that it sees damage. Writes studies/NAME/results/leakage and audit: tables, a figure, MLflow runs.
    """
    from bonehpo.results.audit import NAME

    plan = make_plan(folder, storage)
    results = [] if alone in ("permutation", "pruning") else [check_leakage(plan, despite_leaks=True, quietly=True)]
    if alone != "leakage":
        results.append(_made(plan, alone or NAME, visible_from, workers, scheduler))
    if as_json:
        print_json({result.name: as_table(result, folder) for result in results})
        return
    for result in results:
        print_result(result, folder)


def _made(
    plan: "SearchPlan", name: str, visible_from: int | None, workers: int | None, scheduler: str | None
) -> "Result":
    from bonehpo.results.audit import NAME
    from bonehpo.results.finished import finished_study
    from bonehpo.results.kind import ResultOptions
    from bonehpo.workflow.results import check_task, open_result_builder

    check_task(name, plan)
    with open_result_builder(finished_study(plan), 0 if name == NAME else workers, scheduler, progress_bar) as builder:
        return builder.make(name, ResultOptions(visible_from=visible_from))


def check_leakage(plan: "SearchPlan", *, despite_leaks: bool = False, quietly: bool = False) -> "Result":
    """See before a search that no set holds what another holds, and say so in one line, to stderr.

    Args:
        plan: Of the study.
        despite_leaks: Whether to go on where there is a leak.
        quietly: Whether to say nothing.

    Raises:
        StudyError: There is a leak.
    """
    from bonehpo.results.leakage import leakage_line, prove_no_leak

    with progress_bar("leakage") as progress:
        result = prove_no_leak(plan, progress, despite_leaks=despite_leaks)
    if not quietly:
        click.echo(leakage_line(result), err=True)
    return result


def audit_after_search(plan: "SearchPlan", recorder: "Recorder") -> None:
    """Record the leakage report of a search that has its optimum, and make its shortcut audit where that is quick.

    What goes wrong is said and ends nothing: the search is done.
    """
    from bonehpo.engine import open_engine
    from bonehpo.results.audit import NAME, audit_seconds, visible_state
    from bonehpo.results.finished import finished_study
    from bonehpo.results.kind import ResultOptions
    from bonehpo.results.leakage import prove_no_leak
    from bonehpo.results.result import result_record
    from bonehpo.workflow.kinds import RESULT_KINDS
    from bonehpo.workflow.results import ResultBuilder

    try:
        finished = finished_study(plan)
        recorder.result(result_record(prove_no_leak(plan, despite_leaks=True), plan.folder))
        if (
            plan.config.task not in RESULT_KINDS[NAME].tasks
            or audit_seconds(finished.store, visible_state(finished, None)) > AUTOMATIC_S
        ):
            return
        with open_engine(0) as engine:
            ResultBuilder(finished=finished, engine=engine, recorder=recorder, open_progress=progress_bar).make(
                NAME, ResultOptions()
            )
    except BonehpoError as error:
        click.echo(f"Note: no shortcut audit: {error}", err=True)


def standing_audits(plan: "SearchPlan") -> "dict[str, Result]":
    """The reports on leaks and shortcuts that are on disk and of this store and optimum, by name."""
    from bonehpo.results.audit import NAME
    from bonehpo.results.leakage import NAME as LEAKAGE
    from bonehpo.search.records import read_study
    from bonehpo.workflow.kinds import RESULT_KINDS

    optimum = read_study(plan).optimum
    found = {name: RESULT_KINDS[name].current(plan, optimum) for name in (LEAKAGE, NAME)}
    return {name: result for name, result in found.items() if result is not None}


def audited(plan: "SearchPlan") -> "Audited":
    """What leaks and shortcuts say of the accuracy of a study, for the gate of promotion and the model card."""
    from bonehpo.analysis.shortcuts import flags
    from bonehpo.results.audit import NAME
    from bonehpo.results.leakage import NAME as LEAKAGE
    from bonehpo.results.leakage import leaks_of
    from bonehpo.workflow.promotion import Audited

    found = standing_audits(plan)
    leaks = leaks_of(found[LEAKAGE]) if LEAKAGE in found else ()
    if NAME not in found:
        return Audited((*leaks, f"nobody has looked for shortcuts: run `bonehpo audit {flag(plan.folder)}` first"))
    told = [sentence for sentence in found[NAME].sentences if not sentence.startswith("Caution")]
    return Audited((*leaks, *flags(found[NAME].tables)), tuple(told))


def audits_as_shown(plan: "SearchPlan") -> dict[str, object]:
    """Reports on leaks and shortcuts for `show --json`."""
    return {name: as_table(result, plan.folder) for name, result in standing_audits(plan).items()}


def print_audits(plan: "SearchPlan", study: str) -> None:
    """One line for each report on leaks and shortcuts, for `show`; `study` is how a command names the study."""
    from bonehpo.results.audit import NAME
    from bonehpo.results.leakage import NAME as LEAKAGE
    from bonehpo.results.leakage import leakage_line
    from bonehpo.task import DAMAGE

    found = standing_audits(plan)
    if LEAKAGE in found:
        click.echo(leakage_line(found[LEAKAGE]))
    if NAME in found:
        warnings = [sentence for sentence in found[NAME].sentences if sentence.startswith("Caution")]
        click.echo(f"Shortcuts: {' '.join(warnings or ['none found.', found[NAME].sentences[1]])}")
    elif plan.config.task == DAMAGE.name:
        click.echo(f"Shortcuts: not looked for yet: bonehpo audit {study}")
