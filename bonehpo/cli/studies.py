"""Commands on studies: network, search, show, sync, doctor."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bonehpo.cli.audit import audit_after_search, check_leakage
from bonehpo.cli.console import duration, print_json, print_table, search_bar
from bonehpo.cli.options import (
    TRACKING,
    flag,
    json_option,
    scheduler_option,
    storage_option,
    study_option,
    workers_option,
)
from bonehpo.cli.plan import make_plan
from bonehpo.cli.showing import print_study
from bonehpo.config import StudyFolder

if TYPE_CHECKING:
    from bonehpo.search.objective import SearchPlan
    from bonehpo.search.progress import SearchOutcome

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _duration_s(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", value.strip())
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(f"{value!r} is no time span: write 90s, 30m or 2h")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


@click.command()
@click.option("--layers", type=int, default=4, show_default=True, help="Convolution blocks.")
@click.option("--kernel", type=int, default=5, show_default=True, help="Side of the first kernel in pixels.")
@click.option("--side", type=int, default=200, show_default=True, help="Side of the slices in pixels.")
@json_option
def network(layers: int, kernel: int, side: int, as_json: bool) -> None:
    """Print the layers of a network of the family, and its number of parameters."""
    from bonehpo.learning.architecture import check_architecture

    check_architecture(layers, kernel, side)
    from bonehpo.learning.networks import build_network, layer_table

    rows = layer_table(build_network(layers=layers, kernel=kernel, side=side))
    total = sum(row.n_parameters for row in rows)
    if as_json:
        print_json({"layers": [row._asdict() for row in rows], "n_parameters": total})
        return
    print_table(
        ["layer", "kind", "output", "parameters"],
        [[row.name, row.kind, " × ".join(map(str, row.shape)), f"{row.n_parameters:,}"] for row in rows],
    )
    click.echo(f"{total:,} trainable parameters")


@click.command()
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
    "--race",
    "is_race",
    is_flag=True,
    help="Stop a trial once its folds so far are significantly behind the best trial's.",
)
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
    is_race: bool,
    despite_leaks: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Search the architecture under full nested cross-validation, from where the study stopped on.

    Trial 0 is the paper's baseline. Each trial is scored on all folds (5 specimens: 20), from one fit per holdout pair.
    With --race, trials that fall behind are stopped, and left out of the optimum and of every estimate.
    At the end the optimum is fitted again with fresh seeds. Interrupt it at any time: the same command goes on.
    """
    plan = make_plan(folder, storage)
    from bonehpo.search.space import check_space

    check_space(plan.config, plan.side)
    if dry_run:
        _print_forecast(plan, trials, n_seeds, workers, as_json)
        return
    from bonehpo.engine import open_engine
    from bonehpo.search.study import run_search
    from bonehpo.tracking.runs import recorder_for

    if is_race:
        _say_why_no_race(plan)
    check_leakage(plan, despite_leaks=despite_leaks)
    recorder = recorder_for(TRACKING.absolute().parent)
    try:
        with open_engine(workers, scheduler) as engine, search_bar() as progress:
            outcome = run_search(
                plan, engine, recorder, trials, timeout_s=timeout_s, is_race=is_race, n_seeds=n_seeds, progress=progress
            )
        if outcome.has_optimum:
            audit_after_search(plan, recorder)
    finally:
        recorder.close()
    if outcome.has_optimum:
        print_study(plan, storage, as_json)
        return
    if as_json:
        print_json(outcome._asdict())
    else:
        click.echo(_why_no_optimum(outcome, flag(folder)))
    if outcome.n_complete == 0 and outcome.n_failed >= outcome.n_trials:
        raise SystemExit(1)


def _say_why_no_race(plan: "SearchPlan") -> None:
    from bonehpo.search.racing import why_no_race

    why = why_no_race(plan.config)
    if why is not None:
        click.echo(f"No trial is stopped early: {why}.", err=True)


def _why_no_optimum(outcome: "SearchOutcome", study: str) -> str:
    stopped = f", {outcome.n_stopped} were stopped" if outcome.n_stopped else ""
    done = f"{outcome.n_complete} of {outcome.n_trials} trials are complete{stopped}"
    if outcome.n_complete == 0 and outcome.n_failed >= outcome.n_trials:
        return f"Every trial failed; `bonehpo show {study}` says why."
    if outcome.n_complete + outcome.n_stopped + outcome.n_failed >= outcome.n_trials or outcome.n_elsewhere:
        return f"{done}; other drivers are at work, and the last of them fits the optimum."
    return f"The time is over. {done}; the same command goes on."


def _print_forecast(plan: "SearchPlan", trials: int, n_seeds: int, workers: int | None, as_json: bool) -> None:
    import os

    from bonehpo.learning.training import OVERHEAD, measure_speed
    from bonehpo.search.forecast import forecast
    from bonehpo.search.space import n_possible, space_in_words

    trials = n_possible(plan.config, trials)
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")  # as in a worker
    speed = measure_speed(plan.config.baseline, plan.side, plan.config.training)
    n_workers = len(os.sched_getaffinity(0)) if workers is None else max(workers, 1)
    found = forecast(plan, trials, speed.operations_per_s, n_workers, OVERHEAD, n_seeds)
    if as_json:
        print_json(found)
        return
    space = space_in_words(plan.config.space)
    click.echo(f"Space      {'; '.join(f'{name} {values}' for name, values in space.items())}")
    click.echo(f"Folds      {found.n_folds} a trial, over {len(plan.sets)} sets: {', '.join(plan.sets)}")
    click.echo(f"Images     {_span(found.n_train)} to train, {_span(found.n_held_out)} to validate, as many to test")
    seeds = f", with {n_seeds} sets of seeds" if n_seeds > 1 else ""
    click.echo(f"Fits       {found.n_fits}: {len(plan.pairs)} for each of {trials} trials and for the optimum{seeds}")
    click.echo(f"Parameters {_span(found.parameters)}")
    click.echo(
        f"Time       about {duration(found.hours * 3600)} with {n_workers} workers "
        f"(measured: the baseline trains {speed.images_per_s:.0f} images/s a worker in {speed.precision})"
    )
    click.echo(f"Disk       about {found.gigabytes:.2f} GB")


def _span(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


@click.command()
@study_option
@storage_option
@json_option
def show(folder: StudyFolder, storage: str | None, as_json: bool) -> None:
    """Print the trials of a study, its optimum, and how accurate that really is."""
    print_study(make_plan(folder, storage), storage, as_json)


@click.command()
@study_option
@storage_option
@click.option(
    "--relocate", "moved", is_flag=True, help="First adapt MLflow's absolute paths to where the project is now."
)
def sync(folder: StudyFolder, storage: str | None, moved: bool) -> None:
    """Write into MLflow whatever it lacks of a study. Optuna's storage and the fits are the truth."""
    from bonehpo.results.facts import result_facts
    from bonehpo.results.record import load_result
    from bonehpo.search.facts import replay
    from bonehpo.search.storage import load_study
    from bonehpo.tracking.database import open_tracking, relocate
    from bonehpo.tracking.runs import MlflowRecorder

    if moved:
        click.echo(f"{relocate(TRACKING.absolute().parent)} paths adapted.")
    plan = make_plan(folder, storage)
    study = load_study(plan.storage, folder.name, plan.identity)
    recorder = MlflowRecorder(open_tracking(TRACKING.absolute().parent))
    n_lost = replay(plan, study, recorder)
    for name in sorted(path.parent.name for path in folder.results.glob("*/result.json")):
        found = load_result(folder, name)
        if found is not None:
            recorder.result(result_facts(found, folder))
    recorder.close()
    if recorder.is_off:
        raise SystemExit(1)
    click.echo(f"MLflow holds all {len(study.trials)} trials of {folder.name}.")
    if n_lost:
        click.echo(
            f"{n_lost} fits are gone from {folder.fits}: their curves and predictions cannot be recorded.", err=True
        )


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check this installation: versions, processor, accelerator, and whether the project's folders can be used."""
    from bonehpo.cli.health import examine

    findings = examine(Path.cwd())
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.good else 'BAD '} {finding.what}: {finding.found}")
    if not all(finding.good for finding in findings):
        raise SystemExit(1)
