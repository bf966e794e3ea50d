"""A handful of numbers for each slice that hardly see a crack: intensity, noise, background, flat parts, place, artefacts.

Models on these numbers alone are the shortcuts that an audit looks for. Bone is what lies above Otsu's threshold of all
slices of a scan, slightly smoothed; pixels near its edges, where cracks are too, are left out of all but the intensity
levels.

Flat parts are small squares without structure, the flattest of a slice and all of one phase. Bone that breaks makes fewer of
them, but changes none: what tells scans apart there is how they were scanned, not what they show. So those models are judged
by themselves, see `CEILINGS`; how far damage takes them was measured on phantoms (docs/explanation/leaks-and-shortcuts.md).

References:
    Immerkær, Fast noise variance estimation, Comput. Vis. Image Underst. 64 (1996) 300, doi:10.1006/cviu.1996.0060: the
    high-pass kernel, which answers neither to a slope nor to a straight edge along an axis.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter, minimum_filter1d

from bonehpo.leakage.artefacts import (
    FLAT,
    LEAST_FLAT,
    SMALL,
    bone_place,
    flattest,
    parts,
    random_filters,
    ring_contrast,
    shading,
    sharpness,
)
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
    "flat texture": "correlation of neighbouring pixels, and distinct levels, in the flattest parts of a slice",
    "flat noise": "size of the noise there",
    "place": "intensity of flat parts by place in the slice, of its borders and of its corners",
    "sharpness": "correlation and size of the noise of a scan in its flatter parts",
    "shading": "polynomial of second order by which the intensity of flat parts changes over a slice",
    "rings": "contrast of rings about the middle of the slices of a scan",
    "bone place": "centre and spread of bone in a slice, and its share at each border",
    "random filters": "answers of eight random filters, which see cracks too",
}
"""Features that each model looks at."""

CEILINGS = {
    "flat texture": 0.75,
    "flat noise": 0.88,
    "place": 0.68,
    "sharpness": 0.84,
    "shading": 0.62,
    "rings": 0.70,
    "bone place": 0.70,
    "random filters": math.inf,
}
"""Accuracy on pristine against failed slices that damage alone does not reach, of the models that it hardly concerns;
infinite of one that sees cracks as a network does, and is asked before damage alone. `make audit-zoo ARGS=--maxima` measures
how far clean phantoms come."""

FLATTEST = 0.1
"""Share of the parts of a slice that are taken."""

SAME_PHASE, LIKE_PHASE = 10.0, 25.0
"""Levels within which a part is of the phase that most flat parts are of: for its texture, and for its intensity."""

_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (0, 3), (3, 0))
"""Pixels down and across between which the correlation of noise is measured."""

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
    rings = [by_plane[plane]["rings"] for plane in store.planes]
    strongest = np.fmax.reduce(rings)  # of the plane across the axis of rotation, whichever that is
    for found in by_plane.values():
        found["rings"] = strongest
    return {kind: {plane: found[kind] for plane, found in by_plane.items()} for kind in KINDS}


def slice_features(slices: NDArray[np.uint8], threshold: int) -> dict[str, NDArray[np.float64]]:
    """The numbers of slices (slice, y, x), of which those pixels are bone that are above a level.

    Returns:
        For each model of `KINDS` (slice, feature); of sharpness and rings one row for all slices.
    """
    intensities = slices.astype(np.float32)
    even = gaussian_filter(intensities, (0, 1, 1))
    bone = even > threshold
    inside, outside = _eroded(bone), _eroded(~bone)
    noise = np.abs(_high_pass(intensities))
    smooth = gaussian_filter(intensities, (0, 1.5, 1.5))
    whole = {
        "sharpness": sharpness(intensities, smooth),
        "shading": shading(even, threshold),
        "rings": np.array([[ring_contrast(intensities, inside | outside)]]),
        "bone place": bone_place(bone),
        "random filters": random_filters(intensities),
    }
    rows: dict[str, list[list[float]]] = {kind: [] for kind in KINDS if kind not in whole}
    for intensity, level, fine, deep, out in zip(intensities, smooth, noise, inside, outside, strict=True):
        rows["intensity levels"].append(
            [intensity.mean(), intensity.std(), *np.percentile(intensity, (1, 5, 25, 50, 75, 95, 99))]
        )
        rows["noise outside bone"].append(_texture(fine[out]))
        rows["noise inside bone"].append(_texture(fine[deep]))
        rows["background"].append(_levels(intensity[out]))
        texture, size = _flat_texture(intensity, level)
        rows["flat texture"].append(texture)
        rows["flat noise"].append([size])
        rows["place"].append(_by_place(intensity, level))
    return {kind: np.array(found, np.float64) for kind, found in rows.items()} | whole


def _texture(noise: NDArray[np.float32]) -> list[float]:
    """Mean, root mean square and percentiles of sizes of noise (pixel,)."""
    if noise.size < LEAST:
        return [np.nan] * 6
    return [noise.mean(), np.sqrt(np.square(noise).mean()), *np.percentile(noise, (50, 75, 90, 99))]


def _levels(intensities: NDArray[np.float32]) -> list[float]:
    if intensities.size < LEAST:
        return [np.nan] * 6
    return [intensities.mean(), intensities.std(), *np.percentile(intensities, (5, 50, 95, 99))]


def _flat_texture(intensity: NDArray[np.float32], smooth: NDArray[np.float32]) -> tuple[list[float], float]:
    """Correlations of the noise of flat parts and distinct levels, and the logarithm of its size; NaN without parts."""
    pixels, levels = parts(intensity, FLAT), parts(smooth, FLAT)
    noise = pixels - levels
    noise -= noise.mean((1, 2), keepdims=True)
    order = flattest(pixels, levels, FLATTEST, SAME_PHASE)
    if len(order) < LEAST_FLAT:
        return [np.nan] * (len(_NEIGHBOURS) + 1), np.nan
    noise, levels = noise[order], np.rint(pixels[order])
    variance = float(np.square(noise).mean())
    size = 0.5 * np.log(variance)
    pairs = [(noise[:, : FLAT - y, : FLAT - x], noise[:, y:, x:]) for y, x in _NEIGHBOURS]
    shares = np.unique(levels, return_counts=True)[1] / levels.size
    return [*(float((a * b).mean()) / variance for a, b in pairs), float(-(shares * np.log(shares)).sum() - size)], size


def _by_place(intensity: NDArray[np.float32], smooth: NDArray[np.float32]) -> list[float]:
    """Intensity of flat parts in nine fields of a slice, of its four borders, and of its corners, less what is usual.

    A field without flat parts of the usual phase says nothing, 0.
    """
    side = len(intensity) // SMALL
    if side < 2 * SMALL:
        return [np.nan] * 17
    pixels = parts(smooth, SMALL)
    rough, means = (found.reshape(side, -1) for found in (pixels.std((1, 2)), pixels.mean((1, 2))))
    usual = np.median(means.ravel()[np.argsort(rough, axis=None, kind="stable")[: rough.size // 5]])
    found = []
    for field in np.array_split(np.arange(side), 3):
        for across in np.array_split(np.arange(side), 3):
            of = np.ix_(field, across)
            like = np.abs(means[of] - usual) < LIKE_PHASE
            flattest = np.argsort(rough[of][like], kind="stable")[: max(2, np.count_nonzero(like) // 3)]
            found.append(float(means[of][like][flattest].mean() - usual) if len(flattest) > 1 else 0.0)
    turned = (intensity, intensity[::-1], intensity.T, intensity.T[::-1])
    borders = [float(np.median(image[:2]) - np.median(image[3:8])) for image in turned]
    inner = np.median(intensity[SMALL:-SMALL, SMALL:-SMALL])
    ends = (slice(0, SMALL), slice(-SMALL, None))
    return [*found, *borders, *(float(np.median(intensity[y, x]) - inner) for y in ends for x in ends)]


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
