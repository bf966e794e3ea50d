"""Sections: their places in a volume, and their resizing. Pure functions over volumes (z, y, x) and images (y, x)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

Shape = tuple[int, int, int]
"""Voxels along (z, y, x)."""

Box = tuple[slice, slice, slice]
"""Ranges along (z, y, x), each with a start and a stop."""

NORMALS: Mapping[str, int] = {"XY": 0, "XZ": 1, "YZ": 2}
"""The planes of a volume, each with the axis that it is cut along: an XY image is (y, x), XZ (z, x), YZ (z, y)."""


def centred(extent: int, size: int) -> slice:
    """The range of `size` steps in the middle of `extent`; an odd remainder is left at the end.

    >>> centred(10, 5)
    slice(2, 7, None)
    """
    start = (extent - size) // 2
    return slice(start, start + size)


def centred_box(shape: Shape, side: int | None) -> Box:
    """The cube of `side` voxels in the middle of a volume, or all of it when `side` is None."""
    z, y, x = (centred(extent, extent if side is None else side) for extent in shape)
    return z, y, x


def even_positions(extent: int, n_slices: int) -> NDArray[np.int64]:
    """Cut positions: the centres of `n_slices` equal parts of `extent`, so that none lies on the border.

    >>> even_positions(100, 4).tolist()
    [12, 37, 62, 87]
    >>> even_positions(3, 3).tolist()
    [0, 1, 2]
    """
    return ((np.arange(n_slices) * 2 + 1) * extent) // (2 * n_slices)


def cut(volume: NDArray[Any], plane: str, position: int) -> NDArray[Any]:
    """One section of a volume, without a copy.

    Args:
        volume: (z, y, x).
        plane: Name of the plane, "XY", "XZ" or "YZ".
        position: Index along the axis across the plane, in voxels.
    """
    return np.moveaxis(volume, NORMALS[plane], 0)[position]


def square(image: NDArray[Any]) -> NDArray[Any]:
    """The largest square in the middle of an image."""
    side = min(image.shape)
    return image[centred(image.shape[0], side), centred(image.shape[1], side)]


def resized(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """An image of `side` × `side` pixels: linear interpolation, smoothed before it shrinks; untouched when it fits."""
    if image.shape == (side, side):
        return image
    shrinks = min(image.shape) > side
    return np.asarray(resize(image, (side, side), order=1, anti_aliasing=shrinks, preserve_range=True), np.float64)
