"""What `show` prints of a study, and `search` at its end: trials, optimum, and how accurate it really is."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bonehpo.cli.audit import audits_as_shown, print_audits
from bonehpo.cli.console import describe, print_json, print_table
from bonehpo.cli.options import flag
from bonehpo.domain import shown

if TYPE_CHECKING:
    from bonehpo.analysis.estimates import Estimates
    from bonehpo.domain import Task
    from bonehpo.search.objective import SearchPlan
    from bonehpo.search.summary import RefitOptimum, StudySummary, TrialRow


def print_study(plan: "SearchPlan", storage: str | None, as_json: bool) -> None:
    """Print a study as a table and lines of text, or as one JSON object.

    Args:
        plan: Of the study.
        storage: URL of Optuna's storage as the user gave it, for the commands that are proposed.
        as_json: Whether to print JSON.

    Raises:
        StudyError: The study has not begun.
    """
    from bonehpo.analysis.calibration import calibration_in_words
    from bonehpo.analysis.variance import components_in_words, sentences
    from bonehpo.search.summary import summarise

    study = summarise(plan)
    if as_json:
        print_json({**_as_shown(study), "audits": audits_as_shown(plan)})
        return
    _print_trials(study.trials, study.task)
    ran_on = "phantoms, whose damage is simulated" if study.ran_on == "phantom" else "scans"
    click.echo(f"\nStudy {study.name} on {ran_on}; store {study.store_id[:12]}, {study.split} split.")
    click.echo(f"{study.protocol_in_words[:1].upper()}{study.protocol_in_words[1:]}.")
    if study.estimates is None:
        click.echo("No trial is complete yet.")
        return
    _print_estimates(study.estimates, describe(study.row(study.estimates.trial).hyperparameters), study.task)
    if study.variance is not None:
        unit = "" if study.task == "damage" else " %"
        for sentence in (components_in_words(study.variance, unit), *sentences(study.variance, unit)):
            click.echo(sentence)
    if study.split == "mixed":
        click.echo("Caution          in the mixed split a specimen under test was trained on, in its other planes")
    name = flag(plan.folder, storage)
    print_audits(plan, name)
    if study.optimum is None:
        click.echo(f"Next: bonehpo search {name} --trials {len(study.trials)} (fits the optimum again, for promotion)")
    else:
        click.echo(
            f"Optimum          trial {study.optimum.trial}, fitted again with fresh seeds: "
            f"{abs(study.optimum.refit_score):.3f} ± {study.optimum.refit_sd:.3f}{_further(study.optimum)}"
        )
        if study.optimum.calibration is not None:
            click.echo(f"Calibration      {calibration_in_words(study.optimum.calibration)}")
        promote = f"bonehpo promote {name}, or " if study.task == "damage" else ""
        click.echo(f"Next: bonehpo explain {name}, {promote}bonehpo ui to compare runs")


def _further(optimum: "RefitOptimum") -> str:
    """The mean scores with further sets of fresh seeds."""
    scores = [f"{abs(score):.3f}" for score in list(optimum.refit_score_by_repeat.values())[1:]]
    return f"; with further seeds {', '.join(scores)}" if scores else ""


def _as_shown(study: "StudySummary") -> dict[str, object]:
    """A study under the names that people know; see `domain.shown`."""
    tables = dataclasses.asdict(study)
    tables["trials"] = [shown(row, study.task) for row in tables["trials"]]
    for name in ("estimates", "optimum"):
        tables[name] = tables[name] and shown(tables[name], study.task)
    if tables["optimum"]:
        again = tables["optimum"].pop("repeated_folds")
        tables["optimum"]["folds"] = [shown(fold, study.task) for fold in tables["optimum"]["folds"]]
        tables["optimum"]["repeated_folds"] = [[shown(fold, study.task) for fold in folds] for folds in again]
    return tables


def _print_trials(trials: "Sequence[TrialRow]", task: "Task") -> None:
    print_table(
        ["trial", "layers", "lr", "kernel", "batch", "accuracy" if task == "damage" else "error %", "sd", "state"],
        [
            [
                str(row.trial),
                str(row.hyperparameters.layers),
                f"{row.hyperparameters.learning_rate:g}",
                str(row.hyperparameters.kernel),
                str(row.hyperparameters.batch),
                "-" if row.mean_score is None else f"{abs(row.mean_score):.3f}",
                "-" if row.sd is None else f"{row.sd:.3f}",
                row.state if row.reason is None else f"{row.state}: {row.reason}",
            ]
            for row in trials
        ],
    )


def _print_estimates(found: "Estimates", choice: str, task: "Task") -> None:
    from bonehpo.analysis.estimates import span_as_shown

    word, bound = ("accuracy", "at least") if task == "damage" else ("error %", "at most")
    click.echo(f"Best trial       {found.trial} ({choice})")
    click.echo(
        f"Paper {word:<9}  {abs(found.paper_score):.3f} ± {found.sd:.3f}   mean ± sd over its {found.n_folds} folds"
    )
    click.echo(
        f"Nested {word:<8}  {abs(found.nested_score):.3f}           on a set that the choice of the trial has not seen"
    )
    n_sets, limit = len(found.nested_score_by_set), abs(found.nested_score_bound)
    low, high = span_as_shown(found.nested_score_worse_end, found.nested_score_better_end, task)
    click.echo(f"                 {low:.3f} to {high:.3f} (95 %), {bound} {limit:.3f} (one-sided 95 %)")
    click.echo(f"                 approximate, n = {n_sets} sets")
    low, high = span_as_shown(found.bootstrap_score_worse_end, found.bootstrap_score_better_end, task)
    click.echo(
        f"Bootstrapped     {abs(found.bootstrap_score):.3f}           bias-corrected over sets, a second opinion"
    )
    click.echo(f"                 {low:.3f} to {high:.3f} (95 %)")
    click.echo(f"Optimism         {found.gap:+.3f}          paper minus nested: the search maximised the former")
    for name, trial in found.chosen_by_set.items():
        n_folds = n_sets - 1
        agreed = (
            "" if found.n_agreed_by_set[name] == n_folds else f" (for {found.n_agreed_by_set[name]} of {n_folds} folds)"
        )
        click.echo(
            f"  without {name}: trial {trial} is chosen{agreed}; {abs(found.nested_score_by_set[name]):.3f} on it"
        )
