"""Preparation: centre crop, histogram matching, 3×3×3 median, cut into slices, resize; scan by scan.

Each scan is prepared by one task, which holds one cropped volume in the type of its file and writes its slices itself,
so that memory does not grow with the number of scans.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natsort import natsorted

from bonehpo.data.building import StoredScan, check_free, create_arrays, new_store, seal, write_slices
from bonehpo.data.manifest import FORMAT, PHANTOM_MARK, Manifest, ScanRecord
from bonehpo.data.planning import make_plan
from bonehpo.data.prepared import PreparedScan, prepare_images, prepare_volume
from bonehpo.data.recipe import Recipe, Steps
from bonehpo.data.scans import Scan, ScanTable, SliceImage, read_scans
from bonehpo.data.store import SliceStore
from bonehpo.domain import Progress, ProgressCallback, ignore_progress
from bonehpo.engine import Engine
from bonehpo.errors import PreparationError, ScanError


def prepare(
    csv: Path,
    out: Path,
    steps: Steps,
    engine: Engine,
    progress: ProgressCallback = ignore_progress,
    *,
    overwrite: bool = False,
) -> SliceStore:
    """Prepare all scans of a table into a slice store.

    Args:
        csv: The table; see `scans.read_scans`.
        out: Where the store shall be, `studies/X/slices.zarr`; the name of its folder becomes the bone's.
        steps: What to do to each scan.
        engine: Runs one task for each scan.
        progress: Told of each scan that is done.
        overwrite: Replace a store that is there already, once the new one is whole.

    Returns:
        The store, opened. Its `notes` are for the user to read.

    Raises:
        ScanError: The table or a scan cannot be used.
        PreparationError: A step asks for more than the scans hold.
        StoreError: There is a store already, or the disk refuses. Whatever was there before is still there.
    """
    check_free(out, overwrite=overwrite)
    table = read_scans(csv)
    plan = make_plan(table, steps)
    manifest = Manifest(
        format=FORMAT,
        bone=out.resolve().parent.name,
        phantom=(csv.resolve().parent / PHANTOM_MARK).exists(),
        specimens=table.specimens,
        states=table.states,
        recipe=plan.recipe,
        notes=plan.notes,
        scans=(),
        files=(),
    )
    with new_store(out, overwrite=overwrite) as folder:
        create_arrays(folder, manifest)
        seal(folder, manifest, _run(table, plan.recipe, folder, engine, progress))
    return SliceStore.open(out)


def prepare_scan(source: str, recipe: Recipe) -> PreparedScan:
    """Prepare one further scan as those of a store were.

    Args:
        source: A volume as `readers.open_volume` takes it; for a recipe of 2-D slices, an image, a folder of images,
        or,
            where there are several planes, a folder with one subfolder of images named after each plane.
        recipe: Of the store, or of the model, that the scan is for.

    Returns:
        The slices. Of 2-D images all are taken.

    Raises:
        ScanError: The scan cannot be read, or its grey values cannot be used.
        PreparationError: The volume is smaller than the crop, or the images are not laid out by planes.
    """
    if recipe.kind == "volumes":
        return prepare_volume(source, recipe)
    return prepare_images(_images_of(Path(source), recipe.planes), recipe, all_images=True)


@dataclass(frozen=True, kw_only=True)
class _Task:
    scan: Scan
    recipe: Recipe
    folder: Path
    csv_folder: Path
    specimen: int
    state: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Done:
    stored: StoredScan
    contents: tuple[str, ...]


def _run(
    table: ScanTable, recipe: Recipe, folder: Path, engine: Engine, progress: ProgressCallback
) -> Sequence[StoredScan]:
    tasks = [
        _Task(
            scan=scan,
            recipe=recipe,
            folder=folder.resolve(),
            csv_folder=table.csv.resolve().parent,
            specimen=table.specimens.index(scan.specimen),
            state=table.states.index(scan.state),
        )
        for scan in table.scans
    ]
    stored: list[StoredScan] = []
    owners: dict[str, str] = {}
    for outcome in engine.run(_prepare_one, tasks):
        done, scan = outcome.result(), outcome.task.scan
        for content in done.contents:
            if content in owners:
                raise ScanError(f"{table.csv}: {scan.name} and {owners[content]} hold the same voxels; correct a path")
            owners[content] = scan.name
        stored.append(done.stored)
        progress(Progress(len(stored), len(tasks), scan.name))
    return stored


def _prepare_one(task: _Task) -> _Done:
    scan = task.scan
    prepared = prepare_images(scan.images, task.recipe) if scan.images else prepare_volume(scan.source, task.recipe)
    write_slices(task.folder, task.specimen, task.state, [prepared.slices[plane] for plane in task.recipe.planes])
    record = ScanRecord(
        specimen=scan.specimen,
        state=scan.state,
        source=os.path.relpath(scan.source, task.csv_folder),
        sha256=prepared.source_sha256,
        shape=prepared.shape,
        dtype=prepared.dtype,
        bone_volume_fraction=prepared.bone_volume_fraction,
        strain=scan.strain,
        stress_mpa=scan.stress_mpa,
    )
    return _Done(stored=StoredScan(record=record, positions=prepared.positions), contents=prepared.contents)


def _images_of(source: Path, planes: Sequence[str]) -> list[SliceImage]:
    if source.is_file() and len(planes) == 1:
        return [SliceImage(plane=planes[0], position=0, path=str(source))]
    folders = {planes[0]: source} if len(planes) == 1 else {plane: source / plane for plane in planes}
    images = [
        SliceImage(plane=plane, position=position, path=str(file))
        for plane, folder in folders.items()
        if folder.is_dir()
        for position, file in enumerate(natsorted(folder.iterdir(), key=lambda file: file.name))
        if file.suffix.lower() in (".tif", ".tiff", ".npy")
    ]
    if not images:
        layout = "" if len(planes) == 1 else f" in subfolders named {', '.join(planes)}"
        raise PreparationError(f"{source}: no .tif or .npy images{layout}; give 2-D slices, as the store was made from")
    return images
