"""A small volume as a shaded picture: parallel rays from an oblique view, each stopped by the first bone that it meets."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

AZIMUTH_DEG, ELEVATION_DEG = 30.0, 26.0
"""By how much the volume is turned about its z axis, and from how far above it is seen."""

LIGHT = np.array([-0.62, -0.60, -0.50])
"""Towards the light in the axes of the picture, (depth, down, right): over the left shoulder."""

STEP = 0.7
"""Length of a step along a ray, in voxels; between two steps the surface is found by linear interpolation."""

SMOOTHING = 0.6
"""Standard deviation of the blur, in voxels, that takes the steps of voxels out of the surface."""

HALO = 3.0
"""Standard deviation, in voxels, of the blur that says how much bone is around a place: crevices are darker."""

EDGE_PX = 0.6
"""Standard deviation of the blur, in pixels, that takes the steps of pixels off the outlines."""

BACKGROUND = 1.0


class View(NamedTuple):
    """A picture in space.

    Attributes:
        axes: Directions of depth, down and right, each (z, y, x).
        corner: Where the first ray starts, (z, y, x) in voxels.
        steps: Length of one step along each axis, in voxels.
        shape: Steps along a ray, rows, columns.
    """

    axes: NDArray[np.float64]
    corner: NDArray[np.float64]
    steps: NDArray[np.float64]
    shape: tuple[int, int, int]

    def place(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places in the volume, (3, point), of points of the picture, (3, point)."""
        return self.corner[:, None] + self.axes.T @ (self.steps[:, None] * indices)


def render(
    volume: NDArray[np.uint8],
    threshold: float,
    side_px: int = 300,
    *,
    azimuth_deg: float = AZIMUTH_DEG,
    elevation_deg: float = ELEVATION_DEG,
) -> NDArray[np.float32]:
    """Render the bone of a volume; where the volume ends, the cut is seen as a surface.

    Args:
        volume: Grey levels, (z, y, x); z points up.
        threshold: Bone is above it.
        side_px: Side of the picture; the whole volume is within it, whichever way it is turned.
        azimuth_deg: By how much the volume is turned about z.
        elevation_deg: From how far above it is seen.

    Returns:
        Brightness, (y, x), 0 to 1; `BACKGROUND` where a ray meets no bone.
    """
    smooth = gaussian_filter(np.pad(volume.astype(np.float32), 2), SMOOTHING)
    view = oblique_view(smooth.shape, side_px, azimuth_deg, elevation_deg)
    rays = affine_transform(
        smooth, view.axes.T * view.steps, view.corner, output_shape=view.shape, order=1, prefilter=False
    )
    bone = rays > threshold
    rows, columns = np.nonzero(bone.any(axis=0))
    image = np.full(view.shape[1:], BACKGROUND, np.float32)
    if rows.size:
        at = bone.argmax(axis=0)[rows, columns]
        before, after = (rays[np.maximum(at - back, 0), rows, columns] for back in (1, 0))
        depths = at - np.where(after > before, (after - threshold) / np.maximum(after - before, 1e-6), 0)
        image[rows, columns] = _brightness(smooth, threshold, view, np.stack([depths, rows, columns]))
    return np.asarray(gaussian_filter(image, EDGE_PX), np.float32)


def oblique_view(shape: tuple[int, ...], side_px: int, azimuth_deg: float, elevation_deg: float) -> View:
    """The picture that looks at the middle of a volume from far away and holds the ball around it.

    Args:
        shape: Of the volume, (z, y, x).
        side_px: Side of the picture.
        azimuth_deg: By how much the volume is turned about z.
        elevation_deg: From how far above it is seen.
    """
    turn, rise = np.radians((azimuth_deg, elevation_deg))
    right = np.array([0.0, np.sin(turn), np.cos(turn)])
    level = np.array([0.0, np.cos(turn), -np.sin(turn)])
    up = np.array([1.0, 0.0, 0.0])
    depth = np.cos(rise) * level - np.sin(rise) * up
    down = -np.cos(rise) * up - np.sin(rise) * level
    axes = np.stack([depth, down, right])
    extent = np.abs(axes) @ np.array(shape, float)  # of the box that holds the turned volume
    across = max(extent[1:])
    steps = np.array([STEP, across / side_px, across / side_px])
    n_steps = int(np.ceil(extent[0] / STEP))
    spans = steps * (np.array([n_steps, side_px, side_px]) - 1)
    corner = (np.array(shape) - 1) / 2 - axes.T @ (spans / 2)
    return View(axes, corner, steps, (n_steps, side_px, side_px))


def _brightness(
    smooth: NDArray[np.float32], threshold: float, view: View, hits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lambert's law under one light, less in crevices, at grazing surfaces and far away; hits are (3, point)."""
    places = view.place(hits)
    slopes = np.stack([map_coordinates(part, places, order=1) for part in np.gradient(smooth)])
    normals = -slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-6)
    towards = view.axes @ normals
    lit = np.clip(LIGHT / np.linalg.norm(LIGHT) @ towards, 0, 1)
    surroundings = gaussian_filter((smooth > threshold).astype(np.float32), HALO)
    open_sky = 1 - map_coordinates(surroundings, places + HALO * normals, order=1)
    grazing = np.clip(-towards[0], 0, 1)
    far = (hits[0] - hits[0].min()) / max(float(np.ptp(hits[0])), 1.0)
    shade = 1.4 * (0.22 + 0.78 * lit) * open_sky**1.5 * (0.7 + 0.3 * grazing) * (1 - 0.45 * far)
    return np.asarray(np.clip(0.05 + 0.95 * shade, 0, 0.95))
