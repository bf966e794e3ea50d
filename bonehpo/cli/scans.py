"""Commands on scans and stores: phantom, prepare, inspect, verify."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bonehpo.cli.console import (
    ProgressDisplay,
    crop_option,
    json_option,
    memory_option,
    print_json,
    print_next,
    print_table,
    say,
    say_notes,
    states_option,
    study_option,
    workers_option,
)
from bonehpo.config import StudyFolder
from bonehpo.domain import of_task, specimens_in_words
from bonehpo.workflow.plan import flag
from bonehpo.workflow.study import Study

if TYPE_CHECKING:
    from bonehpo.scans.phases import Matching
    from bonehpo.scans.photometry import BoneIs
    from bonehpo.scans.sections import Crop
    from bonehpo.store.store import SliceStore
    from bonehpo.workflow.stores import Inspection

_FOLDER = click.Path(path_type=Path)


@click.command(epilog="Example: bonehpo phantom --bone TB --out phantoms/TB")
@click.option("--bone", type=click.Choice(["CB", "TB"]), required=True, help="Cortical or trabecular bone.")
@click.option("--out", type=_FOLDER, required=True, help="Folder to make: scans.csv, TIFF stacks, truth masks.")
@click.option("--side", type=int, default=96, show_default=True, help="Voxels along each edge of a volume.")
@click.option("--states", type=int, default=0, help="Load states.  [default: the paper's 20 for CB, 15 for TB]")
@click.option("--specimens", help="Names, comma-separated.  [default: the paper's five]")
@click.option(
    "--shortcut",
    is_flag=False,
    flag_value="hot-pixels",
    default="",
    metavar="[KIND[:STRENGTH][@WHERE]]",
    help="A trap: what tells pristine, failed or loaded scans apart and is no damage, as blur:0.8@failed. Alone it is "
    "hot-pixels@pristine; see docs/how-to/audit.md.",
)
@click.option("--structure", type=_FOLDER, help="A real scan whose sub-volumes become the pristine specimens.")
@click.option("--seed", type=int, default=0, show_default=True, help="Start of every random draw.")
@workers_option
def phantom(
    bone: str,
    out: Path,
    side: int,
    states: int,
    specimens: str | None,
    shortcut: str,
    structure: Path | None,
    seed: int,
    workers: int | None,
) -> None:
    """Make synthetic scans of bone under load whose damage is known voxel by voxel."""
    from bonehpo.phantom import PhantomSpec
    from bonehpo.workflow.stores import make_phantom

    spec = PhantomSpec(
        bone="CB" if bone == "CB" else "TB",
        side=side,
        n_states=states,
        specimens=tuple(name.strip() for name in specimens.split(",")) if specimens else (),
        shortcut=shortcut,
        structure=structure,
        seed=seed,
    )
    with ProgressDisplay() as display:
        csv = make_phantom(spec, out, workers=workers, progress=display)
    click.echo(f"{len(spec.specimens)} specimens in {spec.n_states} load states are in {out}.")
    say(f"Next: bonehpo prepare {shlex.quote(str(csv))} --bone {bone}", len("Next: "))


@click.command(epilog="Example: bonehpo prepare scans.csv --bone femur --slices 100")
@click.argument("scans", type=_FOLDER, metavar="SCANS.csv")
@study_option
@click.option("--size", type=int, help="Side of a slice in pixels.  [default: 200, or less where scans are smaller]")
@click.option("--slices", type=int, help="Slices in each plane.  [default: 300, or as many as there are]")
@crop_option
@click.option("--no-crop", is_flag=True, help="Take whole volumes.")
@click.option(
    "--match",
    type=click.Choice(["phases", "histogram", "none"]),
    help="Make intensities those of the reference: of pores and bone, or the whole histogram.  [default: phases]",
)
@click.option("--no-match", is_flag=True, help="The same as --match none.")
@click.option(
    "--paper", is_flag=True, help="As the paper: --match histogram --slices 300 --size 200, but for what is given."
)
@click.option("--no-median", is_flag=True, help="Leave out the 3×3×3 median filter.")
@click.option(
    "--standardise", is_flag=True, help="Give each slice the same mean and spread of intensity levels, at the end."
)
@click.option(
    "--no-registration", is_flag=True, help="Do not measure how far scans lie from the first of their specimen."
)
@click.option(
    "--register",
    is_flag=True,
    help="Lay each scan on the first of its specimen; all are interpolated once, the first too.",
)
@click.option(
    "--bone-is",
    type=click.Choice(["bright", "dark"]),
    default="bright",
    show_default=True,
    help="Whether bone is brighter or darker than what is around it; dark turns intensities round.",
)
@click.option("--reference", metavar="SPECIMEN:STATE", help="Scan to which the others are matched.")
@click.option("--overwrite", is_flag=True, help="Replace the study's store once the new one is whole.")
@states_option
@memory_option
@workers_option
def prepare(
    scans: Path,
    folder: StudyFolder,
    size: int | None,
    slices: int | None,
    crop: "Crop",
    no_crop: bool,
    match: "Matching | None",
    no_match: bool,
    paper: bool,
    no_median: bool,
    standardise: bool,
    no_registration: bool,
    register: bool,
    bone_is: "BoneIs",
    reference: str | None,
    overwrite: bool,
    states: tuple[str, ...],
    workers: int | None,
) -> None:
    """Turn the scans of SCANS.csv into the verified slice store of a study.

    SCANS.csv has one row per scan, specimen,state,path[,label,donor,strain,stress_mpa,voxel_um], or one row per 2-D slice,
    specimen,state,plane,position,path. Paths are relative to it. The first state is pristine
    and the last failed; where specimens failed in different states, the column label says which.
    """
    from bonehpo.store.recipe import DEFAULT_SIDE, DEFAULT_SLICES, Steps
    from bonehpo.workflow.stores import phases_caution
    from bonehpo.workflow.stores import prepare as prepare_store

    if match not in (None, "none") and no_match:
        raise click.UsageError(f"--match {match} and --no-match exclude each other; remove one")
    if register and no_registration:
        raise click.UsageError("--register and --no-registration exclude each other; remove one")

    steps = Steps(
        cropped=not no_crop,
        crop=crop,
        match=match or ("none" if no_match else "histogram" if paper else "phases"),
        median=not no_median,
        n_slices=DEFAULT_SLICES if paper and slices is None else slices,
        side=DEFAULT_SIDE if paper and size is None else size,
        reference=reference,
        standardise=standardise,
        registration=not no_registration,
        register=register,
        bone_is=bone_is,
    )
    with ProgressDisplay() as display:
        store = prepare_store(
            scans, folder.path, steps, overwrite=overwrite, states=states, workers=workers, progress=display
        )
        label = phases_caution(store, display)
    _print_prepared(store, label)
    print_next(Study(folder.path), flag(folder), "prepare")


def _print_prepared(store: "SliceStore", label: str) -> None:
    from bonehpo.workflow.stores import donors_note, montage_of

    say_notes((*store.notes, *filter(None, [donors_note(store)])))
    say(
        f"{len(store.manifest.scans)} scans of {specimens_in_words(store.specimens, store.donors)}; of each scan "
        f"{store.n_slices} slices of {store.side} × {store.side} pixels in each of {', '.join(store.planes)}."
    )
    say(f"Store {store.id[:12]} is in {store.path}.")
    say(f"Montage: {montage_of(store)}")
    _print_cautions(store, label)


def _print_cautions(store: "SliceStore", *more: str) -> None:
    from bonehpo.workflow.stores import appearance_cautions, registration_caution

    say_notes(
        [f"Caution: {told}" for told in (*appearance_cautions(store), registration_caution(store), *more) if told]
    )


@click.command(epilog="Example: bonehpo inspect --bone TB")
@study_option
@click.option("--montage", type=_FOLDER, help="PNG to write.  [default: montage.png in the study folder]")
@json_option
def inspect(folder: StudyFolder, montage: Path | None, as_json: bool) -> None:
    """Print what the store of a study holds and what was measured of its scans, and draw its specimens.

    Writes a montage, specimens × first and last state × planes; in results/specimens of the study a table of all
    measures, renderings of the specimens, and their stress-strain curves.
    """
    study = Study(folder.path)
    found = study.inspect(montage)
    if as_json:
        print_json(_contents(found))
        return
    _print_contents(found.store)
    for sentence in found.result.sentences:
        say(sentence)
    click.echo(f"Montage: {found.montage}")
    for figure in found.figures:
        click.echo(f"Figure: {figure}")
    click.echo(f"Table: {found.table}")
    print_next(study, flag(folder), "inspect")


def _print_contents(store: "SliceStore") -> None:
    from bonehpo.scans.sections import crop_in_words

    recipe = store.recipe
    say(f"Store {store.id[:12]} of {store.bone}, made from {'phantoms' if store.is_phantom else 'scans'}.")
    say(
        f"{specimens_in_words(store.specimens, store.donors)}, load states {store.states[0]} to {store.states[-1]}; "
        f"of each scan {store.n_slices} slices of {store.side} × {store.side} pixels in each of {', '.join(store.planes)}."
    )
    matched = f"matched to {recipe.reference} by {recipe.matching}" if recipe.match else "as they were"
    median = "3×3×3" if recipe.median else "none"
    levels = "; each slice with mean 128 and sd 40 intensity levels" if recipe.standardise else ""
    say(f"Preparation: {crop_in_words(recipe.crop)}, intensities {matched}, median {median}{levels}.")
    if sizes := recipe.pixel_um:
        say(f"A pixel is {', '.join(f'{size:.3g} µm in {plane}' for plane, size in sizes.items())}.")
    say_notes(store.notes)
    _print_cautions(store)
    say("Bone volume fraction (Otsu):")
    _print_bone_fractions(store)
    say("Pristine and failed:")
    print_table(
        ["specimen", "state", *(heading for heading, _ in _MEASURES.values())],
        [
            [s, str(t), *(_cell(getattr(store.scan(s, t), name), digits) for name, (_, digits) in _MEASURES.items())]
            for s in store.specimens
            for t in store.ends(s)
        ],
    )


def _print_bone_fractions(store: "SliceStore") -> None:
    """Specimens by states, or states by specimens: the way that has fewer columns."""

    def cell(specimen: str, state: int) -> str:
        fraction = store.scan(specimen, state).bone_volume_fraction if store.has(specimen, state) else None
        return "-" if fraction is None else f"{fraction:.3f}"

    if len(store.states) <= len(store.specimens):
        heads = [f"state {state}" for state in store.states]
        print_table(["specimen", *heads], [[s, *(cell(s, t) for t in store.states)] for s in store.specimens])
    else:
        rows = [[str(t), *(cell(s, t) for s in store.specimens)] for t in store.states]
        print_table(["state", *store.specimens], rows)


_MEASURES = {
    "strain": ("strain", 3),
    "stress_mpa": ("stress (MPa)", 1),
    "porosity": ("porosity", 3),
    "trabecular_thickness_um": ("Tb.Th (µm)", 0),
    "trabecular_spacing_um": ("Tb.Sp (µm)", 0),
    "degree_of_anisotropy": ("DA", 2),
    "damage_fraction": ("damaged", 3),
}
"""Columns that are printed of a scan: heading and digits after the point."""


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _contents(found: "Inspection") -> dict[str, object]:
    store = found.store
    return {
        "store_id": store.id,
        "bone": store.bone,
        "phantom": store.is_phantom,
        "specimens": store.specimens,
        "states": store.states,
        "planes": store.planes,
        "n_slices": store.n_slices,
        "side": store.side,
        "has_damage": store.has_damage,
        "has_preview": store.has_preview,
        "standardised": store.recipe.standardise,
        "notes": store.notes,
        "scans": [
            {
                "specimen": scan.specimen,
                "state": scan.state,
                "bone_volume_fraction": scan.bone_volume_fraction,
                **{name: getattr(scan, name) for name in _MEASURES},
            }
            for scan in store.manifest.scans
        ],
        "montage": str(found.montage),
        "figures": [str(figure) for figure in found.figures],
        "table": str(found.table),
    }


@click.command(epilog="Example: bonehpo verify --bone TB")
@study_option
@json_option
@click.pass_context
def verify(ctx: click.Context, folder: StudyFolder, as_json: bool) -> None:
    """Compare every byte of the store with its manifest."""
    study = Study(folder.path)
    store = study.store
    with ProgressDisplay() as display:
        found = store.verify(of_task(display, "verify"))
    if as_json:
        print_json({"store_id": store.id, "whole": not found, "damage": found})
    else:
        for damage in found:
            say(f"Error: {damage.message}", err=True)
        if not found:
            say(f"Store {store.id[:12]} is whole: {len(store.manifest.files)} files as they were written.")
            print_next(study, flag(folder), "verify")
    if found:
        ctx.exit(1)
