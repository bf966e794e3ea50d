"""Polarity and phases of a prepared scan: what is bone, what is air around it, and whether there are two phases at all.

Bone is one piece of solid. In trabecular bone the struts are a network, and so is the marrow; in cortical bone the canals
lie apart from one another. So bright voxels that lie apart in the dark are canals of dark bone, and dark ones that form a
network are struts of dark bone. Air around a specimen is dark. How often that is right: docs/explanation/polarity.md.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum_filter1d
from skimage.filters import threshold_multiotsu
from skimage.morphology import convex_hull_image

Look = Literal["", "one phase", "binary", "dark bone", "metal"]
"""What is odd about a scan: nothing, noise about one intensity, two levels alone, bone that is darker than the rest, or
voxels that are far brighter than bone."""

BAR, ALL = 0.05, 0.98
"""Width of the bars at the edges of a volume in parts of its shortest side, and the share of each that is air."""

NETWORK, APART = 0.95, 0.5
"""Share of a phase that lies in its largest piece, from which on it is a network, and below which it lies apart."""

FEW, HALF = 0.12, 0.45
"""Share of dark voxels that struts have at least, and of a phase above which neither says anything."""

SPECK = 0.001
"""Share of the bone that a piece must have to belong to the specimen."""

WIDEST = 0.8
"""Share of a volume that a specimen in air takes at most: a machined cylinder that touches all sides takes 0.79."""

NEAR = 0.15
"""Share of the sections that lie on either side of one and tell its outline too: where struts end in air, few reach it."""


def is_binary(counts: NDArray[np.int64]) -> bool:
    """True if a volume has two levels alone."""
    return int(np.count_nonzero(counts)) == 2


def has_dark_bone(levels: NDArray[np.uint8], threshold: int) -> bool:
    """True if bone looks darker than what is around it; False also where there is no telling.

    Args:
        levels: A pristine scan, filtered and in small, (z, y, x).
        threshold: Otsu's.
    """
    bright = levels > threshold
    if air_axis(bright) is not None:
        return False
    share = float(bright.mean())
    if air_axis(~bright) is not None or FEW <= 1 - share < HALF:
        return _largest_piece(~bright) >= NETWORK and 1 - share >= FEW
    return 0 < share < HALF and _largest_piece(bright) < APART


def specimen_in_air(levels: NDArray[np.uint8], threshold: int) -> NDArray[np.bool_] | None:
    """Region of a specimen that has air around it: in each section the convex hull of what is brighter than air.

    Args:
        levels: A filtered scan in small, (z, y, x).
        threshold: Otsu's.

    Returns:
        True within the specimen, (z, y, x); None where no air is found around one.
    """
    axis = air_axis(levels > threshold)
    if axis is None:
        return None
    counts = np.bincount(levels.ravel())
    if np.count_nonzero(counts) >= 3:  # where marrow is brighter than air, it belongs to the specimen
        lower = int(threshold_multiotsu(hist=(counts, np.arange(len(counts))), classes=3)[0])
        threshold = lower if air_axis(levels > lower) == axis else threshold
    solid = levels > threshold
    pieces, n = label(solid)
    sizes = np.bincount(pieces.ravel(), minlength=n + 1)
    sizes[0] = 0
    sections = np.moveaxis((sizes >= SPECK * sizes.sum())[pieces], axis, 0)
    near = maximum_filter1d(sections, 2 * round(NEAR * len(sections)) + 1, axis=0)
    hulls = [convex_hull_image(section) if section.any() else section for section in near]
    found = np.moveaxis(np.array(hulls), 0, axis)
    return found if found.mean() <= WIDEST else None


def air_axis(bright: NDArray[np.bool_]) -> int | None:
    """The axis along which all four edges of a volume are dark: air lies around the specimen. None without one."""
    width = max(2, round(BAR * min(bright.shape)))
    for axis in range(3):
        along = np.moveaxis(bright, axis, 0)
        ends = (slice(None, width), slice(-width, None))
        if all(along[:, rows, columns].mean() <= 1 - ALL for rows in ends for columns in ends):
            return axis
    return None


def _largest_piece(phase: NDArray[np.bool_]) -> float:
    """Share of a phase that lies in its largest piece, neighbours sharing a face."""
    pieces, _ = label(phase)
    sizes = np.bincount(pieces.ravel())[1:]
    return float(sizes.max() / sizes.sum()) if len(sizes) else 0.0
