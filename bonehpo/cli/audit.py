"""The command audit, and what `show` says of leaks and shortcuts."""

import click

from bonehpo.cli.console import ProgressDisplay, print_json, print_next, say
from bonehpo.cli.results import as_table, print_result, result_options, visible_option
from bonehpo.config import StudyFolder
from bonehpo.workflow.plan import flag
from bonehpo.workflow.study import Study


@click.command(epilog="Example: bonehpo audit --bone TB")
@click.option("--leakage", "alone", flag_value="leakage", help="Only look for leaks between the sets; needs no search.")
@click.option(
    "--permutation",
    "alone",
    flag_value="permutation",
    help="Only repeat the procedure, with eight candidates, on labels that mean nothing: what it still finds is not there.",
)
@click.option(
    "--slice-wise",
    "alone",
    flag_value="slice-wise",
    help="Only train the optimum on slices of all specimens split at random, beside the split by specimen: what a leak is "
    "worth.",
)
@click.option("--pruned", "alone", flag_value="pruning", help="Only finish three trials that `search --prune` stopped.")
@click.option("--null", "alone", flag_value="permutation", hidden=True, help="Old name of --permutation.")
@click.option("--race", "alone", flag_value="pruning", hidden=True, help="Old name of --pruned.")
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
    study, results = Study(folder.path, storage=storage), []
    with ProgressDisplay() as display:
        if alone in (None, "leakage"):
            results.append(study.check_leakage(despite_leaks=True, progress=display))
        if alone is None:
            results.append(study.run("audit", visible_from=visible_from, workers=0, progress=display))
        elif alone != "leakage":
            results.append(study.run(alone, workers=workers, scheduler=scheduler, progress=display))
    if as_json:
        print_json({result.name: as_table(result) for result in results})
        return
    for result in results:
        print_result(result)
    print_next(study, flag(folder, storage), "audit")


def audits_as_shown(study: Study) -> dict[str, object]:
    """Reports on leaks and shortcuts for `show --json`."""
    return {name: as_table(result) for name, result in study.audits.items()}


def print_audits(study: Study, *, has_optimum: bool) -> None:
    """Print one line for each report on leaks and shortcuts, for `show`.

    Args:
        study: The study.
        has_optimum: Whether there is one: shortcuts are looked for on its folds.
    """
    from bonehpo.results.audit import NAME
    from bonehpo.results.leakage import NAME as LEAKAGE
    from bonehpo.results.leakage import leakage_line
    from bonehpo.workflow.kinds import RESULT_KINDS

    found = study.audits
    if LEAKAGE in found:
        say(leakage_line(found[LEAKAGE]))
    if NAME in found:
        warnings = [sentence for sentence in found[NAME].sentences if sentence.startswith("Caution")]
        say(f"Shortcuts: {' '.join(warnings or ['none found.', found[NAME].sentences[1]])}")
    elif has_optimum and study.config.task in RESULT_KINDS[NAME].tasks:
        say("Shortcuts: not looked for yet.")
