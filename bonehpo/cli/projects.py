"""Commands on a project: new, status; and the completion of names in a shell."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bonehpo.cli.console import (
    ProgressDisplay,
    crop_option,
    duration,
    json_option,
    memory_option,
    print_json,
    print_table,
    say,
    say_notes,
    states_option,
)
from bonehpo.domain import specimens_in_words
from bonehpo.errors import StudyError
from bonehpo.workflow.plan import STUDIES, flag

if TYPE_CHECKING:
    from bonehpo.scans.sections import Crop
    from bonehpo.workflow.beginning import Beginning


@click.command(epilog="Example: bonehpo new femur scans.csv --slices 100")
@click.argument("name", metavar="NAME")
@click.argument("scans", type=click.Path(path_type=Path), metavar="SCANS.csv")
@click.option("--size", type=int, help="Side of a slice in pixels.  [default: 200, or less where scans are smaller]")
@click.option("--slices", type=int, help="Slices in each plane.  [default: 300, or as many as there are]")
@crop_option
@click.option("--overwrite", is_flag=True, help="Replace a study.toml that is there.")
@click.option("--dry-run", is_flag=True, help="Look the scans over, and write nothing.")
@states_option
@memory_option
def new(
    name: str,
    scans: Path,
    size: int | None,
    slices: int | None,
    crop: "Crop",
    overwrite: bool,
    dry_run: bool,
    states: tuple[str, ...],
) -> None:
    """Begin the study NAME: look the scans of SCANS.csv over, propose their preparation, write its settings.

    Every header is read and checked. Says what a preparation would keep of the scans and what it would take, estimates the
    time of a search from a few seconds of training, writes studies/NAME/study.toml with a comment for each key, and prints
    the command that comes next.
    """
    from bonehpo.cli.console import folder_named
    from bonehpo.store.recipe import Steps
    from bonehpo.workflow.beginning import N_TRIALS, begin, estimate_search, look_over

    folder = folder_named(name)
    if folder.config.exists() and not (overwrite or dry_run):
        raise StudyError(f"{folder.config} is there already: change it by hand, or give --overwrite to begin it anew")
    with ProgressDisplay() as display:
        found = look_over(scans, Steps(crop=crop, n_slices=slices, side=size), states, display)
    _print_found(scans, found)
    with ProgressDisplay() as display:
        estimate = estimate_search(found, display)
    if estimate is not None:
        say(
            f"Time:   a search of {N_TRIALS} trials takes about {duration(estimate.hours * 3600)} with {estimate.n_workers} "
            f"workers, an estimate: the paper's baseline trains {estimate.images_per_s:.0f} images/s a worker here.",
            8,
        )
    say_notes((*found.plan.notes, *found.cautions))
    if not dry_run:
        say(f"Settings, the paper's with comments: {begin(folder, name, overwrite=overwrite)}")
    recipe = found.plan.recipe
    given = ",".join(map(str, recipe.crop)) if isinstance(recipe.crop, tuple) else str(recipe.crop)
    options = [f"--crop {given}"] if recipe.crop is not None else []
    options += [f"--size {recipe.side}", f"--slices {recipe.n_slices}"]
    options += [f"--states {shlex.quote(','.join(states))}"] if states else []
    say(f"Next: bonehpo prepare {shlex.quote(str(scans))} {flag(folder)} {' '.join(options)}", 6)


def _print_found(scans: Path, found: "Beginning") -> None:
    from bonehpo.scans.sections import crop_in_words

    table, recipe = found.table, found.plan.recipe
    say(
        f"{scans}: {len(table.scans)} scans of {specimens_in_words(table.specimens, table.donors)} "
        f"({', '.join(table.specimens)}), load states "
        f"{table.states[0]} (pristine) to {table.states[-1]} (failed); every header was read."
    )
    if recipe.crop is not None:
        say(f"Crop:   {crop_in_words(recipe.crop)}.", 8)
    say(
        f"Slices: {recipe.n_slices} of {recipe.side} × {recipe.side} pixels in each of {', '.join(recipe.planes)}, "
        f"{found.n_images:,} in all; the store takes up to {found.gigabytes:.2f} GB.",
        8,
    )


@click.command(epilog="Example: bonehpo status")
@json_option
def status(as_json: bool) -> None:
    """Print all studies of the project: what is there, what is out of date, and what is next.

    A study of which something cannot be read is named with the reason; the others are told all the same.
    """
    from bonehpo.workflow.status import status_of, studies_of
    from bonehpo.workflow.study import Study

    names = studies_of(Path.cwd())
    found = [status_of(Study(STUDIES.absolute() / name)) for name in names]
    if as_json:
        print_json(found)
        return
    if not found:
        say("No study in studies/ here.")
        say("Next: bonehpo new NAME SCANS.csv, or bonehpo phantom --bone TB --out phantoms/TB if there are no scans", 6)
        return
    print_table(
        ["study", "slices", "trials", "optimum", "results", "out of date"],
        [
            [
                one.name,
                one.slices or "none",
                f"{one.n_complete} of {one.n_trials}",
                "yes" if one.has_optimum else "no",
                str(len(one.results)),
                ", ".join(one.stale) or "-",
            ]
            for one in found
            if not one.problem
        ],
    )
    for one in found:
        if one.problem:
            say(f"{one.name}: {one.problem}", 2)
        else:
            say(f"Next for {one.name}: {one.next_command}  ({one.why})", 6)
