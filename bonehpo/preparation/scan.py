"""One scan, prepared by a recipe: cropped, matched, filtered by the 3×3×3 median, cut; and the truth of a phantom likewise.

It takes 13 ns a voxel of 16 bit on one core, where `scipy.ndimage.median_filter`, with the same result, takes 343.
Neighbouring windows share most of their voxels, so the sorting is shared: three voxels along z are sorted once, three
such triples along y are merged once to nine sorted voxels, and each window is three such nines along x. Every step
takes minima and maxima of whole sections, which numpy computes many voxels at a time.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import PreparationError, ScanError
from bonehpo.preparation.morphometry import Preview, condense, fraction_above, otsu, specimen_mask
from bonehpo.preparation.registration import STILL, Offset, Reduced, is_shown, laid_on_first, reduced, wide_box
from bonehpo.scans.intensity import (
    LEVELS,
    Histogram,
    IntensityMap,
    Window,
    histogram,
    levels,
    matching,
    standardised,
)
from bonehpo.scans.phases import BoneRule, Phases, find_phases, matched_by_phases
from bonehpo.scans.readers import Volume, open_volume, read_image
from bonehpo.scans.sections import (
    NORMALS,
    Box,
    Crop,
    centred_box,
    crop_in_words,
    cut,
    even_positions,
    extents,
    framed,
    resized,
    square,
)
from bonehpo.scans.table import Scan, ScanTable, SliceImage
from bonehpo.scans.window import FEW, far_above, scan_window
from bonehpo.store.recipe import Recipe

Sections = NDArray[Any]


def filter_median(volume: NDArray[Any]) -> None:
    """Replace a volume by its 3×3×3 median; beyond the border, voxels repeat, as with scipy's default mode.

    Args:
        volume: Intensities, (z, y, x), without NaN. Beside it, memory for about 30 sections is used.
    """
    below = volume[0].copy()
    for z in range(len(volume)):
        at, above = volume[z].copy(), volume[min(z + 1, len(volume) - 1)]
        volume[z] = _median_of_sections(*(np.pad(section, 1, mode="edge") for section in (below, at, above)))
        below = at


def median_filtered(volume: NDArray[Any], *, done: bool) -> NDArray[Any]:
    """A volume after the 3×3×3 median: itself where that is done already, else a filtered copy."""
    if done:
        return volume
    copy = volume.copy()
    filter_median(copy)
    return copy


def _median_of_sections(below: Sections, at: Sections, above: Sections) -> Sections:
    """The median of each window of 3 sections × 3 rows × 3 columns; one row and one column less at every side.

    The three nines of a window, A, B and C, are sorted crosswise: row r of a 9 × 3 table holds the smallest, the middle
    and the largest of A[r], B[r] and C[r]. Then an entry has at least r × c entries not above it and (10 - r)(4 - c)
    not below it (itself included, r and c counted from 1); where either exceeds 14 of the 27, it cannot be the median.
    That leaves 13 candidates, with as many excluded below as above, and the median is the seventh of them.
    """
    triple = _sorted3(below, at, above)
    first, second, third = ([part[i : len(part) - 2 + i] for part in triple] for i in range(3))
    six = [_kth(first, second, k) for k in range(1, 7)]
    nine = [_kth(six, third, k) for k in range(1, 10)]
    width = at.shape[1] - 2
    table = [_sorted3(*(part[:, i : i + width] for i in range(3))) for part in nine]
    low, middle, high = ([row[c] for row in table[rows]] for c, rows in enumerate(_CANDIDATE_ROWS))
    outer = [_kth(low, high, k) for k in range(1, 9)]
    return _kth(middle, outer, 7)


_CANDIDATE_ROWS = (slice(5, 9), slice(2, 7), slice(0, 4))


def _sorted3(a: Sections, b: Sections, c: Sections) -> tuple[Sections, Sections, Sections]:
    small, large = np.minimum(a, b), np.maximum(a, b)
    between = np.minimum(large, c)
    return np.minimum(small, between), np.maximum(small, between), np.maximum(large, c)


def _kth(a: Sequence[Sections], b: Sequence[Sections], k: int) -> Sections:
    """The k-th smallest, from 1, of two sorted lists: the least, over i + j = k, of the larger of a's i-th and b's j-th."""
    largest = []
    for i in range(max(0, k - len(b)), min(k, len(a)) + 1):
        ends = [part[count - 1] for part, count in ((a, i), (b, k - i)) if count]
        largest.append(functools.reduce(np.maximum, ends))
    return functools.reduce(np.minimum, largest)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedScan:
    """The slices of one scan and what was learnt on the way.

    Attributes:
        slices: For each plane, intensity levels (slice, y, x).
        positions: For each plane, where its slices were cut: the index in the whole source volume, or the position that
            a 2-D slice table gives.
        bone_volume_fraction: Voxels above Otsu's threshold in the filtered volume, before matching; pixels in 2-D slices.
        source_sha256: Hash of the voxels after the crop, or of all images, as they were read.
        contents: Hashes that no two scans may share: that of the volume, or of each image.
        shape: Voxels of the whole source along (z, y, x); empty for 2-D slices.
        dtype: Intensity type of the source.
        preview: The filtered volume in small, before matching; None for 2-D slices.
        reduced: The same for registration; None for 2-D slices, and where it is too small.
    """

    slices: Mapping[str, NDArray[np.uint8]]
    positions: Mapping[str, NDArray[np.float64]]
    bone_volume_fraction: float | None
    source_sha256: str
    contents: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    preview: Preview | None
    reduced: Reduced | None = None


def prepare_volume(source: str, recipe: Recipe, offset: Offset = STILL) -> PreparedScan:
    """Prepare one volume: crop, match, filter, register, cut, resize.

    Memory peaks at the cropped volume in the type of its file plus a few sections; twice that where scans are matched by
    phases and not filtered, and with two copies of 4 bytes a voxel beside it where they are registered. What is measured of
    the bone is measured before matching: matching of histograms gives each scan the reference's share of bright voxels,
    whatever bone it holds.

    Args:
        source: What `readers.open_volume` takes.
        recipe: Of the store, or of the model, that the scan is for.
        offset: From the first scan of its specimen, for a recipe of registered scans.

    Raises:
        ScanError: The scan cannot be read, or its intensities cannot be used.
        PreparationError: The volume is smaller than the crop, or does not show all that the crop shows of the first scan.
    """
    volume = open_volume(source, recipe.bone_is)
    check_type(source, volume.dtype, recipe)
    box = centred_box(volume.shape, recipe.crop)
    read = box
    if recipe.registered:
        check_size(volume, recipe.crop, offset)
        read = wide_box(volume.shape, box, offset)
    block = read_box(volume, recipe.crop, read)
    digest = content_hash(block)
    own = histogram(block) if recipe.match else None
    to_level = levels(recipe.window, matching(own, recipe.histogram) if own and recipe.histogram else None)
    if recipe.median:
        filter_median(block)
    if own and recipe.phases:
        phases = phases_of(median_filtered(block, done=recipe.median), own, recipe.phases.rule)
        to_level = levels(recipe.window, matched_by_phases(own, phases, recipe.phases, recipe.window))
    if recipe.registered:
        block = laid_on_first(block, volume.shape, read, box, offset)
    small = reduced(block)
    seen = condense(block, levels(scan_window(own, block.dtype) if own else recipe.window))
    if own and not seen.look and far_above(own) >= FEW:
        seen = replace(seen, look="metal")
    if block.dtype.kind == "f":  # interpolation is slow: once here, and not for each plane
        for section in block:
            section[...] = to_level(section)
        to_level = levels(Window(low=0, high=LEVELS - 1))
    cuts = {plane: even_positions(block.shape[NORMALS[plane]], recipe.n_slices) for plane in recipe.planes}
    return PreparedScan(
        slices={plane: cut_slices(block, plane, to_level, recipe) for plane in recipe.planes},
        positions={plane: np.add(at, box[NORMALS[plane]].start, dtype=np.float64) for plane, at in cuts.items()},
        bone_volume_fraction=seen.bone_volume_fraction,
        source_sha256=digest,
        contents=(digest,),
        shape=volume.shape,
        dtype=str(volume.dtype),
        preview=seen,
        reduced=small,
    )


def phases_of(filtered: NDArray[Any], raw: Histogram, rule: BoneRule = "inside") -> Phases:
    """The phases of a scan; where air lies around the specimen, those of the specimen.

    Args:
        filtered: Intensities after the median, (z, y, x).
        raw: Histogram of the same before it.
        rule: Which intensity is bone's.
    """
    within = specimen_mask(filtered, levels(scan_window(raw, filtered.dtype))) if rule == "inside" else None
    return find_phases(filtered, rule, within)


def prepare_images(images: Sequence[SliceImage], recipe: Recipe, *, all_images: bool = False) -> PreparedScan:
    """Prepare 2-D slices of one scan: those nearest to evenly spaced, cut to a centred square, resized.

    Args:
        images: Of one plane or several; each plane that occurs becomes an entry of the result.
        recipe: Of the store, or of the model, that the slices are for.
        all_images: Take every image, and not only the recipe's `n_slices` of each plane.

    Raises:
        ScanError: An image cannot be read, or is of one intensity.
    """
    slices, positions, contents = {}, {}, []
    to_level, counts = levels(recipe.window), np.zeros(LEVELS, np.int64)
    for plane in dict.fromkeys(image.plane for image in images):
        members = [image for image in images if image.plane == plane]
        wanted = len(members) if all_images else recipe.n_slices
        chosen = [members[i] for i in even_positions(len(members), wanted)]
        stack = np.empty((len(chosen), recipe.side, recipe.side), np.uint8)
        for level, image in zip(stack, chosen, strict=True):
            pixels = read_image(image.path, recipe.bone_is)
            _check_intensities(image.path, pixels)
            check_type(image.path, pixels.dtype, recipe)
            contents.append(content_hash(pixels))
            intensities = resized(to_level(square(pixels)), recipe.side)
            counts += np.bincount(np.rint(intensities).astype(np.intp).ravel(), minlength=LEVELS)
            level[...] = _rounded(intensities, recipe)
        slices[plane], positions[plane] = stack, np.array([image.position for image in chosen], np.float64)
    return PreparedScan(
        slices=slices,
        positions=positions,
        bone_volume_fraction=fraction_above(counts, otsu(counts)),
        source_sha256=hashlib.sha256("".join(contents).encode()).hexdigest(),
        contents=tuple(contents),
        shape=(),
        dtype=recipe.dtype,
        preview=None,
    )


def read_centre(volume: Volume, crop: Crop) -> NDArray[Any]:
    """Read what a crop leaves of a volume, and check its intensities.

    Raises:
        PreparationError: The volume is smaller than the crop.
        ScanError: It cannot be read, holds NaN or infinite values, or is of one intensity.
    """
    return read_box(volume, crop, centred_box(volume.shape, crop))


def read_box(volume: Volume, crop: Crop, box: Box) -> NDArray[Any]:
    """Read a box of a volume that holds a crop, and check its intensities.

    Raises:
        PreparationError: The volume is smaller than the crop.
        ScanError: It cannot be read, holds NaN or infinite values, or is of one intensity.
    """
    check_size(volume, crop)
    block = volume.read(box)
    _check_intensities(volume.source, block)
    return block


def check_size(volume: Volume, crop: Crop, offset: Offset | None = None) -> None:
    """Refuse a volume that is smaller than the crop.

    Args:
        volume: The volume.
        crop: What is to be cut out.
        offset: From the first scan, where it is to be laid on that.

    Raises:
        PreparationError: It is, or does not show all that the crop shows of the first scan.
    """
    wanted = extents(volume.shape, crop)
    if any(extent < size for extent, size in zip(volume.shape, wanted, strict=True)):
        size = "×".join(map(str, volume.shape))
        if isinstance(crop, int):
            asked, fits = str(crop), str(min(volume.shape))
        else:
            asked = "×".join(map(str, wanted))
            fits = ",".join(str(min(pair)) for pair in zip(volume.shape, wanted, strict=True))
        raise PreparationError(
            f"{volume.source}: {size} voxels are fewer than the crop of {asked}; prepare with --crop {fits} or less"
        )
    if offset is not None and not is_shown(volume.shape, centred_box(volume.shape, crop), offset):
        raise PreparationError(
            f"{volume.source}: shifted by {offset.distance:.1f} voxels and turned by {offset.turn_deg:.1f}° it does not "
            f"show all of {crop_in_words(crop)} of the first scan; prepare with a smaller --crop"
        )


def check_type(source: str, dtype: np.dtype[Any], recipe: Recipe) -> None:
    """Refuse a scan whose intensities cannot be compared with those of the reference.

    Args:
        source: Name of the scan, for the refusal.
        dtype: Its intensity type.
        recipe: By which it is prepared.

    Raises:
        ScanError: Its type differs and intensities are not matched.
    """
    if not recipe.match and dtype != recipe.dtype:
        raise ScanError(
            f"{source}: holds {dtype}, the reference {recipe.reference} {recipe.dtype}; "
            "without matching all scans need one intensity type"
        )


def cut_slices(volume: NDArray[Any], plane: str, to_level: IntensityMap, recipe: Recipe) -> NDArray[np.uint8]:
    """Cut a prepared volume into the slices of one plane: evenly spaced, resized and, if the recipe says so, standardised.

    Args:
        volume: Intensities, (z, y, x).
        plane: Name of the plane.
        to_level: Map to levels 0 to 255.
        recipe: Number and size of the slices, standardised or not.

    Returns:
        Intensity levels, (slice, y, x).
    """
    positions = even_positions(volume.shape[NORMALS[plane]], recipe.n_slices)
    slices = np.empty((len(positions), recipe.side, recipe.side), np.uint8)
    for level, position in zip(slices, positions, strict=True):
        section = to_level(cut(volume, plane, position))
        whole = section if recipe.frames is None else framed(section, recipe.frames[plane])
        level[...] = _rounded(resized(whole, recipe.side), recipe)
    return slices


def _rounded(image: NDArray[np.float64], recipe: Recipe) -> NDArray[np.float64]:
    """Levels of one slice as they are stored."""
    return np.rint(np.clip(standardised(image), 0, LEVELS - 1) if recipe.standardise else image)


def content_hash(voxels: NDArray[Any]) -> str:
    """SHA-256 over type, shape and intensities: equal for the same scan in another file format."""
    digest = hashlib.sha256(f"{voxels.dtype} {voxels.shape} ".encode())
    digest.update(np.ascontiguousarray(voxels).data)
    return digest.hexdigest()


def _check_intensities(source: str, voxels: NDArray[Any]) -> None:
    low, high = voxels.min(), voxels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ScanError(f"{source}: holds NaN or infinite intensities; reconstruct it again, or crop them away")
    if low == high:
        raise ScanError(f"{source}: every intensity is {low}; replace the scan")


TRUTH_FOLDER = "truth"
"""Folder beside scans.csv that holds a mask for each scan of a phantom, 255 where the bone is damaged."""


def mask_file(folder: Path, specimen: str, state: int) -> Path:
    """Path of the truth mask of one scan of a phantom.

    Args:
        folder: That of scans.csv.
        specimen: Name of the specimen.
        state: Number of the load state.
    """
    return folder / TRUTH_FOLDER / specimen / f"state_{state:02d}.tif"


def find_masks(table: ScanTable) -> Mapping[Scan, Path]:
    """The mask of each scan of a phantom that has one.

    Args:
        table: Of volumes; slices of a 2-D table have no masks.
    """
    if table.kind == "slices":
        return {}
    folder = table.csv.resolve().parent
    files = {scan: mask_file(folder, scan.specimen, scan.state) for scan in table.scans}
    return {scan: file for scan, file in files.items() if file.is_file()}


def cut_damage(
    mask: Path, shape: tuple[int, ...], recipe: Recipe, offset: Offset = STILL
) -> Mapping[str, NDArray[np.uint8]]:
    """Cut a mask where the scan was cut, and give it the size of the slices.

    Args:
        mask: uint8 volume, 255 where the bone is damaged and 0 elsewhere.
        shape: Of the whole scan, (z, y, x).
        recipe: How the scan was prepared; its crop, positions and side count here.
        offset: Of the scan from the first of its specimen, for a recipe of registered scans.

    Returns:
        For each plane, (slice, y, x); a pixel's value / 255 is the share of it that is damaged.

    Raises:
        ScanError: The mask cannot be read, or does not fit the scan.
    """
    volume = open_volume(str(mask))
    if volume.shape != shape or volume.dtype != np.uint8:
        raise ScanError(
            f"{mask}: holds {volume.dtype} {volume.shape}, its scan is {shape}; "
            "make the phantom again, or remove its folder truth"
        )
    check_size(volume, recipe.crop)
    box = centred_box(volume.shape, recipe.crop)
    if recipe.registered:
        read = wide_box(volume.shape, box, offset)
        block = laid_on_first(volume.read(read), volume.shape, read, box, offset, order=1)
    else:
        block = volume.read(box)
    plain = replace(recipe, standardise=False)
    as_they_are = levels(Window(low=0, high=LEVELS - 1))
    return {plane: cut_slices(block, plane, as_they_are, plain) for plane in recipe.planes}
