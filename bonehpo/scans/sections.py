"""Sections: their places in a volume, and their resizing. Pure functions over volumes (z, y, x) and images (y, x)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

Shape = tuple[int, int, int]
"""Voxels along (z, y, x)."""

Crop = int | Shape | None
"""What is cut out of the middle of a volume: a cube of this side, voxels along (z, y, x), or all of it."""

Box = tuple[slice, slice, slice]
"""Ranges along (z, y, x), each with a start and a stop."""

NORMALS: Mapping[str, int] = {"XY": 0, "XZ": 1, "YZ": 2}
"""The planes of a volume, each with the axis that it is cut along: an XY image is (y, x), XZ (z, x), YZ (z, y)."""


def is_volume(shape: tuple[int, ...]) -> bool:
    """True if an array of this shape is a volume: it has three axes, beside axes of length 1."""
    return sum(extent > 1 for extent in shape) == 3


def centred(extent: int, size: int) -> slice:
    """The range of `size` steps in the middle of `extent`; an odd remainder is left at the end.

    >>> centred(10, 5)
    slice(2, 7, None)
    """
    start = (extent - size) // 2
    return slice(start, start + size)


def extents(shape: Shape, crop: Crop) -> Shape:
    """Voxels along (z, y, x) of a volume of some shape, once it is cropped."""
    if crop is None:
        return shape
    return (crop, crop, crop) if isinstance(crop, int) else crop


def crop_in_words(crop: Crop) -> str:
    """The crop in words.

    >>> crop_in_words(110)
    'the centre cube of 110 voxels'
    >>> crop_in_words((110, 450, 450))
    'the centre 110 × 450 × 450 voxels'
    """
    if crop is None:
        return "all of it"
    return f"the centre cube of {crop} voxels" if isinstance(crop, int) else f"the centre {_times(crop)} voxels"


def _times(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def centred_box(shape: Shape, crop: Crop) -> Box:
    """The part in the middle of a volume that a crop leaves."""
    z, y, x = (centred(extent, size) for extent, size in zip(shape, extents(shape, crop), strict=True))
    return z, y, x


def longer_edges(shape: Shape) -> dict[str, int]:
    """For each plane of a volume, voxels along the longer edge of its sections.

    >>> longer_edges((110, 450, 300))
    {'XY': 450, 'XZ': 300, 'YZ': 450}
    """
    return {plane: max(shape[axis] for axis in range(3) if axis != normal) for plane, normal in NORMALS.items()}


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


def framed(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """An image in the middle of a square of `side` pixels: cut where it is larger, with zeros around where it is smaller."""
    rows, columns = (centred(extent, min(extent, side)) for extent in image.shape)
    frame = np.zeros((side, side), image.dtype)
    kept = image[rows, columns]
    frame[centred(side, kept.shape[0]), centred(side, kept.shape[1])] = kept
    return frame


def resized(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """An image of `side` × `side` pixels: linear interpolation, smoothed before it shrinks; untouched when it fits."""
    if image.shape == (side, side):
        return image
    shrinks = min(image.shape) > side
    return np.asarray(resize(image, (side, side), order=1, anti_aliasing=shrinks, preserve_range=True), np.float64)
