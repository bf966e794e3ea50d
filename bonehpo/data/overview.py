"""A filtered volume in small: Otsu's threshold, the bone volume fraction, and levels in few enough voxels to measure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.transform import resize

from bonehpo.data.histograms import LEVELS, GreyMap

MEASURED_SIDE = 128
"""Voxels along the longest edge of a volume that is measured; a larger one is reduced by a whole number first. Of a human
core of 200³ voxels of 19.5 µm, at half its resolution, thickness came out as 261 instead of 238 µm, spacing as 848
instead of 831 µm, anisotropy as 0.53 instead of 0.49, in a sixth of the time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Overview:
    """What one pass over a filtered volume leaves.

    Attributes:
        bone_volume_fraction: Voxels above Otsu's threshold, as a fraction.
        threshold: Otsu's threshold on the 256 levels; None when there is but one level.
        levels: Means of blocks of `factor` voxels a side, rounded, (z, y, x); what is over at an end is left out.
        factor: The smallest whole number that leaves `MEASURED_SIDE` or fewer.
    """

    bone_volume_fraction: float
    threshold: int | None
    levels: NDArray[np.uint8]
    factor: int


def overview(volume: NDArray[Any], to_level: GreyMap) -> Overview:
    """Look at each section of a volume once; beside the result, memory for a few sections is used.

    Args:
        volume: Grey values, (z, y, x).
        to_level: To levels 0 to 255, not yet rounded.
    """
    factor = -(-max(volume.shape) // MEASURED_SIDE)
    sums = np.zeros([max(1, extent // factor) for extent in volume.shape], np.float32)
    counts = np.zeros(LEVELS, np.int64)
    for z, section in enumerate(volume):
        levels = np.rint(to_level(section))
        counts += np.bincount(levels.astype(np.intp).ravel(), minlength=LEVELS)
        if z // factor < len(sums):
            sums[z // factor] += _block_means(levels, factor)
    depth = min(factor, len(volume))
    threshold = otsu(counts)
    return Overview(
        bone_volume_fraction=fraction_above(counts, threshold),
        threshold=threshold,
        levels=np.rint(sums / depth).astype(np.uint8),
        factor=factor,
    )


def otsu(counts: NDArray[np.int64]) -> int | None:
    """Otsu's threshold of a histogram of levels; None when there is but one level.

    References:
        Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62, doi:10.1109/TSMC.1979.4310076.
    """
    if np.count_nonzero(counts) < 2:
        return None
    return int(threshold_otsu(hist=(counts, np.arange(LEVELS))))


def fraction_above(counts: NDArray[np.int64], threshold: int | None) -> float:
    """The fraction of voxels whose level is above a threshold; 0 where there is none."""
    return 0.0 if threshold is None else float(counts[threshold + 1 :].sum() / counts.sum())


def preview(levels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A volume as a cube of `side` voxels an edge: linear interpolation, smoothed before it shrinks.

    Args:
        levels: Grey levels, (z, y, x); what is not a cube is stretched to one, as its slices are to squares.
        side: Voxels along each edge of the result.
    """
    if levels.shape == (side, side, side):
        return levels
    shrinks = min(levels.shape) > side
    cube = resize(levels.astype(np.float32), (side,) * 3, order=1, anti_aliasing=shrinks, preserve_range=True)
    return np.asarray(np.rint(cube), np.uint8)


def _block_means(section: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    rows, columns = (min(factor, extent) for extent in section.shape)
    shape = section.shape[0] // rows, section.shape[1] // columns
    blocks = section[: shape[0] * rows, : shape[1] * columns].reshape(shape[0], rows, shape[1], columns)
    return np.asarray(blocks.mean(axis=(1, 3)))
