"""A handful of numbers for each slice that cannot see a crack: intensity, noise away from edges, background.

Models on these numbers alone are the shortcuts that an audit looks for. Bone is what lies above Otsu's threshold of all
slices of a scan, slightly smoothed; pixels near its edges, where cracks are too, are left out of all but the intensity
levels.

References:
    Immerkær, Fast noise variance estimation, Comput. Vis. Image Underst. 64 (1996) 300, doi:10.1006/cviu.1996.0060: the
    high-pass kernel, which answers neither to a slope nor to a straight edge along an axis.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter, minimum_filter1d

from bonehpo.preparation.morphometry import otsu
from bonehpo.scans.intensity import LEVELS
from bonehpo.scans.sections import even_positions
from bonehpo.store.store import SliceStore

Features = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""For each model of `KINDS`, for each plane of a scan, the numbers (slice, feature); NaN where there are too few pixels."""

KINDS = {
    "intensity levels": "mean, spread and seven percentiles of all intensity levels",
    "noise outside bone": "fine texture of pixels outside bone, away from its edges",
    "noise inside bone": "fine texture of pixels inside bone, away from its edges",
    "background": "intensity levels of pixels outside bone, away from its edges",
}
"""Features that each model looks at."""

MARGIN = 3
"""Pixels from the edge of bone that are left out."""

LEAST = 64
"""Pixels that a slice needs in a region; of fewer nothing is measured."""

MOST, MOST_LOADED = 60, 20
"""Slices of one scan and plane that are measured, evenly spaced, as their neighbours look alike and say nothing new: of the
pristine and failed ones, and of those between, of which there are many."""

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0], np.float32)


def scan_features(store: SliceStore, specimen: str, state: int) -> Features:
    """The numbers of up to `MOST` slices of each plane of one scan, or `MOST_LOADED` if it is neither pristine nor failed.

    Args:
        store: The slices.
        specimen: Name of the specimen.
        state: Number of the load state.

    Raises:
        StoreError: The store does not hold the scan, or is damaged.
    """
    most = MOST if state in store.ends(specimen) else MOST_LOADED
    chosen = even_positions(store.n_slices, min(store.n_slices, most))
    planes = {plane: store.group(specimen, state, plane)[chosen] for plane in store.planes}
    counts = sum(np.bincount(slices.ravel(), minlength=LEVELS) for slices in planes.values())
    threshold = otsu(np.asarray(counts))
    by_plane = {plane: slice_features(slices, threshold or 0) for plane, slices in planes.items()}
    return {kind: {plane: found[kind] for plane, found in by_plane.items()} for kind in KINDS}


def slice_features(slices: NDArray[np.uint8], threshold: int) -> dict[str, NDArray[np.float64]]:
    """The numbers of slices (slice, y, x), of which those pixels are bone that are above a level.

    Returns:
        For each model of `KINDS` (slice, feature).
    """
    intensities = slices.astype(np.float32)
    bone = gaussian_filter(intensities, (0, 1, 1)) > threshold
    inside, outside = _eroded(bone), _eroded(~bone)
    noise = np.abs(_high_pass(intensities))
    rows: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for intensity, fine, deep, out in zip(intensities, noise, inside, outside, strict=True):
        rows["intensity levels"].append(
            [intensity.mean(), intensity.std(), *np.percentile(intensity, (1, 5, 25, 50, 75, 95, 99))]
        )
        rows["noise outside bone"].append(_texture(fine[out]))
        rows["noise inside bone"].append(_texture(fine[deep]))
        rows["background"].append(_levels(intensity[out]))
    return {kind: np.array(found, np.float64) for kind, found in rows.items()}


def _texture(noise: NDArray[np.float32]) -> list[float]:
    """Mean, root mean square and percentiles of sizes of noise (pixel,)."""
    if noise.size < LEAST:
        return [np.nan] * 6
    return [noise.mean(), np.sqrt(np.square(noise).mean()), *np.percentile(noise, (50, 75, 90, 99))]


def _levels(intensities: NDArray[np.float32]) -> list[float]:
    if intensities.size < LEAST:
        return [np.nan] * 6
    return [intensities.mean(), intensities.std(), *np.percentile(intensities, (5, 50, 95, 99))]


def _high_pass(intensities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Immerkær's kernel, scaled so that white noise keeps its standard deviation."""
    along_y = convolve1d(intensities, _SECOND_DIFFERENCE, axis=1, mode="nearest")
    fine: NDArray[np.float32] = convolve1d(along_y, _SECOND_DIFFERENCE, axis=2, mode="nearest")
    return fine / np.float32(6)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask (slice, y, x) that are more than `MARGIN` from its edge; the border of a slice is none."""
    size = 2 * MARGIN + 1
    rows = minimum_filter1d(mask.view(np.uint8), size, axis=1, mode="nearest")
    return minimum_filter1d(rows, size, axis=2, mode="nearest").astype(bool)
