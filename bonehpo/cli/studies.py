"""Commands on studies: network, search, show, sync, doctor."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bonehpo.cli.audit import audits_as_shown, print_audits
from bonehpo.cli.console import (
    ProgressDisplay,
    duration,
    json_option,
    print_json,
    print_next,
    print_table,
    say,
    scheduler_option,
    storage_option,
    study_option,
    workers_option,
)
from bonehpo.config import StudyFolder
from bonehpo.hyperparameters import HYPERPARAMETERS, Hyperparameters, from_params, in_words, told
from bonehpo.workflow.plan import flag
from bonehpo.workflow.study import Study

if TYPE_CHECKING:
    from bonehpo.analysis.estimates import Estimates
    from bonehpo.search.study import SearchOutcome
    from bonehpo.search.summary import RefitOptimum, StudySummary, TrialRow
    from bonehpo.task import Measure
    from bonehpo.workflow.searching import SearchForecast


LABEL_WIDTH = 19
"""Of what stands before the numbers of a study."""


def print_study(shown_study: Study, as_json: bool) -> None:
    """Print a study as a table and lines of text, or as one JSON object.

    Args:
        shown_study: The study.
        as_json: Whether to print JSON.

    Raises:
        StudyMissing: The study has not begun.
    """
    from bonehpo.analysis.calibration import calibration_in_words
    from bonehpo.analysis.variance import components_in_words, variance_in_words
    from bonehpo.task import task_named

    study = shown_study.summary
    task = task_named(study.task)
    measure = task.measure
    if as_json:
        print_json({**_as_shown(study, measure), "audits": audits_as_shown(shown_study)})
        return
    _print_trials(study.trials, measure)
    ran_on = "phantoms, whose damage is simulated" if study.ran_on == "phantom" else "scans"
    say(f"\nStudy {study.name} on {ran_on}; store {study.store_id[:12]}, {study.split} split.")
    say(f"{study.protocol_in_words[:1].upper()}{study.protocol_in_words[1:]}.")
    if study.stuck_in_words:
        say(study.stuck_in_words)
    if study.estimates is None:
        say("No trial is complete yet.")
        return
    _print_estimates(study, study.estimates, measure)
    if study.variance is not None:
        components = components_in_words(study.variance, measure.unit, study.unit)
        for sentence in (components, *variance_in_words(study.variance, measure.unit, study.unit)):
            say(sentence)
    if study.split == "mixed":
        _print_line("Caution", "in the mixed split a specimen under test was trained on, in its other planes")
    print_audits(shown_study, has_optimum=study.optimum is not None)
    if study.optimum is not None:
        _print_line(
            "Optimum",
            f"trial {study.optimum.trial}, fitted again with fresh seeds: "
            f"{abs(study.optimum.refit_score):.3f} ± {study.optimum.refit_sd:.3f}{_further(study.optimum)}",
        )
        if study.optimum.calibration is not None:
            _print_line("Calibration", calibration_in_words(study.optimum.calibration))


def _further(optimum: "RefitOptimum") -> str:
    """The mean scores with further sets of fresh seeds."""
    scores = [f"{abs(score):.3f}" for score in list(optimum.refit_score_by_repeat.values())[1:]]
    return f"; with further seeds {', '.join(scores)}" if scores else ""


def _as_shown(study: "StudySummary", measure: "Measure") -> dict[str, object]:
    """A study under the names that people know."""
    tables = dataclasses.asdict(study)
    tables["trials"] = [measure.shown(row) for row in tables["trials"]]
    for name in ("estimates", "optimum", "baseline"):
        tables[name] = tables[name] and measure.shown(tables[name])
    if tables["estimates"]:
        tables["estimates"]["so_far"] = [measure.shown(row) for row in tables["estimates"]["so_far"]]
    if tables["optimum"]:
        again = tables["optimum"].pop("repeated_folds")
        tables["optimum"]["folds"] = [measure.shown(fold) for fold in tables["optimum"]["folds"]]
        tables["optimum"]["repeated_folds"] = [[measure.shown(fold) for fold in folds] for folds in again]
    return tables


def _print_trials(trials: "Sequence[TrialRow]", measure: "Measure") -> None:
    columns = told(row.hyperparameters for row in trials)
    names = [entry.short or entry.label for entry in columns]
    print_table(
        ["trial", *names, measure.heading, "sd", "state"],
        [
            [
                str(row.trial),
                *(entry.text(getattr(row.hyperparameters, entry.name)) for entry in columns),
                "-" if row.mean_score is None else f"{abs(row.mean_score):.3f}",
                "-" if row.sd is None else f"{row.sd:.3f}",
                row.state_in_words,
            ]
            for row in trials
        ],
    )


def _print_estimates(study: "StudySummary", found: "Estimates", measure: "Measure") -> None:
    from bonehpo.search.summary import baseline_in_words

    word, choice = measure.heading, in_words(study.row(found.trial).hyperparameters)
    _print_line("Best trial", f"{found.trial} ({choice})")
    _print_line(
        f"Apparent {word}",
        f"{abs(found.apparent_score):.3f} ± {found.sd:.3f}   mean ± sd over its {found.n_folds} folds",
    )
    _print_line(
        f"Nested {word}", f"{abs(found.nested_score):.3f}           on a set that the choice of the trial has not seen"
    )
    n_sets, limit = len(found.nested_score_by_set), abs(found.nested_score_bound)
    low, high = measure.span(found.nested_score_worse_end, found.nested_score_better_end)
    _print_line("", f"{low:.3f} to {high:.3f} (95 %), {measure.bound} {limit:.3f} (one-sided 95 %)")
    _print_line("", f"approximate, n = {n_sets} sets")
    if study.split != "mixed":
        low, high = measure.span(found.next_score_worse_end, found.next_score_better_end)
        _print_line(f"Next {study.unit}", f"{low:.3f} to {high:.3f}  (95 % prediction interval), if it is like these")
    if found.has_second_opinion:
        low, high = measure.span(found.bootstrap_score_worse_end, found.bootstrap_score_better_end)
        _print_line(
            "Bootstrapped", f"{abs(found.bootstrap_score):.3f}           bias-corrected over sets, a second opinion"
        )
        _print_line("", f"{low:.3f} to {high:.3f} (95 %)")
    _print_line("Optimism", f"{found.gap:+.3f}          apparent minus nested: the search maximised the former")
    if study.baseline is not None:
        _print_line("Baseline", baseline_in_words(study.baseline, measure))
    for name, trial in found.chosen_by_set.items():
        n_folds = n_sets - 1
        agreed = (
            "" if found.n_agreed_by_set[name] == n_folds else f" (for {found.n_agreed_by_set[name]} of {n_folds} folds)"
        )
        say(f"  without {name}: trial {trial} is chosen{agreed}; {abs(found.nested_score_by_set[name]):.3f} on it")


def _print_line(label: str, text: str) -> None:
    say(f"{label:<{LABEL_WIDTH}}{text}", LABEL_WIDTH)


_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _duration_s(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", value.strip())
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(f"{value!r} is not a duration: write 90s, 30m or 2h")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


PUBLISHED = Hyperparameters(layers=4, kernel=5)
"""The paper's optimum for cortical bone."""


def choice_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each hyperparameter that changes the network, `--layers` and so on."""
    kinds = {"int": int, "float": float}
    for entry in reversed([entry for entry in HYPERPARAMETERS if entry.changes == "network"]):
        function = click.option(
            f"--{entry.name.replace('_', '-')}",
            type=kinds.get(entry.kind) or click.Choice(entry.examples),
            default=getattr(PUBLISHED, entry.name),
            show_default=True,
            help=entry.description,
        )(function)
    return function


@click.command(epilog="Example: bonehpo network --layers 4 --side 200")
@choice_options
@click.option("--side", type=int, default=200, show_default=True, help="Side of the slices in pixels.")
@json_option
def network(side: int, as_json: bool, **values: Any) -> None:
    """Print the layers of a network of the family, and its number of parameters."""
    from bonehpo.learning.networks import layers_of

    rows = layers_of(from_params(values), side)
    total = sum(row.n_parameters for row in rows)
    if as_json:
        print_json({"layers": [row._asdict() for row in rows], "n_parameters": total})
        return
    print_table(
        ["layer", "kind", "output", "parameters"],
        [[row.name, row.kind, " × ".join(map(str, row.shape)), f"{row.n_parameters:,}"] for row in rows],
    )
    click.echo(f"{total:,} trainable parameters")


@click.command(epilog="Example: bonehpo search --bone TB --trials 50")
@study_option
@click.option("--trials", type=click.IntRange(min=1), required=True, help="Trials that the study shall have in all.")
@workers_option
@scheduler_option
@storage_option
@click.option(
    "--seeds",
    "n_seeds",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Seeds to fit the optimum with.",
)
@click.option("--timeout", "timeout_s", callback=_duration_s, metavar="TIME", help="Stop after 90s, 30m or 2h.")
@click.option(
    "--prune",
    is_flag=True,
    help="Stop a trial once its folds so far are significantly behind the best complete trial's.",
)
@click.option("--race", "prune", is_flag=True, hidden=True, help="Old name of --prune.")
@click.option("--despite-leaks", is_flag=True, help="Search even if a set holds slices of another.")
@click.option("--dry-run", is_flag=True, help="Say what the search would take, and do nothing.")
@json_option
def search(
    folder: StudyFolder,
    trials: int,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    n_seeds: int,
    timeout_s: float | None,
    prune: bool,
    despite_leaks: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Search the architecture under full nested cross-validation, from where the study stopped on.

    Trial 0 is the paper's baseline. Each trial is scored on all folds (5 specimens: 20), from one fit per holdout pair.
    With --prune, or a pruner in study.toml, trials that fall behind are stopped, and left out of the optimum and of every
    estimate.
    At the end the optimum is fitted again with fresh seeds. Interrupt it at any time: the same command goes on.
    """
    study, named = Study(folder.path, storage=storage), flag(folder, storage)
    if dry_run:
        _print_forecast(study, study.forecast(trials, workers=workers, n_seeds=n_seeds), n_seeds, as_json)
        return
    with ProgressDisplay() as display:
        outcome = study.search(
            trials,
            workers=workers,
            scheduler=scheduler,
            timeout_s=timeout_s,
            n_seeds=n_seeds,
            prune=prune,
            despite_leaks=despite_leaks,
            progress=display,
            note=display.note,
        )
    ends_well = print_outcome(outcome, study, named, as_json)
    if not as_json:
        print_next(study, named, "search")
    if not ends_well:
        raise SystemExit(1)


def print_outcome(outcome: "SearchOutcome", study: Study, named: str, as_json: bool) -> bool:
    """Print the study that a search has brought to its end, or why it is not there yet.

    Args:
        outcome: How the search ended.
        study: The study.
        named: How a command names it, for those that are proposed.
        as_json: Whether to print JSON.

    Returns:
        False where every trial failed.
    """
    if outcome.has_optimum:
        print_study(study, as_json)
        return True
    if as_json:
        print_json(outcome._asdict())
    else:
        say(_why_no_optimum(outcome, named))
    return outcome.n_complete > 0 or outcome.n_failed < outcome.n_trials


def _why_no_optimum(outcome: "SearchOutcome", study: str) -> str:
    stopped = f", {outcome.n_stopped} were stopped" if outcome.n_stopped else ""
    done = f"{outcome.n_complete} of {outcome.n_trials} trials are complete{stopped}"
    if outcome.n_complete == 0 and outcome.n_failed >= outcome.n_trials:
        return f"Every trial failed; `bonehpo show {study}` says why."
    if outcome.n_complete + outcome.n_stopped + outcome.n_failed >= outcome.n_trials or outcome.n_elsewhere:
        return f"{done}; other drivers are at work, and the last of them fits the optimum."
    return f"The time is over. {done}."


def _print_forecast(study: Study, found: "SearchForecast", n_seeds: int, as_json: bool) -> None:
    from bonehpo.search.space import space_in_words

    if as_json:
        print_json(found)
        return
    plan = study.plan
    space = space_in_words(plan.config.space)
    say(f"Space      {'; '.join(f'{name} {values}' for name, values in space.items())}")
    say(f"Folds      {found.n_folds} a trial, over {len(plan.sets)} sets: {', '.join(plan.sets)}")
    say(f"Images     {_span(found.n_train)} to train, {_span(found.n_held_out)} to validate, as many to test")
    seeds = f", with {n_seeds} sets of seeds" if n_seeds > 1 else ""
    say(f"Fits       {found.n_fits}: {len(plan.pairs)} for each of {found.n_trials} trials and for the optimum{seeds}")
    say(f"Parameters {_span(found.parameters)}")
    say(
        f"Time       about {duration(found.hours * 3600)} with {found.n_workers} workers "
        f"(measured: the baseline trains {found.images_per_s:.0f} images/s a worker in {found.precision})"
    )
    say(f"Disk       about {found.gigabytes:.2f} GB")


def _span(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


@click.command(epilog="Example: bonehpo show --bone TB")
@study_option
@storage_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "latex", "markdown"]),
    help="Print the table of trials alone, for a paper.",
)
@json_option
def show(folder: StudyFolder, storage: str | None, form: str | None, as_json: bool) -> None:
    """Print the trials of a study, its optimum, and how accurate that really is."""
    study = Study(folder.path, storage=storage)
    if form is not None and as_json:
        raise click.UsageError("--format and --json exclude each other: give one")
    if form is not None:
        from bonehpo.workflow.tables import formatted

        click.echo(formatted(study.summary, form), nl=False)
        return
    print_study(study, as_json)
    if not as_json:
        print_next(study, flag(folder, storage), "show")


@click.command(epilog="Example: bonehpo sync --bone TB")
@study_option
@storage_option
@click.option(
    "--relocate", "moved", is_flag=True, help="First adapt MLflow's absolute paths to where the project is now."
)
def sync(folder: StudyFolder, storage: str | None, moved: bool) -> None:
    """Write into MLflow whatever it lacks of a study. Optuna's storage and the fits are the truth."""
    study = Study(folder.path, storage=storage)
    done = study.sync(relocate=moved)
    if moved:
        click.echo(f"{done.n_relocated} paths adapted.")
    if not done.is_whole:
        raise SystemExit(1)
    say(f"MLflow holds all {done.n_trials} trials of {folder.name}.")
    if done.n_lost:
        click.echo(
            f"{done.n_lost} fits are gone from {folder.fits}: their curves and predictions cannot be recorded.",
            err=True,
        )
    print_next(study, flag(folder, storage), "sync")


@click.command(epilog="Example: bonehpo doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Check this installation: versions, processor, accelerator, and whether the project's folders can be used."""
    from bonehpo.workflow.installation import examine

    findings = examine(Path.cwd())
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.good else 'BAD '} {finding.what}: {finding.found}")
    if not all(finding.good for finding in findings):
        raise SystemExit(1)
