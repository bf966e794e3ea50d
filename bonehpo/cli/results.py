"""Commands on results: sweep, explain, compare, ablate, strain."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bonehpo.cli.console import (
    ProgressDisplay,
    json_option,
    print_json,
    print_next,
    say,
    scheduler_option,
    states_option,
    storage_option,
    study_option,
    workers_option,
)
from bonehpo.config import StudyFolder
from bonehpo.engine import Workers
from bonehpo.learning.backbones import BACKBONES, RESNET50
from bonehpo.workflow.plan import STUDIES, flag
from bonehpo.workflow.study import Study

if TYPE_CHECKING:
    from bonehpo.results.kind import ResultOptions
    from bonehpo.workflow.saved_results import SavedResult

Command = TypeVar("Command", bound=Callable[..., Any])


def run_options(function: Command) -> Command:
    """Options that name the study, and where fits run."""
    for option in (storage_option, scheduler_option, workers_option, study_option):
        function = option(function)
    return function


def result_options(function: Command) -> Command:
    """Options of every command that makes results."""
    return run_options(json_option(function))


def weights_option(default: str) -> Callable[[Command], Command]:
    """`--weights`."""
    return click.option(
        "--weights",
        metavar="WEIGHTS",
        default=default,
        show_default=True,
        help="What the backbone starts from: imagenet, a FILE, study:NAME (the same backbone of that study), or none.",
    )


backbone_option = click.option(
    "--backbone",
    type=click.Choice(list(BACKBONES)),
    default=RESNET50.name,
    show_default=True,
    help="Network of keras.applications that is set beside the optimum.",
)

visible_option = click.option(
    "--visible-from",
    type=click.IntRange(min=2),
    metavar="STATE",
    help="First load state at which a person sees damage.  [default: the truth of a phantom, else unknown]",
)


@click.command(epilog="Example: bonehpo sweep --bone TB")
@result_options
def sweep(folder: StudyFolder, workers: int | None, scheduler: str | None, storage: str | None, as_json: bool) -> None:
    """Vary one hyperparameter at a time around the baseline, as the paper did, and set that beside the search.

    Writes studies/NAME/results/sweep: tables, figures, and an MLflow run. Points that the search has fitted are reused.
    """
    _make(folder, "sweep", workers, scheduler, storage, as_json)


@click.command(epilog="Example: bonehpo explain --bone TB --visible-from 14")
@visible_option
@result_options
def explain(
    folder: StudyFolder,
    visible_from: int | None,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Show what the optimum does: its best fold model, Grad-CAM, detection limits, shortcut audit, planes, calibration.

    Writes studies/NAME/results/best-fold, grad-cam, detection, audit, by-plane and calibration:
    tables, figures, and MLflow runs.
    """
    from bonehpo.results.kind import ResultOptions

    _make(folder, "explain", workers, scheduler, storage, as_json, ResultOptions(visible_from=visible_from))


@click.command(epilog="Example: bonehpo compare --bone TB --weights study:CB")
@backbone_option
@weights_option("imagenet")
@result_options
def compare(
    folder: StudyFolder,
    backbone: str,
    weights: str,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Set a backbone (frozen, fine-tuned, from scratch) beside the optimum, by specimen and in the mixed split.

    Writes studies/NAME/results/mixed and compare, or compare-BACKBONE for another than ResNet-50: tables, figures, and
    MLflow runs. Networks are compared by specimen.
    """
    from bonehpo.results.compare import MIXED, compare_name
    from bonehpo.results.kind import ResultOptions
    from bonehpo.workflow.results import weights_of

    chosen = BACKBONES[backbone]
    options = ResultOptions(weights=weights_of(weights, STUDIES.absolute(), chosen))
    _make(folder, (MIXED, compare_name(chosen)), workers, scheduler, storage, as_json, options)


@click.command(epilog="Example: bonehpo ablate scans.csv --bone TB")
@click.argument("scans", type=click.Path(path_type=Path), metavar="SCANS.csv")
@states_option
@result_options
def ablate(
    folder: StudyFolder,
    scans: Path,
    states: tuple[str, ...],
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Prepare SCANS.csv with and without histogram matching and filter, and see what networks learn from each.

    Writes studies/NAME/results/ablation: tables, a figure, and an MLflow run. A variant in which pristine scans are told
    from every loaded state shows that a network can be right without seeing damage.
    """
    from bonehpo.results.kind import ResultOptions

    _make(folder, "ablate", workers, scheduler, storage, as_json, ResultOptions(scans=scans.absolute(), states=states))


@click.command(epilog="Example: bonehpo strain --bone TB")
@result_options
def strain(folder: StudyFolder, workers: int | None, scheduler: str | None, storage: str | None, as_json: bool) -> None:
    """Train the optimum's architecture to predict the apparent strain of slices of all load states.

    Writes studies/NAME/results/strain: tables, figures, and an MLflow run. To search the architecture for strain, set
    task = "strain" in a study.toml and run bonehpo search.
    """
    _make(folder, "strain", workers, scheduler, storage, as_json)


def _make(
    folder: StudyFolder,
    asked: str | Sequence[str],
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    as_json: bool,
    options: "ResultOptions | None" = None,
) -> None:
    """Make all results of a command, or those of some names, and print them."""
    study = Study(folder.path, storage=storage)
    plan = study.plan
    from bonehpo.results.kind import ResultOptions
    from bonehpo.workflow.kinds import names_made_by
    from bonehpo.workflow.results import make_results

    names = names_made_by(asked) if isinstance(asked, str) else asked
    with ProgressDisplay() as display:
        results = make_results(
            plan, study.project, names, options or ResultOptions(), Workers(workers, scheduler), display
        )
    if as_json:
        print_json({result.name: as_table(result) for result in results})
        return
    for result in results:
        print_result(result)
    print_next(study, flag(folder, storage), click.get_current_context().info_name or "")


def as_table(result: "SavedResult") -> dict[str, object]:
    """A result for `--json`."""
    return {
        "folder": str(result.folder),
        "ran_on": result.ran_on,
        "parameters": dict(result.parameters),
        "metrics": dict(result.metrics),
        "sentences": list(result.sentences),
    }


def print_result(result: "SavedResult") -> None:
    """Print what a result says, and where it lies."""
    phantom = " (on phantoms)" if result.ran_on == "phantom" else ""
    click.echo(f"{result.name}{phantom}: {result.folder}")
    for sentence in result.sentences:
        say(f"  {sentence}")
