"""From what the user asks and the headers of the scans to a recipe, before any scan is prepared."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bonehpo.domain import Progress, ProgressCallback, ignore_progress, some_of
from bonehpo.errors import PreparationError, ScanError
from bonehpo.preparation.registration import SMALLEST_SIDE, STILL, Offset, is_shown
from bonehpo.preparation.scan import check_size, check_type, median_filtered, phases_of, read_centre
from bonehpo.scans.intensity import STANDARD_MEAN, STANDARD_SD, histogram
from bonehpo.scans.readers import Volume, open_volume, read_image
from bonehpo.scans.sections import NORMALS, Crop, Shape, centred_box, crop_in_words, extents, longer_edges
from bonehpo.scans.table import Scan, ScanTable
from bonehpo.scans.window import intensity_window
from bonehpo.store.recipe import DEFAULT_SIDE, DEFAULT_SLICES, Recipe, Steps

PREVIEW_SIDE = 64
"""Voxels along each edge of a preview, or fewer where the scans have no more."""


ALIKE = 1.001
"""Ratio of two sides of a voxel up to which they are one size."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Recipe by which the scans of a table will be prepared, and notes on it for the user.

    Attributes:
        recipe: How each scan will be prepared.
        preview_side: Voxels along each edge of the small volumes that are kept; None for 2-D slices.
        notes: One sentence each.
        offsets: Of the scans that are moved to lie on the first of their specimen.
    """

    recipe: Recipe
    preview_side: int | None
    notes: tuple[str, ...]
    offsets: Mapping[Scan, Offset] = field(default_factory=dict)


def plan_preparation(
    table: ScanTable,
    steps: Steps,
    offsets: Mapping[Scan, Offset] | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Plan:
    """Settle every step against the scans.

    Headers of all scans are read, and the voxels of the reference scan alone.

    Args:
        table: The scans.
        steps: What the user asks.
        offsets: Of scans that are to be laid on the first of their specimen, where they are known.
        progress: Told of each header, and of the reference scan.

    Raises:
        ScanError: A scan cannot be read, or does not go with the others.
        PreparationError: A step asks for more than the scans hold.
    """
    reference = _reference(table, steps.reference)
    if table.kind == "slices":
        return _plan_slices(table, steps, reference)
    volumes = {}
    for done, scan in enumerate(table.scans):
        progress(Progress(done, len(table.scans) + 1, f"header of {scan.name}"))
        volumes[scan] = open_volume(scan.source, steps.bone_is)
    progress(Progress(len(volumes), len(volumes) + 1, f"voxels of {reference.name}"))
    plan = _plan_volumes(table, steps, reference, volumes, offsets or {})
    progress(Progress(len(volumes) + 1, len(volumes) + 1, "planned"))
    return plan


def _reference(table: ScanTable, asked: str | None) -> Scan:
    if asked is None:
        return next(scan for scan in table.scans if scan.state == table.states[0])
    for scan in table.scans:
        if f"{scan.specimen}:{scan.state}" == asked:
            return scan
    raise PreparationError(f"reference {asked!r} is not in {table.csv}; give SPECIMEN:STATE, as {table.specimens[0]}:1")


def _plan_volumes(
    table: ScanTable, steps: Steps, reference: Scan, volumes: Mapping[Scan, Volume], offsets: Mapping[Scan, Offset]
) -> Plan:
    _check_shapes(volumes)
    shapes = [volume.shape for volume in volumes.values()]
    smallest = min(min(shape) for shape in shapes)
    if steps.register and steps.crop is None:
        smallest = _largest_cube([(volume, offsets.get(scan, STILL)) for scan, volume in volumes.items()], smallest)
    crop = (steps.crop or smallest) if steps.cropped else None
    for volume in sorted(volumes.values(), key=lambda volume: min(volume.shape)):
        check_size(volume, crop)
    if steps.register:
        for scan, volume in volumes.items():
            check_size(volume, crop, offsets.get(scan, STILL))
    kept = [extents(shape, crop) for shape in shapes]
    extent, frames = min(min(shape) for shape in kept), _frames(kept)
    block = read_centre(volumes[reference], crop)
    counted = histogram(block)
    recipe = Recipe(
        kind="volumes",
        crop=crop,
        match=steps.match != "none",
        median=steps.median,
        n_slices=_n_slices(steps.n_slices, extent, "sections in the smallest volume"),
        side=steps.side or min(DEFAULT_SIDE, *frames.values()),
        planes=tuple(NORMALS),
        reference=f"{reference.specimen}:{reference.state}",
        dtype=str(block.dtype),
        histogram=counted if steps.match == "histogram" else None,
        window=intensity_window(counted, block.dtype),
        voxel_um=table.voxel_um or _voxel_of_files(volumes),
        standardise=steps.standardise,
        bone_is=steps.bone_is,
        phases=phases_of(median_filtered(block, done=False), counted) if steps.match == "phases" else None,
        registered=steps.register,
        frames=frames if any(len(set(shape)) > 1 or shape != kept[0] for shape in kept) else None,
    )
    for volume in volumes.values():
        check_type(volume.source, volume.dtype, recipe)
    notes = [*table.notes, *_volume_notes(steps, shapes, recipe), *_remarks(volumes), *_voxel_notes(table, volumes)]
    if steps.registration and extent < SMALLEST_SIDE:
        notes.append(
            f"{extent} voxels along an edge are too few to measure how far scans lie apart, which takes {SMALLEST_SIDE}: "
            "see yourself that slices of one number show the same place."
        )
    if recipe.voxel_um is None:
        notes.append("Neither table nor files give voxel_um: trabecular thickness and spacing are not measured.")
    return Plan(
        recipe=recipe, preview_side=min(PREVIEW_SIDE, extent), notes=(*notes, *_standard_notes(recipe)), offsets=offsets
    )


def _largest_cube(offsets: Sequence[tuple[Volume, Offset]], smallest: int) -> int:
    """Side of the largest centre cube of the first scans that all others show as well.

    Raises:
        PreparationError: There is none: a scan lies beside the first of its specimen.
    """
    side = smallest
    for volume, offset in offsets:
        while side > 0 and not is_shown(volume.shape, centred_box(volume.shape, side), offset):
            side -= 1
        if side == 0:
            raise PreparationError(
                f"{volume.source}: shifted by {offset.distance:.1f} voxels it shows nothing of the centre of the first scan "
                "of its specimen; leave it out, or prepare without --register"
            )
    return side


def _frames(kept: Sequence[Shape]) -> dict[str, int]:
    """For each plane the longest edge of a section, of all scans: all are laid into squares of one size."""
    edges = [longer_edges(shape) for shape in kept]
    return {plane: max(edge[plane] for edge in edges) for plane in NORMALS}


def _plan_slices(table: ScanTable, steps: Steps, reference: Scan) -> Plan:
    if steps.register:
        raise PreparationError(f"{table.csv}: lists 2-D slices, which cannot be registered; leave out --register")
    planes = tuple(dict.fromkeys(image.plane for scan in table.scans for image in scan.images))
    counts = {(scan.name, plane): 0 for scan in table.scans for plane in planes}
    counts.update(Counter((scan.name, image.plane) for scan in table.scans for image in scan.images))
    (name, plane), fewest = min(counts.items(), key=lambda item: item[1])
    if fewest == 0:
        raise ScanError(f"{table.csv}: {name} has no slice in plane {plane}; add some, or remove the plane everywhere")
    intensities = [read_image(image.path, steps.bone_is).ravel() for image in reference.images]
    recipe = Recipe(
        kind="slices",
        crop=None,
        match=False,
        median=False,
        n_slices=min(steps.n_slices or fewest, fewest),
        side=steps.side or min(DEFAULT_SIDE, *(min(read_image(scan.images[0].path).shape) for scan in table.scans)),
        planes=planes,
        reference=f"{reference.specimen}:{reference.state}",
        dtype=str(intensities[0].dtype),
        histogram=None,
        window=intensity_window(histogram(np.concatenate(intensities)[None]), intensities[0].dtype),
        voxel_um=table.voxel_um,
        standardise=steps.standardise,
        bone_is=steps.bone_is,
    )
    notes = [
        "2-D slices: crop to a cube, matching of intensities and the 3×3×3 median need volumes and were skipped; "
        "bone_volume_fraction is the area fraction of the slices, and thickness, spacing and anisotropy are not measured.",
        f"Each scan gives {recipe.n_slices} slices in each plane, as many as {name} has in plane {plane}.",
    ]
    kept = notes if recipe.n_slices == fewest else notes[:1]
    return Plan(recipe=recipe, preview_side=None, notes=(*table.notes, *kept, *_standard_notes(recipe)))


def _check_shapes(volumes: Mapping[Scan, Volume]) -> None:
    first: dict[str, tuple[Scan, Shape]] = {}
    for scan, volume in volumes.items():
        other, shape = first.setdefault(scan.specimen, (scan, volume.shape))
        if volume.shape != shape:
            raise ScanError(
                f"{volume.source}: {scan.name} has shape {volume.shape}, state {other.state} has {shape}; "
                "register all states of a specimen to one grid"
            )


def _voxel_of_files(volumes: Mapping[Scan, Volume]) -> float | None:
    """Side of a voxel in µm that all files tell alike, to a thousandth; None otherwise."""
    told = [volume.voxel_um for volume in volumes.values()]
    known = [side for side in told if side is not None]
    return known[0] if len(known) == len(told) and max(known) < ALIKE * min(known) else None


def _voxel_notes(table: ScanTable, volumes: Mapping[Scan, Volume]) -> list[str]:
    """Notes where table and files tell different voxels, or files do among themselves."""
    told = {scan: volume.voxel_um for scan, volume in volumes.items() if volume.voxel_um is not None}
    if not told:
        return []
    low, high = min(told, key=lambda scan: told[scan] or 0), max(told, key=lambda scan: told[scan] or 0)
    if (told[high] or 0) > ALIKE * (told[low] or 0):
        return [
            f"Files tell different voxels: {told[low]:g} µm in {low.name}, {told[high]:g} µm in {high.name}. Scans of one "
            "study need one size: resample them."
        ]
    if table.voxel_um and not told[low] / ALIKE < table.voxel_um < told[low] * ALIKE:
        return [
            f"The table gives voxel_um {table.voxel_um:g}, the file of {low.name} {told[low]:g}: the table is believed."
        ]
    return []


def _remarks(volumes: Mapping[Scan, Volume]) -> list[str]:
    """Remarks of the files, each once for all scans that it is made of."""
    names: dict[str, list[str]] = {}
    for scan, volume in volumes.items():
        for remark in volume.remarks:
            names.setdefault(remark, []).append(scan.name)
    return [f"{some_of(found, 1)}: {remark}" for remark, found in names.items()]


def _n_slices(asked: int | None, extent: int, what: str) -> int:
    if asked is not None and asked > extent:
        raise PreparationError(f"--slices {asked} is more than the {extent} {what}; give --slices {extent} or less")
    return asked or min(DEFAULT_SLICES, extent)


def _standard_notes(recipe: Recipe) -> list[str]:
    return [_STANDARDISED] if recipe.standardise else []


_STANDARDISED = (
    f"Each slice was given mean {STANDARD_MEAN:g} and standard deviation {STANDARD_SD:g} intensity levels: level and "
    "contrast tell nothing any more, neither of the scanner nor of the bone."
)


LITTLE = 1 / 3
"""Share of its voxels, of fewer of which a crop leaves a scan less than its user may think."""


def _volume_notes(steps: Steps, shapes: list[Shape], recipe: Recipe) -> list[str]:
    skipped = [
        name
        for name, taken in (
            ("crop", steps.cropped),
            ("matching of intensities", steps.match != "none"),
            ("median filter", steps.median),
        )
        if not taken
    ]
    notes = [f"Skipped as asked: {', '.join(skipped)}."] if skipped else []
    if recipe.crop is not None:
        notes += _kept(shapes, recipe.crop)
    if recipe.frames is not None:
        frames = " and ".join(map(str, sorted(set(recipe.frames.values()))))
        notes.append(
            f"Sections that are no squares are laid into squares of {frames} voxels, black around them: none is squeezed."
        )
    return notes


def _kept(shapes: Sequence[Shape], crop: Crop) -> list[str]:
    """Share of each scan that the crop keeps, least first; nothing where it keeps all."""
    shares = {shape: math.prod(extents(shape, crop)) / math.prod(shape) for shape in dict.fromkeys(shapes)}
    if all(share == 1 for share in shares.values()):
        return []
    least, most = min(shares, key=lambda shape: shares[shape]), max(shares, key=lambda shape: shares[shape])
    share = f"{shares[least]:.0%}"
    if f"{shares[most]:.0%}" != share:
        share += f" to {shares[most]:.0%}"
    told = f"{' × '.join(map(str, least))} voxels → {crop_in_words(crop)}: {share} of each scan."
    if shares[least] >= LITTLE:
        return [told]
    widest = ",".join(str(min(lengths)) for lengths in zip(*shapes, strict=True))
    return [f"Caution: {told} --crop {widest} would keep all that every scan holds."]
