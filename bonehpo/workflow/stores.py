"""Slice stores: made from a phantom or from scans, opened, looked at."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from bonehpo.config import StudyFolder
from bonehpo.domain import ProgressCallback, ignore_progress, of_task, some_of
from bonehpo.engine import open_engine
from bonehpo.phantom.spec import PhantomSpec
from bonehpo.results.result import Result, result_folder
from bonehpo.scans.table import DONORS_UNKNOWN
from bonehpo.store.recipe import Steps
from bonehpo.store.store import SliceStore

AnyPath = str | PathLike[str]


def make_phantom(
    spec: PhantomSpec, out: AnyPath, *, workers: int | None = None, progress: ProgressCallback = ignore_progress
) -> Path:
    """Write the synthetic scans of a phantom, whose damage is known voxel by voxel.

    Args:
        spec: Which phantom.
        out: Folder to make: the scans as TIFF stacks, their truth masks, and `scans.csv`.
        workers: Worker processes; None for one per core, 0 to work in this process.
        progress: Told of each specimen that is done.

    Returns:
        The table of its scans, for `prepare`.

    Raises:
        PhantomError: The folder is there already, or cannot be written.

    Examples:
        >>> spec = bonehpo.PhantomSpec(bone="TB", side=48, n_states=4)  # doctest: +SKIP
        >>> scans = bonehpo.make_phantom(spec, "phantoms/TB")  # doctest: +SKIP
    """
    from bonehpo.phantom.simulation import write_phantom

    with open_engine(workers) as engine:
        return write_phantom(spec, Path(out), engine, of_task(progress, "phantom"))


def prepare(
    scans: AnyPath,
    study: AnyPath,
    steps: Steps | None = None,
    *,
    overwrite: bool = False,
    states: Sequence[str] = (),
    workers: int | None = None,
    progress: ProgressCallback = ignore_progress,
) -> SliceStore:
    """Turn scans into the verified slice store of a study.

    Args:
        scans: CSV with a row for each scan, `specimen,state,path[,label,donor,strain,stress_mpa,voxel_um]`, or for each 2-D
            slice, `specimen,state,plane,position,path`. Paths are relative to it. The first state is
            pristine and the last failed; where specimens failed in different states, the column label says which.
        study: Folder of the study, `studies/TB`; the store becomes its `slices.zarr`.
        steps: What to do to each scan; None for the defaults.
        overwrite: Replace a store that is there already, once the new one is whole.
        states: Words for the load states, from pristine to failed, where the table has words for them.
        workers: Worker processes; None for one per core, 0 to work in this process.
        progress: Told of each scan that is done.

    Returns:
        The store, opened. Its `notes` are for a person to read.

    Raises:
        ScanError: The table or a scan cannot be used.
        PreparationError: A step asks for more than the scans hold.
        StoreError: There is a store already, or the disk refuses. What was there before is still there.

    Examples:
        >>> store = bonehpo.prepare("scans.csv", "studies/TB", bonehpo.Steps(side=48))  # doctest: +SKIP
        >>> store.specimens, store.states, store.notes  # doctest: +SKIP
    """
    from bonehpo.preparation.prepare import prepare as prepare_store

    folder = StudyFolder(Path(study))
    with open_engine(workers) as engine:
        return prepare_store(
            Path(scans),
            folder.store,
            steps or Steps(),
            engine,
            of_task(progress, "prepare"),
            overwrite=overwrite,
            states=states,
        )


def phases_caution(store: SliceStore, progress: ProgressCallback = ignore_progress) -> str:
    """A caution where pores or bone of a store change their intensity with the load state by themselves; else nothing.

    Args:
        store: Of which all scans are read.
        progress: Told of each specimen.

    Raises:
        StoreError: The store is damaged.
    """
    from bonehpo.leakage.phase_levels import drift_sentence, phase_levels

    levels = phase_levels(store, of_task(progress, "prepare"))
    passed, sentence = drift_sentence(levels, store.recipe.matching, store.donors)
    return "" if passed else sentence


def donors_note(store: SliceStore) -> str:
    """A note where the specimens of scans may be of one donor, as nobody has named donors; else nothing."""
    return "" if store.donors or store.is_phantom else DONORS_UNKNOWN


def montage_of(store: SliceStore, picture: Path | None = None) -> Path:
    """Draw the middle slices of a store, pristine and failed.

    Args:
        store: The slices.
        picture: PNG to write; None for `montage.png` in the folder of the study.

    Returns:
        The PNG.

    Raises:
        StoreDamaged: A slice that is drawn is not what was written.
    """
    from bonehpo.report.figures import montage

    place = picture or store.path.parent / "montage.png"
    montage(store, place)
    return place


FAR_FRACTION = 0.25
"""Bone volume fraction by which a scan may differ from the first of its specimen."""


def appearance_cautions(store: SliceStore) -> tuple[str, ...]:
    """Cautions where bone of a store looks darker than the rest, scans disagree, or one has metal in it or no two phases.

    Args:
        store: Of which the records of scans alone are read.
    """
    scans, first = store.manifest.scans, store.states[0]
    pristine = [scan for scan in scans if scan.state == first]
    one, binary, metal = (
        [f"{scan.specimen} state {scan.state}" for scan in scans if scan.look == look]
        for look in ("one phase", "binary", "metal")
    )
    dark = [scan.specimen for scan in pristine if scan.look == "dark bone"]
    known = {scan.specimen: scan.bone_volume_fraction for scan in pristine}
    apart = [
        f"{scan.specimen} state {scan.state}"
        for scan in scans
        for of_first in [known.get(scan.specimen)]
        if of_first is not None
        and scan.bone_volume_fraction is not None
        and abs(scan.bone_volume_fraction - of_first) > FAR_FRACTION
    ]
    found = []
    if dark:
        way = "leave out --bone-is dark" if store.recipe.bone_is == "dark" else "give --bone-is dark"
        found.append(
            f"In {some_of(dark)} bone looks darker than what is around it: pores and bone have changed places. If so, "
            f"{way}; else look at the montage, and go on."
        )
    if apart:
        found.append(
            f"The bone volume fraction of {some_of(apart)} is more than {FAR_FRACTION:g} off that of the first scan of its "
            "specimen: see that bone is bright in both, and that both show the same bone."
        )
    if one:
        found.append(f"{some_of(one)} shows one phase, no bone beside pores: its bone volume fraction is not measured.")
    if binary:
        found.append(
            f"{some_of(binary)} has two levels alone: it was segmented, and grey levels are lost. Prepare what was scanned."
        )
    if metal:
        found.append(
            f"In {some_of(metal)} voxels are far brighter than bone, as of metal or a marker: they are white in all slices, "
            "and no bone. Crop them away, or see that all scans show them alike, as a network may tell states by them."
        )
    return tuple(found)


def registration_caution(store: SliceStore) -> str:
    """A caution where scans of a store lie apart from the first of their specimen, as `prepare` measured; else nothing."""
    from bonehpo.preparation.registration import OFFSETS, offsets_caution

    return offsets_caution(store.path.parent / OFFSETS, store.id)


def open_store(path: AnyPath) -> SliceStore:
    """Open a slice store.

    Args:
        path: Folder of a study, or the store itself, `slices.zarr`.

    Raises:
        StoreMissing: There is none.
        StoreDamaged: A file of it is missing, or not as long as it was.

    Examples:
        >>> store = bonehpo.open_store("studies/TB")  # doctest: +SKIP
        >>> slices = store.group("TB5", 1, "XY")  # uint8 (slice, y, x)  # doctest: +SKIP
    """
    where = Path(path)
    return SliceStore.open(where if where.suffix == ".zarr" else StudyFolder(where).store)


class Inspection(NamedTuple):
    """Contents of a store, drawn.

    Attributes:
        store: The store.
        result: Measures of its scans, the result `specimens`.
        montage: Specimens × first and last state × planes.
        figures: Renderings of the specimens, and their stress-strain curves.
        table: All measures as CSV.
    """

    store: SliceStore
    result: Result
    montage: Path
    figures: tuple[Path, ...]
    table: Path


def inspect_store(folder: StudyFolder, montage: Path | None = None) -> Inspection:
    """Draw the specimens of a study's store, and write down what was measured of its scans.

    Args:
        folder: Of the study.
        montage: PNG to write; None for `montage.png` in the folder.

    Raises:
        StoreError: There is no store, or it is damaged.
        StudyError: The folder cannot be written.
    """
    from bonehpo.results.specimens import make_specimens
    from bonehpo.workflow.kinds import RESULT_KINDS

    store = SliceStore.open(folder.store)
    picture = montage_of(store, montage)
    result = make_specimens(store, folder)
    place = result_folder(folder, result.name)
    figures = tuple(figure.png for figure in RESULT_KINDS[result.name].draw(result, folder))
    return Inspection(store, result, picture, figures, place / "scans.csv")
