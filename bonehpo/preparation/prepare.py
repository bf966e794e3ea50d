"""Preparation: centre crop, histogram matching, 3×3×3 median, cut into slices, resize, measure; scan by scan.

Each scan is prepared by one task, which holds one cropped volume in the type of its file and writes its slices itself,
so that memory does not grow with the number of scans. When the volume is let go, measuring takes up to 90 MB.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from natsort import natsorted

from bonehpo.domain import Progress, ProgressCallback, ignore_progress, of_task
from bonehpo.engine import Engine
from bonehpo.errors import PreparationError, ScanError
from bonehpo.preparation.morphometry import Morphometry, measure, preview_cube
from bonehpo.preparation.planning import plan_preparation
from bonehpo.preparation.registration import (
    OFFSETS,
    SMALLEST_SIDE,
    STILL,
    Offset,
    Reduced,
    measure_offset,
    reduced,
    write_offsets,
)
from bonehpo.preparation.scan import (
    PreparedScan,
    cut_damage,
    filter_median,
    find_masks,
    prepare_images,
    prepare_volume,
    read_centre,
)
from bonehpo.scans.images import KINDS
from bonehpo.scans.readers import open_volume
from bonehpo.scans.table import Scan, ScanTable, SliceImage, read_scans
from bonehpo.store.building import (
    StoredScan,
    check_free,
    create_arrays,
    new_store,
    seal,
    write_preview,
    write_slices,
)
from bonehpo.store.manifest import FORMAT, Manifest, ScanRecord, is_phantom
from bonehpo.store.recipe import Recipe, Steps
from bonehpo.store.store import SliceStore


def prepare(
    csv: Path,
    out: Path,
    steps: Steps,
    engine: Engine,
    progress: ProgressCallback = ignore_progress,
    *,
    overwrite: bool = False,
    states: Sequence[str] = (),
) -> SliceStore:
    """Prepare all scans of a table into a slice store.

    Args:
        csv: The table; see `scans.read_scans`.
        out: Where the store shall be, `studies/X/slices.zarr`; the name of its folder becomes the bone's.
        steps: What to do to each scan.
        engine: Runs one task for each scan.
        progress: Told of each scan that is done.
        overwrite: Replace a store that is there already, once the new one is whole.
        states: Words for the load states, from pristine to failed, where the table has words for them.

    Returns:
        The store, opened. Its `notes` are for the user to read.

    Raises:
        ScanError: The table or a scan cannot be used.
        PreparationError: A step asks for more than the scans hold.
        StoreError: There is a store already, or the disk refuses. Whatever was there before is still there.
    """
    check_free(out, overwrite=overwrite)
    table = read_scans(csv, states)
    moves = _moves(table, engine, progress) if steps.register and table.kind == "volumes" else {}
    same_place = {scan: move for scan, move in moves.items() if move.is_same_place}
    plan = plan_preparation(table, steps, same_place, of_task(progress, "headers"))
    synthetic = is_phantom(csv)
    masks = find_masks(table) if synthetic else {}
    damage = len(masks) == len(table.scans)
    manifest = Manifest(
        format=FORMAT,
        bone=out.resolve().parent.name,
        phantom=synthetic,
        specimens=table.specimens,
        states=table.states,
        recipe=plan.recipe,
        damage=damage,
        preview_side=plan.preview_side,
        notes=(*plan.notes, *([] if damage or not masks else [_SOME_MASKS.format(len(masks), len(table.scans))])),
        scans=(),
        files=(),
        donors=tuple(table.donors.values()),
    )
    with new_store(out, overwrite=overwrite) as folder:
        create_arrays(folder, manifest)
        small = _small_volumes(folder) if steps.registration and table.kind == "volumes" else None
        stored = _run(table, _tasks(table, manifest, masks, folder, small, plan.offsets), engine, progress)
        offsets = {}
        if small:
            offsets = _offsets(table, small, engine, progress)
            shutil.rmtree(small)
        seal(folder, manifest, stored)
    store = SliceStore.open(out)
    write_offsets(out.parent / OFFSETS, store.id, offsets, plan.offsets)
    return store


def _moves(table: ScanTable, engine: Engine, progress: ProgressCallback) -> dict[Scan, Offset]:
    """Offset of every scan from the first of its specimen, of its largest centre cube, before anything is prepared."""
    with tempfile.TemporaryDirectory(prefix="bonehpo-registration-") as folder:
        small = Path(folder)
        tasks = [_Reduce(source=scan.source, file=_small_file(small, scan)) for scan in table.scans]
        for done, outcome in enumerate(engine.run(_reduce, tasks), start=1):
            outcome.result()
            progress(Progress(done, len(tasks), "reading for registration"))
        return _offsets(table, small, engine, progress)


@dataclass(frozen=True, kw_only=True)
class _Reduce:
    source: str
    file: Path


def _reduce(task: _Reduce) -> None:
    _save_reduced(task.file, _reduced_cube(task.source))


def _reduced_cube(source: str) -> Reduced:
    """The largest centre cube of a volume, filtered and in small."""
    volume = open_volume(source)
    block = read_centre(volume, min(volume.shape))
    filter_median(block)
    small = reduced(block)
    if small is None:
        size = "×".join(map(str, volume.shape))
        raise PreparationError(
            f"{source}: {size} voxels are too few to register, which takes {SMALLEST_SIDE} along each edge; go on without "
            "registration"
        )
    return small


def _small_volumes(folder: Path) -> Path:
    """Folder for what is registered; no file of it gets into the store."""
    small = folder / ".registration"
    small.mkdir()
    return small


_SOME_MASKS = "Only {} of {} scans have a mask in the folder truth: the store does not know where they are damaged."


def prepare_scan(source: str, recipe: Recipe, offset: Offset | None = None) -> PreparedScan:
    """Prepare one further scan as those of a store were.

    Args:
        source: A volume as `readers.open_volume` takes it; for a recipe of 2-D slices an image, a folder of images, or
            (where there are several planes) a folder with one subfolder of images named after each plane.
        recipe: Of the store, or of the model, that the scan is for.
        offset: From the first scan of its specimen, see `offset_from`; where the recipe's scans were registered, this one is
            laid on that, if both show the same place.

    Returns:
        The slices. Of 2-D images all are taken.

    Raises:
        ScanError: The scan cannot be read, or its intensities cannot be used.
        PreparationError: The volume is smaller than the crop, or the images are not laid out by planes.
    """
    if recipe.kind == "volumes":
        return prepare_volume(source, recipe, offset if offset and offset.is_same_place else STILL)
    return prepare_images(_images_of(Path(source), recipe.planes), recipe, all_images=True)


def offset_from(first: str, source: str) -> Offset:
    """Measure how far a scan lies from the first of its specimen.

    Args:
        first: That scan, as `readers.open_volume` takes it.
        source: The scan.

    Raises:
        ScanError: One cannot be read or is of one intensity, or their shapes differ.
        PreparationError: They are too small.
    """
    shapes = [open_volume(name).shape for name in (first, source)]
    if shapes[0] != shapes[1]:
        one, two = ("×".join(map(str, shape)) for shape in shapes)
        raise ScanError(f"{source}: {two} voxels, {first} {one}; give scans of one shape")
    offset = measure_offset(_reduced_cube(first), _reduced_cube(source))
    if offset is None:
        raise ScanError(f"{source}: it or {first} is of one intensity; replace the scan")
    return offset


@dataclass(frozen=True, kw_only=True)
class _Task:
    scan: Scan
    manifest: Manifest
    mask: Path | None
    folder: Path
    csv_folder: Path
    small: Path | None
    offset: Offset
    ends: tuple[int, int]

    @property
    def specimen(self) -> int:
        return self.manifest.specimens.index(self.scan.specimen)

    @property
    def state(self) -> int:
        return self.manifest.states.index(self.scan.state)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Done:
    stored: StoredScan
    contents: tuple[str, ...]


def _tasks(
    table: ScanTable,
    manifest: Manifest,
    masks: Mapping[Scan, Path],
    folder: Path,
    small: Path | None,
    offsets: Mapping[Scan, Offset],
) -> list[_Task]:
    return [
        _Task(
            scan=scan,
            manifest=manifest,
            mask=masks[scan] if manifest.damage else None,
            folder=folder.resolve(),
            csv_folder=table.csv.resolve().parent,
            small=small and small.resolve(),
            offset=offsets.get(scan, STILL),
            ends=table.ends(scan.specimen),
        )
        for scan in table.scans
    ]


def _run(table: ScanTable, tasks: list[_Task], engine: Engine, progress: ProgressCallback) -> Sequence[StoredScan]:
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
    scan, recipe = task.scan, task.manifest.recipe
    prepared = prepare_images(scan.images, recipe) if scan.images else prepare_volume(scan.source, recipe, task.offset)
    groups = [prepared.slices[plane] for plane in recipe.planes]
    write_slices(task.folder, "slices", task.specimen, task.state, groups)
    _write_preview(task, prepared)
    if task.small and prepared.reduced:
        _save_reduced(_small_file(task.small, scan), prepared.reduced)
    measured = _measure(prepared, recipe)
    record = ScanRecord(
        specimen=scan.specimen,
        state=scan.state,
        source=os.path.relpath(scan.source, task.csv_folder),
        sha256=prepared.source_sha256,
        shape=prepared.shape,
        dtype=prepared.dtype,
        threshold=prepared.preview.threshold if prepared.preview else None,
        bone_volume_fraction=prepared.bone_volume_fraction,
        trabecular_thickness_um=measured.trabecular_thickness_um,
        trabecular_spacing_um=measured.trabecular_spacing_um,
        degree_of_anisotropy=measured.degree_of_anisotropy,
        damage_fraction=_write_damage(task, prepared.shape),
        strain=scan.strain,
        stress_mpa=scan.stress_mpa,
        look=prepared.preview.look if prepared.preview else "",
    )
    return _Done(stored=StoredScan(record=record, positions=prepared.positions), contents=prepared.contents)


def _small_file(small: Path, scan: Scan) -> Path:
    return small / f"{hashlib.sha256(scan.name.encode()).hexdigest()}.npz"


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A scan and the first of its specimen, as small volumes."""

    scan: Scan
    first: Path
    other: Path


def _offsets(table: ScanTable, small: Path, engine: Engine, progress: ProgressCallback) -> dict[Scan, Offset]:
    """Measure the offset of every scan from the first of its specimen."""
    first = {scan.specimen: scan for scan in sorted(table.scans, key=lambda scan: -scan.state)}
    pairs = [
        _Pair(
            scan=scan,
            first=_small_file(small, first[scan.specimen]).resolve(),
            other=_small_file(small, scan).resolve(),
        )
        for scan in table.scans
        if scan != first[scan.specimen]
        and _small_file(small, scan).exists()
        and _small_file(small, first[scan.specimen]).exists()
    ]
    found: dict[Scan, Offset] = {}
    for done, outcome in enumerate(engine.run(_measure_pair, pairs), start=1):
        offset = outcome.result()
        if offset is not None:
            found[outcome.task.scan] = offset
        progress(Progress(done, len(pairs), f"registration of {outcome.task.scan.name}"))
    return {scan: found[scan] for scan in table.scans if scan in found}


def _measure_pair(pair: _Pair) -> Offset | None:
    return measure_offset(_load_reduced(pair.first), _load_reduced(pair.other))


def _save_reduced(file: Path, small: Reduced) -> None:
    np.savez(file, levels=small.levels, factor=small.factor)


def _load_reduced(file: Path) -> Reduced:
    with np.load(file) as stored:
        return Reduced(levels=stored["levels"], factor=int(stored["factor"]))


def _measure(prepared: PreparedScan, recipe: Recipe) -> Morphometry:
    seen = prepared.preview
    if seen is None or seen.threshold is None or seen.bone_volume_fraction is None:
        return Morphometry()
    return measure(seen.levels, seen.threshold, recipe.voxel_um and recipe.voxel_um * seen.factor)


def _write_preview(task: _Task, prepared: PreparedScan) -> None:
    manifest, seen = task.manifest, prepared.preview
    if seen is not None and manifest.preview_side is not None and task.scan.state in task.ends:
        place = task.ends.index(task.scan.state)
        write_preview(task.folder, task.specimen, place, preview_cube(seen.levels, manifest.preview_side))


def _write_damage(task: _Task, shape: tuple[int, ...]) -> float | None:
    """Write the truth of one scan, if it has one; the share of its slices that is damaged."""
    if task.mask is None:
        return None
    slices = cut_damage(task.mask, shape, task.manifest.recipe, task.offset)
    groups = [slices[plane] for plane in task.manifest.recipe.planes]
    write_slices(task.folder, "damage", task.specimen, task.state, groups)
    return float(np.mean(groups) / np.iinfo(np.uint8).max)


def _images_of(source: Path, planes: Sequence[str]) -> list[SliceImage]:
    if source.is_file() and len(planes) == 1:
        return [SliceImage(plane=planes[0], position=0, path=str(source))]
    folders = {planes[0]: source} if len(planes) == 1 else {plane: source / plane for plane in planes}
    images = [
        SliceImage(plane=plane, position=position, path=str(file))
        for plane, folder in folders.items()
        if folder.is_dir()
        for position, file in enumerate(natsorted(folder.iterdir(), key=lambda file: file.name))
        if file.suffix.lower() in (*KINDS, ".npy")
    ]
    if not images:
        layout = "" if len(planes) == 1 else f" in subfolders named {', '.join(planes)}"
        raise PreparationError(f"{source}: no images{layout}; give 2-D slices, as the store was made from")
    return images
