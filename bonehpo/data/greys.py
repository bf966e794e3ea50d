"""Mean and spread of grey values: of a set of slices, for a network's input, and of one slice, to take both away."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bonehpo.data.histograms import LEVELS

STANDARD_MEAN, STANDARD_SD = 128.0, 40.0
"""Grey levels that every slice gets by `bonehpo prepare --standardise`: levels 0 and 255 are then 3.2 sd from the mean, so
that little is clipped."""


class GreyMoments(NamedTuple):
    """Mean and variance of grey levels over all pixels of some slices."""

    mean: float
    variance: float


def grey_moments(pixels: NDArray[np.uint8], indices: NDArray[np.int64]) -> GreyMoments:
    """Moments of some slices, exact, whatever their number; no other slice is looked at.

    Args:
        pixels: Slices (image, y, x).
        indices: Which of them.

    Examples:
        >>> grey_moments(np.array([[[0, 2]], [[9, 9]]], np.uint8), np.array([0]))
        GreyMoments(mean=1.0, variance=1.0)
    """
    counts = np.zeros(LEVELS)
    for i in indices:
        counts += np.bincount(pixels[i].ravel(), minlength=LEVELS)
    greys = np.arange(LEVELS)
    mean = float(np.average(greys, weights=counts))
    return GreyMoments(mean, float(np.average((greys - mean) ** 2, weights=counts)))


def standardised(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """One slice (y, x) with mean 128 and standard deviation 40, not clipped; 128 everywhere if it is of one grey.

    To be given levels that are not rounded yet: of rounded ones the gaps between levels would still tell the old spread.
    """
    spread = float(image.std())
    if spread < 1e-6:
        return np.full_like(image, STANDARD_MEAN)
    return (image - image.mean()) * (STANDARD_SD / spread) + STANDARD_MEAN
