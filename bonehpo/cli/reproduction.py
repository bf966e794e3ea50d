"""Commands on the whole of a study: reproduce, report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bonehpo.cli.console import ProgressDisplay, storage_option, study_option
from bonehpo.cli.results import print_result, run_options, visible_option, weights_option
from bonehpo.config import StudyFolder
from bonehpo.errors import BonehpoError, NetworkError
from bonehpo.workflow.plan import STUDIES, flag
from bonehpo.workflow.study import Study

if TYPE_CHECKING:
    from bonehpo.results.kind import ResultOptions
    from bonehpo.search.plan import SearchPlan


class _StepOption(click.Option):
    """An option that takes steps of `reproduce`, whose names are imported only for its help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help, which names all steps."""
        from bonehpo.workflow.kinds import STEPS

        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]} Steps: {', '.join(STEPS)}.")


def _known_steps(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """The steps that were named, where there are such."""
    if not names:
        return ()
    from bonehpo.workflow.kinds import STEPS

    return tuple(click.Choice(STEPS).convert(name, param, ctx) for name in names)


@click.command()
@study_option
@storage_option
def report(folder: StudyFolder, storage: str | None) -> None:
    """Write everything recorded of a study as one HTML page that needs nothing else, and log it to MLflow."""
    click.echo(f"Report: {Study(folder.path, storage=storage).report()}")


@click.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Trials that the study shall have in all.",
)
@click.option(
    "--scans",
    type=click.Path(path_type=Path),
    metavar="SCANS.csv",
    help="The scans again, for the ablation of their preparation; without them it is left out.",
)
@click.option(
    "--only",
    cls=_StepOption,
    callback=_known_steps,
    multiple=True,
    metavar="STEP",
    help="Do this step alone; may be given again.",
)
@click.option(
    "--skip",
    callback=_known_steps,
    multiple=True,
    metavar="STEP",
    help="Leave this step out; may be given again. ResNet-50 (compare) takes the longest.",
)
@click.option("--despite-leaks", is_flag=True, help="Search even if a set holds slices of another.")
@weights_option("imagenet")
@visible_option
@run_options
@click.pass_context
def reproduce(
    ctx: click.Context,
    folder: StudyFolder,
    trials: int,
    scans: Path | None,
    only: Sequence[str],
    skip: Sequence[str],
    despite_leaks: bool,
    weights: str,
    visible_from: int | None,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
) -> None:
    """Run every experiment of the paper on a study, in order, and write the report.

    The search; the sweep of Fig 3; the best fold model of Fig 4; Grad-CAM and detection limits of Figs 5 to 7; the mixed
    split of Table 1; ResNet-50 of Figs 8 and 9; the ablation of Appendix A; and the regression of strain. Interrupt it at
    any time: the same command goes on. A step that cannot be done says why, and the others are done.
    """
    from bonehpo.results.kind import ResultOptions
    from bonehpo.workflow.kinds import RESULT_KINDS, STEPS

    study = Study(folder.path, storage=storage)
    plan = study.plan
    steps = _steps([step for step in STEPS if (not only or step in only) and step not in skip], scans, plan)
    options = ResultOptions(visible_from=visible_from, scans=scans.absolute() if scans else None)
    if any("weights" in kind.options for name, kind in RESULT_KINDS.items() if name in steps):
        options = _with_weights(options, weights)
    if "search" in steps:
        _search(ctx, folder, trials, workers, scheduler, storage, despite_leaks)
    failed = _make_results(
        study, [step for step in steps if step not in ("search", "report")], options, workers, scheduler
    )
    if "report" in steps:
        failed += _try("report", lambda: click.echo(f"Report: {study.report()}"))
    if failed:
        raise click.ClickException(f"not done: {', '.join(failed)}; the same command tries them again")
    from bonehpo.task import task_named

    promotable = task_named(plan.config.task).promotable
    promote = f", or bonehpo promote {flag(folder, storage)}" if promotable else ""
    click.echo(f"Next: bonehpo ui to compare runs{promote}")


def _steps(steps: Sequence[str], scans: Path | None, plan: "SearchPlan") -> list[str]:
    """What is to be done of what was asked for; of what cannot be done at all, the reason is told."""
    from bonehpo.workflow.kinds import RESULT_KINDS

    task = plan.config.task
    others = [step for step in steps if step in RESULT_KINDS and task not in RESULT_KINDS[step].tasks]
    if others:
        click.echo(f"Left out, as study {plan.folder.name} predicts {task}: {', '.join(others)}.", err=True)
    for step in steps:
        if scans is None and step in RESULT_KINDS and step not in others and "scans" in RESULT_KINDS[step].options:
            others.append(step)
            click.echo(
                f"The {step} is left out: it prepares the scans again, so name them with --scans SCANS.csv.", err=True
            )
    return [step for step in steps if step not in others]


def _make_results(
    study: Study, names: Sequence[str], options: "ResultOptions", workers: int | None, scheduler: str | None
) -> list[str]:
    """Make results one after the other; the names of those that could not be made."""
    if not names:
        return []
    from bonehpo.results.finished import finished_study
    from bonehpo.workflow.results import open_result_builder
    from bonehpo.workflow.saved_results import saved

    failed, plan = [], study.plan
    with (
        ProgressDisplay() as display,
        open_result_builder(finished_study(plan), study.project, workers, scheduler, display) as builder,
    ):
        for name in names:

            def make(name: str = name) -> None:
                result = saved(builder.make(name, options), plan)
                display.close()
                print_result(result)

            failed += _try(name, make)
    return failed


def _search(
    ctx: click.Context,
    folder: StudyFolder,
    trials: int,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    despite_leaks: bool,
) -> None:
    from bonehpo.cli.studies import search

    ctx.invoke(
        search,
        folder=folder,
        trials=trials,
        workers=workers,
        scheduler=scheduler,
        storage=storage,
        timeout_s=None,
        despite_leaks=despite_leaks,
        dry_run=False,
        as_json=False,
    )


def _with_weights(options: "ResultOptions", text: str) -> "ResultOptions":
    """The weights that were asked for; those of ImageNet are gone without where they cannot be had."""
    from bonehpo.workflow.results import weights_of

    try:
        return replace(options, weights=weights_of(text, STUDIES.absolute()))
    except NetworkError as error:
        if text != "imagenet":
            raise
        click.echo(f"Note: {error}. ResNet-50 is trained from scratch alone.", err=True)
        return options


def _try(step: str, make: Callable[[], None]) -> list[str]:
    """Do a step; its name, where it could not be done."""
    try:
        make()
    except BonehpoError as error:
        click.echo(f"Error: {step}: {error}", err=True)
        return [step]
    return []
