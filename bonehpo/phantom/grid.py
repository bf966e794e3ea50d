"""The voxel grid of a phantom: fields on it, its axes, and rings about the axis of rotation."""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""A scalar on the voxel grid, axes (z, y, x)."""


def centred_axis(side: int) -> Field:
    """Voxel centres along one axis, in voxels from the middle of the volume."""
    return np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)


def ring_image(side: int, faults: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rings about the axis of rotation: each detector pixel that is off leaves one.

    Args:
        side: Voxels an edge.
        faults: Of each detector pixel from the axis outwards, (side,).

    Returns:
        (1, side, side), the same at every level.
    """
    axis = centred_axis(side)
    radius = np.hypot(axis[:, None], axis)
    return np.asarray(np.interp(radius, np.arange(side), faults)[None])
