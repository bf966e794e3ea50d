"""The truth of phantoms: which voxels are damaged, cut into slices as the scans themselves are."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bonehpo.data.histograms import LEVELS, Window, levels
from bonehpo.data.prepared import check_size, cut_slices
from bonehpo.data.readers import open_volume
from bonehpo.data.recipe import Recipe
from bonehpo.data.scans import Scan, ScanTable
from bonehpo.data.sections import centred_box
from bonehpo.errors import ScanError

TRUTH_FOLDER = "truth"
"""Folder beside scans.csv that holds a mask for each scan of a phantom, 255 where the bone is damaged."""


def mask_file(folder: Path, specimen: str, state: int) -> Path:
    """Where the mask of one scan lies, `folder` being that of scans.csv."""
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


def cut_damage(mask: Path, shape: tuple[int, ...], recipe: Recipe) -> Mapping[str, NDArray[np.uint8]]:
    """Cut a mask where the scan was cut, and give it the size of the slices.

    Args:
        mask: uint8 volume, 255 where the bone is damaged and 0 elsewhere.
        shape: Of the whole scan, (z, y, x).
        recipe: How the scan was prepared; its crop, positions and side count here.

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
    block = volume.read(centred_box(volume.shape, recipe.crop))
    plain = replace(recipe, standardise=False)
    as_they_are = levels(Window(low=0, high=LEVELS - 1))
    return {plane: cut_slices(block, plane, as_they_are, plain) for plane in recipe.planes}
