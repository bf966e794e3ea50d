"""Commands on the whole of a study: reproduce, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bonehpo.cli.console import ProgressDisplay, print_next, say, states_option, storage_option, studies_option
from bonehpo.cli.results import print_result, run_options, visible_option, weights_option
from bonehpo.cli.studies import print_outcome
from bonehpo.config import StudyFolder
from bonehpo.engine import Workers
from bonehpo.workflow.plan import STUDIES, flag
from bonehpo.workflow.study import Study

if TYPE_CHECKING:
    from bonehpo.workflow.reproduction import StepOutcome


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


@click.command(epilog="Example: bonehpo report --bone TB")
@studies_option
@storage_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Of two studies: the page.  [default: studies/CB-TB.html for CB and TB]",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw the figures alone, as a journal wants them, into this folder.",
)
@click.option(
    "--width-mm",
    type=click.FloatRange(40, 400),
    default=180,
    show_default=True,
    help="Of --figures: width in mm; one column has about 85.",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["pdf", "svg", "png", "tiff"]),
    default="pdf",
    show_default=True,
    help="Of --figures.",
)
@click.option(
    "--dpi", type=click.IntRange(72, 2400), default=600, show_default=True, help="Of --figures: pixels an inch."
)
@click.pass_context
def report(
    ctx: click.Context,
    folders: tuple[StudyFolder, ...],
    storage: str | None,
    out: Path | None,
    figures: Path | None,
    width_mm: float,
    suffix: str,
    dpi: int,
) -> None:
    """Write everything recorded of a study as one HTML page that needs nothing else, and log it to MLflow.

    Beside it methods.md, which a paper can take over, with a checklist, and references.bib. With --figures the figures alone
    are drawn, in the width and format of a journal; lettering keeps its size.

    Two studies, --bone CB --bone TB, make one page side by side: headline numbers, and what the paper shows of both bones.
    """
    given = [f"--{name.replace('_', '-')}" for name in ("width_mm", "dpi") if _is_given(ctx, name)]
    given += ["--format"] if _is_given(ctx, "suffix") else []
    if figures is None and given:
        raise click.UsageError(f"{', '.join(given)} is of --figures: name the folder with --figures DIR")
    if len(folders) > 1:
        if figures is not None:
            raise click.UsageError("--figures draws those of one study: name one")
        from bonehpo.workflow.side_by_side import report_side_by_side

        left, right = (Study(folder.path, storage=storage) for folder in folders)
        click.echo(f"Report: {report_side_by_side(left, right, out)}")
        return
    if out is not None:
        raise click.UsageError("--out is of two studies: the page of one is report.html in its folder")
    (folder,) = folders
    study = Study(folder.path, storage=storage)
    if figures is not None:
        from bonehpo.report.figures.style import Export
        from bonehpo.workflow.report import export_figures

        wanted = Export(folder=figures, width_mm=width_mm, suffix=suffix, dpi=dpi)
        for file in export_figures(study.plan, wanted):
            click.echo(f"Figure: {file}")
        return
    click.echo(f"Report: {study.report()}")
    print_next(study, flag(folder, storage), "report")


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


@click.command(epilog="Example: bonehpo reproduce --bone TB --trials 50 --scans scans.csv")
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
@states_option
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
def reproduce(
    folder: StudyFolder,
    trials: int,
    scans: Path | None,
    states: tuple[str, ...],
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
    from bonehpo.search.study import SearchOptions
    from bonehpo.workflow.reproduction import Reproduction, StepChoice, steps_of, weights_for
    from bonehpo.workflow.reproduction import reproduce as steps_done

    if states and scans is None:
        raise click.UsageError("--states orders words of --scans: name the table with --scans SCANS.csv")
    study, failed = Study(folder.path, storage=storage), []
    plan = study.plan
    say(f"Matching: {study.store.recipe.matching_in_words}.", len("Matching: "))
    with ProgressDisplay() as display:
        steps = steps_of(plan, StepChoice(only, skip), scans, display.note)
        asked = Reproduction(
            steps=steps,
            search=SearchOptions(n_trials=trials),
            results=ResultOptions(
                visible_from=visible_from,
                weights=weights_for(steps, weights, STUDIES.absolute(), display.note),
                scans=scans.absolute() if scans else None,
                states=states,
            ),
            workers=Workers(workers, scheduler),
            despite_leaks=despite_leaks,
        )
        for done in steps_done(plan, study.project, asked, progress=display, note=display.note):
            display.close()
            failed += _print_step(done, study, flag(folder, storage))
    if failed:
        raise click.ClickException(f"not done: {', '.join(failed)}; the same command tries them again")
    print_next(study, flag(folder, storage), "reproduce")


def _print_step(done: "StepOutcome", study: Study, named: str) -> list[str]:
    """Print what a step gave; its name, where it could not be done."""
    from bonehpo.search.study import SearchOutcome

    if done.error is not None:
        say(f"Error: {done.step}: {done.error}", err=True)
        return [done.step]
    if isinstance(done.found, Path):
        click.echo(f"Report: {done.found}")
    elif isinstance(done.found, SearchOutcome):
        if not print_outcome(done.found, study, named, as_json=False):
            raise SystemExit(1)
    elif done.found is not None:
        print_result(done.found)
    return []
