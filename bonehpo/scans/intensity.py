"""Intensities: histograms and their matching, the 256 levels of the store, mean and spread.

Matching is scikit-image's `match_histograms` done out of core: two histograms give a table of new intensities, and the
table is applied where it is needed. A table that never falls commutes with a median of an odd number of voxels, so the
median filter runs on the intensities of the file, and its result is the same as after matching.

References:
    Gonzalez & Woods, Digital Image Processing, 4th ed. (2018), section 3.3: histogram matching.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_VALUES = 65_536
"""Distinct intensities that a histogram keeps: all that 16 bits can hold. Scans of 32 bits with more are kept as this
many even quantiles, between which the cumulative histogram is linear; the matched intensity then differs by far less than
one of the 256 levels of the store."""

LEVELS = 256


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of each intensity.

    Attributes:
        values: Intensities, rising.
        counts: Voxels of each value, and of the values between it and the one before that are not kept.
    """

    values: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def quantiles(self) -> NDArray[np.float64]:
        """Fraction of voxels up to and with each value; the last is 1."""
        cumulative = np.cumsum(self.counts)
        return np.asarray(cumulative / cumulative[-1], np.float64)

    def quantile(self, fraction: float) -> float:
        """The smallest kept value that at least `fraction` of the voxels do not exceed."""
        return self.values[int(np.searchsorted(self.quantiles, fraction))]

    def share(self, window: "Window") -> float:
        """Share of the voxels from `window.low` to `window.high`."""
        return sum(self.within(window).counts) / sum(self.counts)

    def within(self, window: "Window") -> "Histogram":
        """Counts of the values from `window.low` to `window.high`."""
        first, last = bisect_left(self.values, window.low), bisect_right(self.values, window.high)
        return Histogram(values=self.values[first:last], counts=self.counts[first:last])


@dataclass(frozen=True, kw_only=True)
class Window:
    """The intensities that become level 0 and level 255; what lies outside is clipped."""

    low: float
    high: float


def histogram(volume: NDArray[Any]) -> Histogram:
    """Count the intensities of a volume.

    Args:
        volume: Intensities, (z, y, x), finite.

    Returns:
        Exact for 8 and 16 bit, and wherever at most `MAX_VALUES` values occur.
    """
    if volume.dtype.kind in "iu" and volume.dtype.itemsize <= 2:
        lowest = int(np.iinfo(volume.dtype).min)
        counts = np.zeros(LEVELS**volume.dtype.itemsize, np.int64)
        for section in volume:
            counts += np.bincount(section.ravel().astype(np.intp) - lowest, minlength=counts.size)
        values = np.flatnonzero(counts)
        return Histogram(values=tuple((values + lowest).astype(float).tolist()), counts=tuple(counts[values].tolist()))
    ranked = np.sort(volume, axis=None)
    rises = ranked[1:] != ranked[:-1]
    if np.count_nonzero(rises) < MAX_VALUES:
        values = np.append(ranked[:-1][rises], ranked[-1])
    else:
        values = np.unique(ranked[np.linspace(0, ranked.size - 1, MAX_VALUES).astype(np.intp)])
    counts = np.diff(np.searchsorted(ranked, values, side="right"), prepend=0)
    return Histogram(values=tuple(values.astype(float).tolist()), counts=tuple(counts.tolist()))


@dataclass(frozen=True, kw_only=True, eq=False)
class IntensityMap:
    """A map of intensities that never falls: linear between its knots, constant beyond them.

    Attributes:
        knots: Intensities of the file, rising.
        intensities: What each becomes.
    """

    knots: NDArray[np.float64]
    intensities: NDArray[np.float64]

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Map an image of any shape."""
        if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
            return self._table.take(image.astype(np.intp) - math.floor(self.knots[0]), mode="clip")
        return np.interp(image, self.knots, self.intensities)

    @cached_property
    def _table(self) -> NDArray[np.float64]:
        """Image of each whole number between the ends under the map: ten times faster than interpolation."""
        span = np.arange(math.floor(self.knots[0]), math.ceil(self.knots[-1]) + 1)
        return np.interp(span, self.knots, self.intensities)


def matching(scan: Histogram, reference: Histogram) -> IntensityMap:
    """The map that gives a scan the histogram of the reference, as `skimage.exposure.match_histograms` does."""
    intensities = np.interp(scan.quantiles, reference.quantiles, reference.values)
    return IntensityMap(knots=np.asarray(scan.values), intensities=intensities)


def levels(window: Window, matched: IntensityMap | None = None) -> IntensityMap:
    """The map to levels 0 to 255, not yet rounded, of intensities as they are or of matched ones."""
    if matched is None:
        return IntensityMap(knots=np.array([window.low, window.high]), intensities=np.array([0.0, LEVELS - 1]))
    scaled = (matched.intensities - window.low) / (window.high - window.low)
    return IntensityMap(knots=matched.knots, intensities=np.clip(scaled, 0, 1) * (LEVELS - 1))


STANDARD_MEAN, STANDARD_SD = 128.0, 40.0
"""Levels that every slice gets by `bonehpo prepare --standardise`: levels 0 and 255 are then 3.2 sd from the mean, so
that little is clipped."""


class IntensityMoments(NamedTuple):
    """Mean and variance of intensity levels over all pixels of some slices."""

    mean: float
    variance: float


def intensity_moments(pixels: NDArray[np.uint8], indices: NDArray[np.int64]) -> IntensityMoments:
    """Moments of some slices, exact, whatever their number; no other slice is looked at.

    Args:
        pixels: Slices (image, y, x).
        indices: Which of them.

    Examples:
        >>> intensity_moments(np.array([[[0, 2]], [[9, 9]]], np.uint8), np.array([0]))
        IntensityMoments(mean=1.0, variance=1.0)
    """
    counts = np.zeros(LEVELS)
    for i in indices:
        counts += np.bincount(pixels[i].ravel(), minlength=LEVELS)
    intensities = np.arange(LEVELS)
    mean = float(np.average(intensities, weights=counts))
    return IntensityMoments(mean, float(np.average((intensities - mean) ** 2, weights=counts)))


def standardised(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """One slice (y, x) with mean 128 and standard deviation 40, not clipped; 128 everywhere if it is of one intensity.

    To be given levels that are not rounded yet: of rounded ones the gaps between levels would still tell the old spread.
    """
    spread = float(image.std())
    if spread < 1e-6:
        return np.full_like(image, STANDARD_MEAN)
    return (image - image.mean()) * (STANDARD_SD / spread) + STANDARD_MEAN
